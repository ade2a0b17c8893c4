"""The policy document: what it accepts, and how it says no."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation.errors import PolicyError
from allocation.policy import (
    EVERY_HUB_ALIKE,
    canonical,
    compile_policy,
    lint,
    read_canonical,
    read_document,
    schema,
)
from allocation.policy.matching import glob
from allocation.policy.source import FilePolicy, load
from allocation.policy.text import read_text

EXAMPLE = Path(__file__).parents[2] / "allocation" / "policy" / "example.yaml"


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
        ("", "is empty; the least policy is {}"),
        ("{", "not YAML"),
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
            "rules.0: a rule that rejects has no place, no twin and no payload",
        ),
        ('{"rules": [], "rules": []}', "member 'rules' stands twice"),
        ("[" * 100_000, "nests too deep"),
        ("[" * 40 + "]" * 40, "nests too deep"),
        ("- " * 40 + "x", "nests too deep"),
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x 1", "line 1, column 4): aliases and anchors are not read"),
        ("a: *x", "aliases and anchors are not read"),
        (
            "hubs: !!python/object:os.system []",
            "tags (tag:yaml.org,2002:python/object:os.system) are not read",
        ),
        ("unlisted_hubs: !x refuse", "tags (!x) are not read"),
        ("hubs: []\nhubs: []", "line 2, column 1): member 'hubs' stands twice"),
        ("hubs: []\n---\nhubs: []", "a second document begins"),
        ("hubs: [", "not YAML"),
        ("hubs:\n\t- x", "not YAML"),
        ("1: x", "member name 1 is no text"),
        ("? [a]\n: 1", "member name ['a'] is no text"),
        ("rules: [{name: r, payload: {a: .nan}}]", "holds .nan"),
        ("rules: [{name: r, payload: {a: 1e999}}]", "a number beyond a double"),
        ("# " + "x" * 1024 * 1024, "at most 1048576 are read"),
        (
            "rules: [{name: r, when: {edge: no}}]",
            "rules.0.when.edge: Input should be a valid boolean; it is 'no'",
        ),
        ("rules: [{name: r, when: {regstration_id: x}}]", "did you mean 'registration_id'?"),
        ("rules: [{when: {}}]", "rules.0.name: Field required; add it"),
        (
            "rules: [{name: r, place: {canary: {share: 10, to: {hubs: [a]}}}}]",
            "rules.0.place.canary.share: Input should be less than or equal to 1; it is 10",
        ),
        (
            "rules: [{name: r, place: {canary: {share: 0.1, to: {}}}}]",
            "to names no hubs; give to.hubs or to.tags",
        ),
        ("rules: [{name: r, place: {bounded_load: 0.9}}]", "rules.0.place.bounded_load"),
        ("rules: [{name: r, place: {pinned: a, region: x}}]", "pinned stands alone"),
        ("rules: [{name: r, place: {region: {from: payload}}}]", "'payload' is nothing that can be read"),
        ("rules: [{name: r, when: {payload: [{path: a}]}}]", "tests nothing; give eq, in, glob"),
        (
            "rules: [{name: r, when: {payload: [{path: '{x: a}', eq: 1}]}}]",
            "multi select dict is not allowed",
        ),
        ("rules: [{name: r, when: {payload: [{path: 'to_string(a)', eq: '1'}]}}]", "function to_string()"),
        ("rules: [{name: r, when: {payload: [{path: '@', exists: true}]}}]", "@ is the whole payload"),
        ("rules: [{name: r, when: {payload: [{path: 'a[', exists: true}]}}]", "not a JMESPath"),
        ("rules: [{name: r, when: {payload: [{path: 'a.b[?c==`[1]`]', exists: true}]}}]", "as a literal"),
        ("rules: [{name: r, when: {certificate: {thumbprint: abc}}}]", "'abc' is no SHA-1"),
        ("rules: [{name: r, when: {certificate: {subject: {'C N': x}}}}]", "is nothing that can be read"),
        (
            "rules: [{name: r, when: {not: {not: {not: {not: {not: {edge: true}}}}}}}]",
            "at most 4: split the rule",
        ),
        ("rules: [{name: r, twin: {tags: {a.b: 1}}}]", "rules.0.twin.tags: its key 'a.b': IoT Hub allows no"),
        ("rules: [{name: r, twin: {desired: {n: 4503599627370496}}}]", "n: an integer beyond"),
        (
            "rules: [{name: r, twin: {tags: {a: {$from: payload.x, $on_missing: die}}}}]",
            '"omit", "reject" or',
        ),
        (
            "rules: [{name: r, twin: {tags: {a: {$from: nothing}}}}]",
            "a: 'nothing' is nothing that can be read",
        ),
        ("rules: [{name: r, twin: {tags: {a: {$text: '{b'}}}}]", "a single {"),
        ("rules: [{name: r, twin: {tags: {a: {$form: x}}}}]", "begins with $"),
        ("rules: [{name: r, payload: {$from: payload.x}}]", "not one itself"),
        ("rules: [{name: r, twin: {tags: {a: '%s'}}}]" % ("x" * 4097), "a text over 4096 bytes"),
        (
            json.dumps({"rules": [{"name": "r", "twin": {"tags": {f"k{n}": "x" * 3000 for n in range(3)}}}]}),
            "tags of 9006 bytes; IoT Hub takes 8192",
        ),
        ("rules: [{name: r, payload: {a: '%s'}}]" % ("x" * 100_000), "DPS takes 98304"),
    ],
)
def test_a_bad_yaml_document_is_refused_with_its_path_value_and_fix(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as error:
        read_document(text)
    assert said in str(error.value)


def test_too_many_searching_paths_are_refused() -> None:
    rules = [
        {"name": f"r{n}", "when": {"payload": [{"path": f"a{n}[*].b", "exists": True}]}} for n in range(17)
    ]
    read_document(json.dumps({"rules": rules[:16]}))
    with pytest.raises(PolicyError, match="17 different paths search the payload; at most 16"):
        read_document(json.dumps({"rules": rules}))


def test_yaml_reads_by_the_core_schema_into_plain_types() -> None:
    text = """
# comments are for people
rules:
  - name: r
    payload:
      no: no
      time: 12:30
      date: 2020-01-01
      nothing: ~
      on: on
      numbers: [1, -2, 0o17, 0xFF, 1.5, 1e3, .5]
      truths: [true, False]
      texts: ["1", 'true', "a\\tb", <<, =]
      more: |
        two
        lines
"""
    payload = read_document(text).rules[0].payload
    assert payload == {
        "no": "no",
        "time": "12:30",
        "date": "2020-01-01",
        "nothing": None,
        "on": "on",
        "numbers": [1, -2, 15, 255, 1.5, 1000.0, 0.5],
        "truths": [True, False],
        "texts": ["1", "true", "a\tb", "<<", "="],
        "more": "two\nlines\n",
    }
    plain: list[object] = [payload]
    while plain:
        value = plain.pop()
        assert type(value) in (dict, list, str, int, float, bool, type(None))
        if isinstance(value, dict):
            plain += [*value, *value.values()]
        elif isinstance(value, list):
            plain += value


json_documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(json_documents)
def test_json_reads_the_same_as_json_and_as_yaml(value: object) -> None:
    text = json.dumps(value)
    assert read_text(text) == value
    # A comment makes it YAML, which JSON is part of.
    assert read_text(f"# x\n{text}") == value


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
@settings(max_examples=300)
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        read_document(text)
    except PolicyError as error:
        said = str(error)
    else:
        said = "policy"
    assert said.startswith("policy")


def test_the_canonical_form_round_trips_without_yaml() -> None:
    document = read_document(EXAMPLE.read_text())
    text = canonical(document)
    assert read_canonical(text) == document
    assert canonical(read_canonical(text)) == text
    assert compile_policy(read_canonical(text)).version == compile_policy(document).version
    code = (
        "import sys; from allocation.policy import read_canonical, compile_policy; "
        "compile_policy(read_canonical(sys.stdin.read())); "
        "print([m for m in sys.modules if m.startswith(('ruamel', 'cryptography'))])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], input=text, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_the_example_policy_loads_and_has_no_problem() -> None:
    document = read_document(EXAMPLE.read_text())
    assert [str(problem) for problem in lint(document)] == []
    assert len(compile_policy(document).rules) >= 6


def test_the_example_policy_satisfies_the_published_schema() -> None:
    validator = jsonschema_rs.validator_for(schema())
    validator.validate(read_text(EXAMPLE.read_text()))
    assert not validator.is_valid({"rules": [{"name": "r", "wehn": {}}]})


def test_each_member_in_the_schema_has_a_description() -> None:
    bare = [
        f"{name}.{member}"
        for name, model in {**schema()["$defs"], "policy": schema()}.items()
        for member, told in model["properties"].items()
        if "description" not in told
    ]
    assert bare == []


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        (
            "unlisted_hubs: refuse\nrules: [{name: r, place: {hubs: [x]}}]",
            "rules.0.place.hubs.0",
            "no hub of this",
        ),
        (
            "unlisted_hubs: refuse\nrules: [{name: r, place: {pinned: x}}]",
            "rules.0.place.pinned",
            "no hub of this",
        ),
        (
            "unlisted_hubs: refuse\ndefault: {place: {canary: {share: 0.1, to: {hubs: [x]}}}}",
            "default.place.canary.to.hubs.0",
            "no hub of this",
        ),
        (
            "hubs: [{name: a}]\nrules: [{name: r, place: {tags: [x]}}]",
            "rules.0.place.tags.0",
            "a tag of no hub",
        ),
        (
            "hubs: [{name: a, weight: 0}]\nrules: [{name: r, place: {hubs: [a]}}]",
            "rules.0.place",
            "no hub with a weight",
        ),
        (
            "hubs: [{name: a, region: x}]\nrules: [{name: r, place: {region: y}}]",
            "rules.0.place.region",
            "without hubs",
        ),
        ("hubs: [{name: a, region: x}]\nregions: {x: [y]}", "regions.x.0", "without hubs"),
        ("hubs: [{name: a, capacity: 100}]", "hubs.0.capacity", "leaves no room"),
        ("hubs: [{name: a, capacity: 9000, headroom: 1}]", "hubs.0.headroom", "is less than"),
        ("hubs: [{name: a, headroom: 1}]", "hubs.0.headroom", "nothing without a capacity"),
        ("rules: [{name: a}, {name: b, when: {edge: true}}]", "rules.1", "never reached: rule 'a'"),
        (
            "rules: [{name: a, when: {edge: true}}, {name: b, when: {edge: true, dps: x}}]",
            "rules.1",
            "never reached",
        ),
        ("rules: [{name: a}]\ndefault: {payload: {x: 1}}", "default", "never reached"),
        (
            "rules: [{name: a, when: {current_hub: present}, twin: {}}]",
            "rules.0.twin",
            "applies only to devices that move",
        ),
        (
            "rules: [{name: a, when: {current_hub: x}, place: {pinned: x}, twin: {}}]",
            "rules.0.twin",
            "never applies",
        ),
        ("rules: [{name: a, place: {when_full: wait}}]", "rules.0.place.when_full", "does nothing without"),
    ],
)
def test_lint_finds(text: str, path: str, problem: str) -> None:
    found = [each for each in lint(read_document(text)) if each.path == path]
    assert any(problem in str(each) for each in found), lint(read_document(text))


def test_rules_that_differ_are_not_called_unreachable() -> None:
    text = "rules: [{name: a, when: {edge: true, dps: x}}, {name: b, when: {edge: true}}, {name: c}]"
    assert lint(read_document(text)) == ()


@pytest.mark.parametrize(
    ("pattern", "matches", "fails"),
    [
        ("press-*", "press-1", "xpress-1"),
        ("*a" * 60 + "b", "a" * 100 + "b", "a" * 100),
        (["x", "y?", "Z[ab]*"], "zb77", "zc"),
        ("exact", "exact", "exact1"),
    ],
)
def test_globs_match_whole_texts_without_case(pattern: str | list[str], matches: str, fails: str) -> None:
    match = glob(pattern, fold=True)
    assert match(matches)
    assert not match(fails)


def test_a_glob_never_backtracks() -> None:
    """The steps of a backtracking match would be far beyond the life of this machine."""
    match = glob("*a" * 60 + "b", fold=True)
    assert not match("a" * 1_024)
    assert match("a" * 1_024 + "b")


def test_a_file_that_does_not_load_is_no_policy(tmp_path: Path) -> None:
    broken = tmp_path / "policy.json"
    broken.write_text("{")
    source = FilePolicy(broken)
    assert source.current() is None
    assert "not YAML" in str(source.error)
    missing = FilePolicy(tmp_path / "none.json")
    assert missing.current() is None
    assert "none.json: cannot be read" in str(missing.error)


def test_a_good_file_is_the_policy(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"unlisted_hubs": "refuse"}')
    assert FilePolicy(file).current() == load(file)
    assert load(file).unlisted_weight == 0
