"""An HTTP proxy (CONNECT only) that leads every client to one port, whatever port it asks for.

Some clients know no port but 8883. Through their own proxy setting they reach an endpoint on any port, so
that tests need not fight for that one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def tunnel_to(port: int) -> AsyncIterator[int]:
    """The proxy's own port."""
    asked: list[str] = []
    running: set[asyncio.Task[None]] = set()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b" ")[1].decode())
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        except asyncio.CancelledError:
            pass  # the proxy stops
        finally:
            running.discard(task)

    server = await asyncio.start_server(lead, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()
    assert {name.rpartition(":")[2] for name in asked} <= {"8883"}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while part := await reader.read(65_536):
            writer.write(part)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()  # what one side has ended, the other shall see ended
