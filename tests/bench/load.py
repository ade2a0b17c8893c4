"""A client that costs little: keep-alive HTTP/1.1 over plain sockets, one request at a time a connection."""

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One URL to POST one body to."""

    name: str
    port: int
    path: str
    body: bytes

    def request(self) -> bytes:
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


class BadAnswerError(Exception):
    """The target did not answer 200."""


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """The body of one answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise BadAnswerError(head.split(b"\r\n", 1)[0].decode())
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return await reader.readexactly(int(value))
    raise BadAnswerError("no content-length")


async def _connection(target: Target, requests: int, latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    raw = target.request()
    try:
        for _ in range(requests):
            started = time.perf_counter()
            writer.write(raw)
            await read_answer(reader)
            latencies.append(time.perf_counter() - started)
    finally:
        writer.close()
        await writer.wait_closed()


async def hit(target: Target, *, connections: int, requests: int) -> list[float]:
    """Seconds each of `requests` requests took, spread over `connections` connections."""
    latencies: list[float] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_connection(target, requests // connections, latencies))
    return latencies


async def first_answer(target: Target, *, patience: float = 30.0) -> float:
    """The time (perf_counter) at which the target first answered 200; it may not be listening yet."""
    deadline = time.perf_counter() + patience
    while True:
        try:
            await _connection(target, 1, [])
        except (OSError, asyncio.IncompleteReadError):
            if time.perf_counter() > deadline:
                raise
            await asyncio.sleep(0.002)
        else:
            return time.perf_counter()
