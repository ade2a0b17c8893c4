"""A rule's `when`, compiled: one function of the facts, with every glob and name prepared.

Globs match in linear time, whatever a device calls itself. What compares without case (names of DPS,
enrollments, registrations, hubs, certificate attributes) is lowered on both sides.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from allocation.evidence import Reading
from allocation.facts import Facts
from allocation.reading import reading
from provisioning.hubs import hub_key

if TYPE_CHECKING:
    from allocation.policy.conditions import CertificateMatch, PayloadMatch, When

Test = Callable[[Facts], bool]
Readings = dict[str, Reading]
"""Readings by name: one of each, so that equal paths are compiled once."""

_MAGIC = re.compile(r"[*?\[]")


def glob(patterns: str | Iterable[str], *, fold: bool) -> Callable[[str], bool]:
    """Whether a text matches one of the globs; `fold`: without case (the text must be lower-case already)."""
    listed = [patterns] if isinstance(patterns, str) else list(patterns)
    if fold:
        listed = [each.lower() for each in listed]
    exact = frozenset(each for each in listed if not _MAGIC.search(each))
    wild = [each for each in listed if _MAGIC.search(each)]
    if not wild:
        return exact.__contains__
    if len(wild) == 1 and not exact and wild[0].endswith("*") and not _MAGIC.search(wild[0][:-1]):
        prefix = wild[0][:-1]
        return lambda text: text.startswith(prefix)
    # fnmatch's translation matches in linear time: its stars are atomic groups.
    match = re.compile("|".join(fnmatch.translate(each) for each in wild)).match
    return lambda text: text in exact or match(text) is not None


def condition(when: "When", readings: Readings) -> Test | None:
    """Compile a condition; None where it holds for every device.

    Args:
        when: as the document has it.
        readings: receives what the condition reads of the evidence.
    """
    tests = list(_tests(when, readings))
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        one, other = tests
        return lambda facts: one(facts) and other(facts)
    return lambda facts: all(test(facts) for test in tests)


def _tests(when: "When", readings: Readings) -> Iterable[Test]:  # noqa: C901 - one step for each match key
    """The cheap ones first: a condition ends at the first that fails."""
    if when.registration_id is not None:
        registration_matches = glob(when.registration_id, fold=True)
        yield lambda facts: registration_matches(facts.registration)
    if when.dps is not None:
        dps_matches = glob(when.dps, fold=True)
        yield lambda facts: dps_matches(facts.dps.lower())
    if when.enrollment is not None:
        if (kind := when.enrollment.kind) is not None:
            yield lambda facts: facts.enrollment_kind == kind
        if when.enrollment.id is not None:
            id_matches = glob(when.enrollment.id, fold=True)
            yield lambda facts: id_matches(facts.enrollment_id.lower())
    if when.current_hub is not None:
        yield _current_hub(when.current_hub)
    if when.attestation is not None:
        yield _value("attestation", _same(when.attestation), readings)
    if when.edge is not None:
        wanted = when.edge
        yield _value("edge", lambda value: value is wanted, readings)
    for name, expected in when.enrollment_tags.items():
        tag_matches = _same(expected) if not isinstance(expected, str | list) else _text(expected, fold=False)
        yield _value(f"enrollment.tags.{name}", tag_matches, readings)
    if when.certificate is not None:
        yield from _certificate(when.certificate, readings)
    for test in when.payload:
        yield _value(f"payload.{test.path}", _payload(test), readings)
    yield from _groups(when, readings)


def _certificate(match: "CertificateMatch", readings: Readings) -> Iterable[Test]:
    for side, attributes in (("subject", match.subject), ("issuer", match.issuer)):
        for attribute, expected in attributes.items():
            yield _value(f"certificate.{side}.{attribute}", _text(expected, fold=True), readings)
    if match.thumbprint is not None:
        yield _thumbprint(match.thumbprint, readings)


def _groups(when: "When", readings: Readings) -> Iterable[Test]:
    if when.all is not None:
        for part in when.all:
            if (test := condition(part, readings)) is not None:
                yield test
    if when.any is not None:
        either = [condition(part, readings) for part in when.any]
        some = [test for test in either if test is not None]
        if len(some) == len(either):
            yield lambda facts: any(test(facts) for test in some)
    if when.not_ is not None:
        unwanted = condition(when.not_, readings)
        yield lambda facts: unwanted is not None and not unwanted(facts)


def read(name: str, readings: Readings) -> Reading:
    """The reading of that name, from those there are or added to them."""
    found = reading(name)
    return readings.setdefault(found.name, found)


def _value(name: str, test: Callable[[Any], bool], readings: Readings) -> Test:
    found = read(name, readings)
    return lambda facts: test(facts.evidence.read(found))


def _current_hub(wanted: str) -> Test:
    if wanted == "present":
        return lambda facts: facts.current_hub is not None
    if wanted == "absent":
        return lambda facts: facts.current_hub is None
    hub = hub_key(wanted)
    return lambda facts: facts.current_hub == hub


def _text(patterns: str | list[str], *, fold: bool) -> Callable[[Any], bool]:
    """A test of a text, or of a list of texts one of which must match."""
    matches = glob(patterns, fold=fold)

    def test(value: Any) -> bool:
        if isinstance(value, str):
            return matches(value.lower() if fold else value)
        return isinstance(value, list) and any(test(each) for each in value)

    return test


def _same(expected: object) -> Callable[[Any], bool]:
    """Equality that keeps 1 and true apart, and no two numbers that are equal."""
    truth = isinstance(expected, bool)
    return lambda value: value == expected and isinstance(value, bool) is truth


def _thumbprint(written: str | list[str], readings: Readings) -> Test:
    listed = [written] if isinstance(written, str) else written
    wanted = frozenset(each.replace(":", "").lower() for each in listed)
    tests = [
        _value(name, wanted.__contains__, readings)
        for name, length in (("certificate.thumbprint", 40), ("certificate.thumbprint_sha256", 64))
        if any(len(each) == length for each in wanted)
    ]
    return lambda facts: any(test(facts) for test in tests)


def _payload(match: "PayloadMatch") -> Callable[[Any], bool]:
    tests: list[Callable[[Any], bool]] = []
    if match.exists is not None:
        wanted = match.exists
        tests.append(lambda value: (value is not None) is wanted)
    if match.eq is not None:
        tests.append(_same(match.eq))
    if match.in_ is not None:
        among = [_same(each) for each in match.in_]
        tests.append(lambda value: any(same(value) for same in among))
    if match.glob is not None:
        matches = glob(match.glob, fold=False)
        tests.append(lambda value: isinstance(value, str) and matches(value))
    if match.lt is not None:
        most = match.lt
        tests.append(lambda value: _number(value) and value < most)
    if match.gt is not None:
        least = match.gt
        tests.append(lambda value: _number(value) and value > least)
    return tests[0] if len(tests) == 1 else lambda value: all(test(value) for test in tests)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
