"""Child processes start, are watched, and never outlive their parent."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from local.processes import Child, ChildFailed

FOREVER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('up', flush=True); time.sleep(600)"
)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{pid}/stat").exists() or ") Z " not in Path(f"/proc/{pid}/stat").read_text()


async def dead(pid: int) -> None:
    """Wait for the system to have ended it."""
    async with asyncio.timeout(10):
        while alive(pid):  # noqa: ASYNC110 - it is no child of ours that would tell us
            await asyncio.sleep(0.01)


async def up(child: Child) -> None:
    async def ready() -> bool:
        return "up" in child.output()

    await child.until(ready, seconds=20)


async def never() -> bool:
    return False


async def test_child_runs_until_it_is_stopped(tmp_path: Path) -> None:
    async with Child("napper", FOREVER, log=tmp_path / "log") as child:
        await up(child)
        assert child.running
        assert child.pid
    assert child.returncode == -signal.SIGTERM
    assert not alive(child.pid)


async def test_unexpected_end_is_seen_with_its_status(tmp_path: Path) -> None:
    async with Child("quitter", [sys.executable, "-c", "exit(7)"], log=tmp_path / "log") as child:
        assert await asyncio.wait_for(child.ended(), 20) == 7
        assert not child.running


async def test_child_that_ends_instead_of_starting_fails_with_its_last_words(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('no such storage')"]
    async with Child("quitter", argv, log=tmp_path / "log") as child:
        with pytest.raises(ChildFailed, match=r"quitter ended with status 1 (.|\n)*no such storage"):
            await child.until(never, seconds=20)


async def test_child_that_is_not_ready_in_time_fails_with_its_last_words(tmp_path: Path) -> None:
    async with Child("napper", FOREVER, log=tmp_path / "log") as child:
        await up(child)
        with pytest.raises(ChildFailed, match=r"not ready within 0.05 s(.|\n)*up"):
            await child.until(never, seconds=0.05)
        assert child.running


async def test_program_that_does_not_exist_fails_by_name(tmp_path: Path) -> None:
    async with Child("ghost", ["/no/such/program"], log=tmp_path / "log") as child:
        with pytest.raises(ChildFailed, match="/no/such/program cannot be started"):
            await child.until(never, seconds=20)


async def test_child_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    child = Child("deaf", [sys.executable, "-c", DEAF], log=tmp_path / "log")
    await child.start()
    await up(child)
    await child.stop(seconds=0.05)
    assert child.returncode == -signal.SIGKILL


async def test_stopping_a_child_ends_its_own_children(tmp_path: Path) -> None:
    grandchild = f"import os; print(os.getpid(), flush=True); {DEAF}"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    async with Child("family", [sys.executable, "-c", code], log=tmp_path / "log") as child:
        await up(child)
        pid = int(child.output().split()[0])
        assert alive(pid)
    await dead(pid)


async def test_stopping_a_child_that_is_gone_or_never_started_is_nothing(tmp_path: Path) -> None:
    child = Child("quitter", [sys.executable, "-c", ""], log=tmp_path / "log")
    await child.stop()
    await child.start()
    await child.ended()
    await child.stop()
    await child.stop()


async def test_log_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    async with Child("napper", FOREVER, log=tmp_path / "log"):
        assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a killed process")
async def test_child_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = textwrap.dedent(f"""
        import asyncio, os, signal, sys
        from pathlib import Path
        from local.processes import Child

        async def main():
            child = Child("napper", {FOREVER!r}, log=Path({str(tmp_path / "log")!r}))
            await child.start()
            while "up" not in child.output():
                await asyncio.sleep(0.01)
            print(child.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """)
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", parent], stdout=subprocess.PIPE, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    await dead(int(killed.stdout))
