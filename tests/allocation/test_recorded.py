"""What the ledger keeps of a device decides as the device did, or says what it lacks."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation import request
from allocation.decision import decide
from allocation.facts import Facts, Placed, Undecidable
from allocation.fleet import ALL_OPEN
from allocation.policy import CompiledPolicy, compile_policy, read_document
from allocation.recorded import LARGEST, decide_recorded, recall, record
from tests.allocation.making import body, hub
from tests.allocation.test_matching import EVERY_READING, EVERYTHING, asking


def policy(**document: Any) -> CompiledPolicy:
    return compile_policy(read_document(json.dumps(document)))


def sent(payload: Any, **context: Any) -> Facts:
    whole = body(current=context.pop("current", None))
    whole["deviceRuntimeContext"] |= {"payload": payload, **context}
    return request.parse(json.dumps(whole).encode(), "plant")


def test_the_payload_itself_is_not_kept() -> None:
    rules = policy(rules=[{"name": "r", "when": {"payload": [{"path": "model", "eq": "x"}]}}])
    kept = json.dumps(record(sent({"model": "x", "password": "hunter2"}), rules))
    assert "hunter2" not in kept
    assert json.loads(kept)["read"] == {"payload.model": "x"}


def test_a_draft_that_reads_something_else_is_undecidable() -> None:
    active = policy(rules=[{"name": "r", "when": {"payload": [{"path": "model", "eq": "x"}]}}])
    facts = recall(json.loads(json.dumps(record(sent({"model": "x", "site": "a"}), active))))
    draft = policy(rules=[{"name": "r", "when": {"payload": [{"path": "site", "eq": "a"}]}}])
    assert decide_recorded(facts, draft, ALL_OPEN) == Undecidable("payload.site")
    same = policy(rules=[{"name": "other", "when": {"payload": [{"path": "model", "glob": "*"}]}}])
    assert isinstance(decide_recorded(facts, same, ALL_OPEN), Placed)
    # A rule before it decides: what the draft would read after that does not matter.
    early = policy(rules=[{"name": "all"}, {"name": "r", "when": {"payload": [{"path": "site", "eq": "a"}]}}])
    assert isinstance(decide_recorded(facts, early, ALL_OPEN), Placed)
    # The live path never guesses either.
    assert decide(facts, draft, ALL_OPEN).degraded


def test_values_beyond_the_limit_are_not_kept_and_undecidable() -> None:
    rules = policy(
        default={"twin": {"tags": {"a": {"$from": "payload.large"}, "b": {"$from": "payload.small"}}}}
    )
    kept = record(sent({"large": "x" * LARGEST, "small": "y"}), rules)
    assert kept["read"] == {"payload.small": "y"}
    assert decide_recorded(recall(kept), rules, ALL_OPEN) == Undecidable("payload.large")


@pytest.mark.parametrize("broken", [{}, {"id": 5}, {"dps": "", "id": "d", "hubs": "a"}])
def test_what_record_never_gives_is_refused_by_name(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is missing or of another type"):
        recall(broken)


values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.text(max_size=5)
    | st.sampled_from(["VX-1", "westeurope"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["model", "fw", "major", "on", "region", "config", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(
    values,
    st.sampled_from([{}, {"x509": {"odd": 1}}, {"x509": None}, {"tpm": {}}]),
    st.none() | st.just(hub("b")),
)
@settings(max_examples=150)
def test_recalled_facts_decide_as_the_original_did(
    payload: Any, context: dict[str, Any], current: str | None
) -> None:
    for facts in (sent(payload, current=current, **context), asking(payload=payload, current=current)):
        kept = json.loads(json.dumps(record(facts, EVERY_READING)))
        recalled = recall(kept)
        assert recalled == facts
        assert decide_recorded(recalled, EVERY_READING, ALL_OPEN) == decide(facts, EVERY_READING, ALL_OPEN)
        assert set(kept["read"]) | set(kept["unread"]) == EVERY_READING.reads


def test_the_policy_of_these_tests_reads_every_source() -> None:
    assert {name.partition(".")[0] for name in EVERY_READING.reads} == {
        "attestation",
        "certificate",
        "edge",
        "enrollment",
        "payload",
    }
    assert len(EVERYTHING["rules"]) > 20
