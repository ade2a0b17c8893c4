"""Which key opens what."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from local.host.errors import HostError
from local.host.keys import Keys, make_keys, stored_keys

from .conftest import Loaded

Run = Callable[..., Loaded]


def named(keys: Keys) -> dict[str, str]:
    return {
        "master": keys.master,
        "host": keys.host,
        "own": keys.functions["keyed"],
        "another's": keys.functions["other"],
        "system": keys.system["eventgrid_extension"],
        "wrong": "wrong",
        "empty": "",
        "not ascii": "clé",
    }


OPENS = {
    "/api/open": {"master", "host", "own", "another's", "system", "wrong", "empty", "not ascii"},
    "/api/keyed": {"master", "host", "own"},
    "/api/closed": {"master"},
    "/admin/host/status": {"master"},
}


@pytest.mark.parametrize("path", OPENS)
async def test_key_opens(run_app: Run, path: str) -> None:
    app = run_app("secured")
    for name, key in named(app.host.keys).items():
        expected = 200 if name in OPENS[path] else 401
        query = await app.client.get(path, params={"code": key})
        header = await app.client.get(path, headers={b"x-functions-key": key.encode()})
        assert (name, query.status_code, header.status_code) == (name, expected, expected)
        if expected == 401:
            assert query.content == header.content == b""


async def test_no_key_opens_only_anonymous_functions(run_app: Run) -> None:
    app = run_app("secured")
    statuses = [(await app.client.get(path)).status_code for path in OPENS]
    assert statuses == [200, 401, 401, 401]


async def test_header_beats_query_even_when_it_is_wrong(run_app: Run) -> None:
    app = run_app("secured")
    good = app.host.keys.host
    wrong_header = await app.client.get(f"/api/keyed?code={good}", headers={"x-functions-key": "wrong"})
    wrong_query = await app.client.get("/api/keyed?code=wrong", headers={"x-functions-key": good})
    assert (wrong_header.status_code, wrong_query.status_code) == (401, 200)


async def test_first_code_of_the_query_counts_in_any_case(run_app: Run) -> None:
    app = run_app("secured")
    assert (await app.client.get(f"/api/keyed?CODE={app.host.keys.host}&code=x")).status_code == 200


def test_stored_keys_survive_and_new_functions_get_theirs(tmp_path: Path) -> None:
    first = stored_keys(tmp_path / "state", ["a", "gone"])
    second = stored_keys(tmp_path / "state", ["a", "b"])
    assert (second.master, second.host, second.system) == (first.master, first.host, first.system)
    assert second.functions["a"] == first.functions["a"]
    assert second.functions["b"] not in first.functions.values()
    assert stored_keys(tmp_path / "state", ["gone"]).functions["gone"] == first.functions["gone"]
    assert stat.S_IMODE((tmp_path / "state" / "keys.json").stat().st_mode) == 0o600


def test_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    stored_keys(tmp_path, [])
    (tmp_path / "keys.json").chmod(0o644)
    with pytest.raises(HostError, match="chmod 600"):
        stored_keys(tmp_path, [])


def test_broken_key_file_is_refused_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(HostError, match="not JSON"):
        stored_keys(tmp_path, [])
    assert (tmp_path / "keys.json").read_text() == "{"


def test_keys_are_not_in_a_repr() -> None:
    keys = make_keys(["f"])
    shown = repr(keys) + repr(keys.for_function("f"))
    assert not any(key in shown for key in (keys.master, keys.host, keys.functions["f"]))
