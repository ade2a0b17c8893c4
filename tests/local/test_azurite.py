"""Azurite starts on any port, keeps to itself, and says what is missing."""

import asyncio
import socket
from pathlib import Path

import pytest

from clients.ports import Row
from clients.tables import TableAccount
from local.azurite import Azurite, NotInstalled, unused_port
from local.processes import ChildFailed


async def write_and_read(connection: str, key: str) -> list[str]:
    account = TableAccount.from_connection_string(connection)
    try:
        table = account.table("things")
        await table.put(Row("p", key))
        return [row.key async for row in table.scan("p")]
    finally:
        await account.close()


async def test_serves_tables_on_a_free_port_until_it_is_left(tmp_path: Path) -> None:
    async with Azurite(log=tmp_path / "log") as running:
        assert f"127.0.0.1:{running.port}/" in running.connection_string
        assert await write_and_read(running.connection_string, "a") == ["a"]
    assert running.child.returncode is not None
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", running.port)


async def test_keeps_its_tables_in_a_location_between_starts(tmp_path: Path) -> None:
    store = tmp_path / "store"
    async with Azurite(log=tmp_path / "log", location=store) as running:
        assert await write_and_read(running.connection_string, "a") == ["a"]
    async with Azurite(log=tmp_path / "log", location=store) as running:
        assert await write_and_read(running.connection_string, "b") == ["a", "b"]
    assert store.stat().st_mode & 0o777 == 0o700


async def test_wanted_port_that_is_taken_is_an_error_that_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ChildFailed, match=f"Azurite on port {port} ended (.|\n)*EADDRINUSE"):
            async with Azurite(log=tmp_path / "log", port=port):
                pass


async def test_free_port_that_was_taken_meanwhile_is_given_up_for_another(tmp_path: Path) -> None:
    free = unused_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], free])
        async with Azurite(log=tmp_path / "log", free_port=lambda: next(ports)) as running:
            assert running.port == free


async def test_start_that_fails_shows_what_was_written(tmp_path: Path) -> None:
    broken = tmp_path / "main.js"
    broken.write_text("console.error('disk on fire'); process.exit(3)")
    with pytest.raises(ChildFailed, match=r"status 3(.|\n)*disk on fire"):
        async with Azurite(log=tmp_path / "log", main=broken):
            pass


async def test_start_that_hangs_is_given_up_and_killed(tmp_path: Path) -> None:
    silent = tmp_path / "main.js"
    silent.write_text("setInterval(() => {}, 1000)")
    azurite = Azurite(log=tmp_path / "log", main=silent, seconds=0.1)
    with pytest.raises(ChildFailed, match=r"not ready within 0\.1 s"):
        await azurite.__aenter__()
    assert not azurite.child.running


async def test_missing_azurite_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(NotInstalled, match=r"Azurite is not installed .*\./run"):
        async with Azurite(log=tmp_path / "log", main=tmp_path / "main.js"):
            pass


async def test_missing_node_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstalled, match=r"Node is not installed: use \./run"):
        async with Azurite(log=tmp_path / "log"):
            pass
