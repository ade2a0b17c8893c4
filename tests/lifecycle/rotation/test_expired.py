"""SecretExpired as the vault raises it, in both schemas to the app's function: an alarm and no more."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lifecycle.rotation.row import RotationTerms, Stage, adopt
from lifecycle.rotation.store import RotationStore
from local.admin import TOKEN_HEADER
from local.clients import connect
from local.eventgrid import EVENT_GRID
from local.host.files import write_private_json
from local.stack import Options, run_stack
from local.topics import VAULT
from local.vault import EXPIRED
from tests.lifecycle.rotation.app import wiring_of

SECRET = "line-a-key"
DAY = timedelta(days=1)
FUNCTION = "secret_near_expiry"


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


async def test_an_expired_secret_is_an_alarm_in_either_schema_and_begins_nothing(state_file: Path) -> None:
    async with run_stack(Options(), lambda _: None) as stack:
        write_private_json(state_file, stack.state())
        wiring = wiring_of(state_file, stack.tables.connection_string, {})
        rotations = RotationStore(wiring.table("rotations"), wiring.settings.dps_name, wiring.clock)
        terms = RotationTerms(30 * DAY, 90 * DAY)
        now = wiring.clock.now()
        row = adopt("line-a", SECRET, terms, active="primary", others="free", by="t", now=now)
        assert await rotations.insert(row)
        topics = stack.cloud.topics
        endpoint = stack.functions.event_url(FUNCTION)
        await topics.subscribe("other-schema", VAULT, endpoint, schema=EVENT_GRID, types=[EXPIRED])

        version = stack.cloud.vault.put(SECRET, "a value", expires=int(datetime.now(UTC).timestamp()) - 5)
        async with connect(stack.admin_address.url, stack.trust) as admin:
            headers = {TOKEN_HEADER: stack.admin.token}
            moved = await admin.post("/clock", json={"advance": 600}, headers=headers)
            assert moved.status_code == 200  # by then the vault has told of it

        def answers() -> dict[str, int | None]:
            calls = [
                call for call in stack.cloud.world.journal.of("eventgrid") if EXPIRED in str(call.request)
            ]
            return {call.request["subscription"]: call.status for call in calls}

        async with asyncio.timeout(20):
            while len(answers()) < 2 or topics.grid.pending:  # noqa: ASYNC110  sockets decide when
                await asyncio.sleep(0.02)
        assert answers() == {FUNCTION: 202, "other-schema": 202}
        told = stack.functions.logged("rotation_expired", group="line-a", secret=SECRET, version=version)
        assert told is not None
        assert (await rotations.get("line-a")).stage is Stage.IDLE
        await wiring.close()
