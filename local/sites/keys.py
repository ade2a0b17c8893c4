"""Keys with the time from which, and until which, they open their function."""

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from local.host.files import read_json_object, write_private_json
from local.world import Clock

DEFAULT = "default"
"""The key that every function has from the start."""


@dataclass(frozen=True, slots=True)
class SiteBehaviour:
    """One reading of the unknown behaviours of a Functions app and its keys."""

    key_lag: float = 0.0
    """Seconds until an instance notices that a function's keys have changed."""
    instances: int = 1
    """Instances that take requests in turn; each notices a change one lag after the one before."""


@dataclass(slots=True)
class Span:
    """A value, and when it counts, in seconds since 1970."""

    value: str = field(repr=False)
    since: float = 0.0
    until: float | None = None

    def counts(self, at: float, lag: float) -> bool:
        """Whether an instance that is behind by `lag` takes it."""
        return self.since + lag <= at if self.until is None else self.since + lag <= at < self.until + lag


class FunctionKeys:
    """The keys of one app's functions. Values are in no repr."""

    def __init__(
        self,
        clock: Clock,
        defaults: Callable[[], Mapping[str, str]],
        *,
        behaviour: SiteBehaviour | None = None,
        kept: Path | None = None,
    ) -> None:
        """Make them.

        Args:
            clock: what spans are measured by.
            defaults: function -> its first `default` key; asked when a function is first touched.
            behaviour: the choices on what the facts leave open.
            kept: an owner-only file that a Functions host reads them from, there already or not; with the
                longest lag in it, since a host is one instance.
        """
        self._clock = clock
        self._defaults = defaults
        self._behaviour = behaviour or SiteBehaviour()
        self._kept = kept
        self._spans: dict[str, dict[str, list[Span]]] = {}
        self._turns = count()
        if kept is not None:
            self._spans = spans_in(read_json_object(kept))

    def all(self, function: str) -> dict[str, str] | None:
        """Every key by name, as the management plane has them; None: there is no such function."""
        held = self._of(function)
        if held is None:
            return None
        return {name: spans[-1].value for name, spans in held.items() if spans[-1].until is None}

    def put(self, function: str, name: str, value: str | None) -> tuple[str, bool] | None:
        """Make a key or exchange its value.

        Returns:
            The value, and whether the key is new; None: there is no such function.
        """
        held = self._of(function)
        if held is None:
            return None
        value = value or secrets.token_urlsafe(32)
        spans = held.setdefault(name, [])
        new = not spans or spans[-1].until is not None
        if new or spans[-1].value != value:
            now = self._now()
            if not new:
                spans[-1].until = now
            spans.append(Span(value, now))
            self._save()
        return value, new

    def delete(self, function: str, name: str) -> bool:
        """Delete a key; False: there is none."""
        spans = (self._of(function) or {}).get(name)
        if not spans or spans[-1].until is not None:
            return False
        spans[-1].until = self._now()
        self._save()
        return True

    def accepts(self, function: str, presented: str) -> bool:
        """Whether the instance whose turn it is lets somebody in with this key."""
        held = self._of(function) or {}
        behaviour, now = self._behaviour, self._now()
        instances = behaviour.instances
        lag = behaviour.key_lag * (next(self._turns) % instances + 1)
        return any(
            hmac.compare_digest(span.value.encode(), presented.encode("utf-8", "surrogatepass"))
            for spans in held.values()
            for span in spans
            if span.counts(now, lag if span.since or span.until is not None else 0.0)
        )

    def _of(self, function: str) -> dict[str, list[Span]] | None:
        if function not in self._spans:
            first = self._defaults().get(function)
            if first is None:
                return None
            self._spans[function] = {DEFAULT: [Span(first)]}
        return self._spans[function]

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _save(self) -> None:
        if self._kept is not None:
            lag = self._behaviour.key_lag * self._behaviour.instances
            functions = {
                function: {name: [_told(span, lag) for span in spans] for name, spans in held.items()}
                for function, held in self._spans.items()
            }
            write_private_json(self._kept, {"functions": functions})


def _told(span: Span, lag: float) -> list[object]:
    since = span.since + lag if span.since else 0.0
    return [span.value, since, None if span.until is None else span.until + lag]


def spans_in(stored: Mapping[str, object] | None) -> dict[str, dict[str, list[Span]]]:
    """What a file of keys holds."""
    found: dict[str, dict[str, list[Span]]] = {}
    functions = json.loads(json.dumps((stored or {}).get("functions", {})))
    for function, held in functions.items():
        found[function] = {name: [Span(*each) for each in spans] for name, spans in held.items()}
    return found
