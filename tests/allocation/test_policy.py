"""The policy document: what it accepts, and how it says no."""

from pathlib import Path

import pytest

from allocation.errors import PolicyError
from allocation.policy import EVERY_HUB_ALIKE, compile_policy
from allocation.policy.document import read_document
from allocation.policy.source import FilePolicy, load
from provisioning.registrations import RegistrationKey


def test_an_empty_document_means_every_hub_alike() -> None:
    compiled = compile_policy(read_document("{}"))
    assert (compiled.weights, compiled.unlisted_weight, compiled.rules) == (
        EVERY_HUB_ALIKE.weights,
        EVERY_HUB_ALIKE.unlisted_weight,
        EVERY_HUB_ALIKE.rules,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[]", "policy: Input should be"),
        ('{"hubs": [{"name": "a", "wieght": 2}]}', "hubs.0.wieght: Extra inputs are not permitted"),
        ('{"hubs": [{"name": "a", "weight": -1}]}', "hubs.0.weight"),
        ('{"hubs": [{"name": "a", "weight": NaN}]}', "holds NaN"),
        ('{"hubs": [{"name": "a"}, {"name": "A"}]}', "hub 'A' stands twice"),
        ('{"unlisted_hubs": "maybe"}', "unlisted_hubs: Input should be 'allow' or 'refuse'"),
        ('{"rules": [{"name": "r"}, {"name": "r"}]}', "rule name 'r' is taken"),
        ('{"rules": [{"name": "default"}]}', "rule name 'default' is taken"),
        (
            '{"rules": [{"name": "r", "reject": {"reason": "x"}, "payload": {}}]}',
            "a rule that rejects has no twin",
        ),
        ('{"rules": [], "rules": []}', "member 'rules' stands twice"),
        ("[" * 100_000, "not JSON"),
        ('{"rules": [{"name": "r", "payload": {"a": NaN}}]}', "holds NaN"),
        ('{"rules": [{"name": "r", "payload": {"a": 1e999}}]}', "a number beyond a double"),
        ('{"rules": [{"name": "r", "twin": {"tags": {"a": "\\ud800"}}}]}', "half a surrogate pair"),
    ],
)
def test_a_bad_document_is_refused_with_its_path_and_fix(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as error:
        read_document(text)
    assert said in str(error.value)


def test_the_version_names_the_content_not_the_spelling() -> None:
    one = compile_policy(read_document('{"hubs": [{"name": "a", "weight": 1}], "rules": []}'))
    two = compile_policy(read_document('{"hubs":[{"weight":1.0,"name":"a"}]}'))
    other = compile_policy(read_document('{"hubs":[{"weight":2,"name":"a"}]}'))
    assert one.version == two.version != other.version


def test_a_glob_never_backtracks() -> None:
    document = '{"rules": [{"name": "r", "when": {"registration_id": "%s"}}]}' % ("*a" * 60 + "b")
    rule = compile_policy(read_document(document)).rules[0]
    assert rule.matches is not None
    assert rule.matches.pattern.count("(?>") == 59, "each star but the last is an atomic group"
    assert not rule.applies_to(RegistrationKey("a" * 1_024))
    assert rule.applies_to(RegistrationKey("a" * 1_024 + "b"))


def test_a_file_that_does_not_load_is_no_policy(tmp_path: Path) -> None:
    broken = tmp_path / "policy.json"
    broken.write_text("{")
    source = FilePolicy(broken)
    assert source.current() is None
    assert "not JSON" in str(source.error)
    missing = FilePolicy(tmp_path / "none.json")
    assert missing.current() is None
    assert "none.json: cannot be read" in str(missing.error)


def test_a_good_file_is_the_policy(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"unlisted_hubs": "refuse"}')
    assert FilePolicy(file).current() == load(file)
    assert load(file).unlisted_weight == 0
