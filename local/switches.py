"""The unknown behaviours of the real services as switches, each resolved when it is first consulted.

An emulator reads its behaviour from a frozen dataclass. `Switches.behaviour` stands in for such a value:
reading a field that is a switch asks `Choices` once and keeps the answer for the rest of the run, so that
an explorer branches only on what a scenario really consults. Every other field reads as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

B = TypeVar("B")


class Choices(Protocol):
    """Where the position of a switch comes from."""

    def choose(self, name: str, options: Sequence[Any]) -> Any:
        """One of the options; the first is the plain reading."""


class Defaults:
    """Every switch in its first position."""

    def choose(self, name: str, options: Sequence[Any]) -> Any:  # noqa: ARG002  the protocol's
        """The first option."""
        return options[0]


@dataclass(frozen=True, slots=True)
class Switch:
    """One unknown behaviour."""

    name: str
    """Service and field of its behaviour: `dps.put_without_keys`."""
    options: tuple[Any, ...]
    """The positions; the first is the plain reading, which the field's default has too."""
    meaning: str


SWITCHES = (
    Switch(
        "dps.mask_webhook_url_on_get",
        (False, True),
        "whether reads of enrollments mask the query of the webhook's URL",
    ),
    Switch(
        "dps.put_without_keys",
        ("keep", "regenerate", "refuse"),
        "what a PUT of a symmetric-key enrollment without keys does to its keys",
    ),
    Switch(
        "dps.orphans_queryable", (True, False), "whether the registrations of a deleted group can be queried"
    ),
    Switch("dps.default_page_size", (100, 10), "items of a page when the request names no size"),
    Switch("dps.max_page_size", (1000, 7), "most items of a page, whatever was asked for"),
    Switch(
        "dps.continuation_lifetime",
        (None, 60.0),
        "seconds after which a continuation token is refused; None: never",
    ),
    Switch("dps.retry_after_on_429", (None, 5), "seconds in the Retry-After of a 429; None: no such header"),
    Switch(
        "dps.other_key_refused_seconds",
        (0.0, 1800.0),
        "for how long after a registration with one key the other key is refused",
    ),
    Switch(
        "dps.put_update_returns_keys",
        (False, True),
        "whether the answer to a PUT that updates carries the symmetric keys",
    ),
    Switch(
        "dps.enrollment_delete_drops_registration",
        (True, False),
        "whether deleting an individual enrollment deletes its registration record",
    ),
    Switch(
        "dps.failure_keeps_hub",
        (True, False),
        "whether the record of a failed or disabled registration still names the hub of the one before",
    ),
    Switch(
        "dps.retired_hubs_in_linked_hubs",
        (True, False),
        "whether the webhook is offered hubs with applyAllocationPolicy false",
    ),
    Switch(
        "dps.hub_key_follows_registration",
        (True, False),
        "whether registering again on the same hub rewrites the hub identity's credentials",
    ),
    Switch(
        "dps.existing_twin",
        ("reset", "keep"),
        "what an initial assignment does to the twin of a device the hub already has",
    ),
    Switch(
        "dps.hub_throttle",
        ("wait", "fail"),
        "what a registration does when its hub has no room for DPS's identity operations",
    ),
    Switch("dps.webhook_timeout", (30.0, 5.0), "seconds DPS waits for the webhook's answer"),
    Switch(
        "dps.client_certificates_expire",
        (True, False),
        "whether the dates of a certificate count that an individual enrollment names itself",
    ),
    Switch(
        "dps.signing_certificates_are_trusted",
        (False, True),
        "whether a group's signing certificate vouches without a verified CA above it",
    ),
    Switch(
        "dps.x509_result_shows_certificates",
        (False, True),
        "whether a device's result tells of its certificate and its signer's",
    ),
    Switch(
        "hub.move_sends_deleted",
        (True, False),
        "whether DeviceDeleted comes from the hub that a device leaves when DPS moves it",
    ),
    Switch("hub.statistics_lag", (0.0, 300.0), "seconds by which device statistics are behind the registry"),
    Switch("hub.statistics_never_fall", (False, True), "whether deleted devices stay counted"),
    Switch("hub.query_lag", (0.0, 60.0), "seconds until queries see a new or a changed device"),
    Switch("hub.query_ghosts", (0.0, 1800.0), "seconds for which queries still find a deleted device"),
    Switch("hub.default_page_size", (100, 10), "rows of a page when the query names no number"),
    Switch("hub.max_page_size", (1000, 7), "most rows of a page, whatever was asked for"),
    Switch(
        "hub.continuation_lifetime",
        (None, 60.0),
        "seconds after which a continuation token is refused; None: never",
    ),
    Switch("hub.retry_after", (False, True), "whether a 429 has a Retry-After"),
    Switch(
        "hub.statistics_count_as_identity",
        (True, False),
        "whether reading statistics uses the budget of identity operations",
    ),
    Switch(
        "hub.bulk_counts_devices",
        (True, False),
        "whether a bulk call uses as many identity operations as it names devices",
    ),
    Switch(
        "hub.unquoted_if_match", (True, False), "whether an identity's etag in If-Match may lack its quotes"
    ),
    Switch(
        "hub.capital_thumbprints",
        (False, True),
        "whether the members of a twin's x509Thumbprint begin with a capital",
    ),
    Switch(
        "hub.numbered_errors",
        (False, True),
        "whether error bodies have errorCode and message, and not Message with the name in front",
    ),
    Switch(
        "site.key_lag",
        (0.0, 90.0),
        "seconds until an instance of a Functions app notices that a key was made or deleted",
    ),
    Switch(
        "site.instances",
        (1, 2),
        "instances that take requests in turn, each noticing a change of keys one lag after the one before",
    ),
    Switch(
        "mqtt.credentials_checked",
        ("register", "connect"),
        "when a wrong token is noticed over MQTT",
    ),
)
"""Each unknown behaviour, under the name of the field that reads it."""

_BY_NAME = {switch.name: switch for switch in SWITCHES}


class UnknownSwitch(Exception):
    """There is no switch of that name, or it has no such position; the text says what there is."""


class AlreadyConsulted(Exception):
    """A switch was consulted in this run: what follows from it cannot be taken back."""


class Switches:
    """The switches of one run."""

    def __init__(self, choices: Choices | None = None) -> None:
        """Make them.

        Args:
            choices: asked at the first consultation of each switch that was not set before; None: the
                plain readings.
        """
        self._choices = choices or Defaults()
        self._set: dict[str, Any] = {}
        self._resolved: dict[str, Any] = {}

    def set(self, name: str, position: Any) -> None:
        """Put a switch into a position before it is consulted.

        Raises:
            UnknownSwitch: no such switch or position.
            AlreadyConsulted: it was consulted before.
        """
        switch = _BY_NAME.get(name)
        if switch is None:
            raise UnknownSwitch(f"there is no switch {name!r}; there are {', '.join(_BY_NAME)}")
        # By type too: 0 and False, 1 and True are equal.
        found = [each for each in switch.options if each == position and _sort(each) == _sort(position)]
        if not found:
            raise UnknownSwitch(
                f"{name} has no position {position!r}; it has {', '.join(map(repr, switch.options))}"
            )
        if name in self._resolved:
            raise AlreadyConsulted(
                f"{name} was consulted in this run and is {self._resolved[name]!r}; set it before that, "
                "right after the start"
            )
        self._set[name] = found[0]

    def resolve(self, name: str, plain: Any) -> Any:
        """The position of a switch for the rest of the run.

        Args:
            name: of a switch.
            plain: the first option here: the field's value in the behaviour that is stood in for.

        Raises:
            KeyError: there is no such switch.
        """
        if name not in self._resolved:
            if name in self._set:
                self._resolved[name] = self._set[name]
            else:
                others = (option for option in _BY_NAME[name].options if option != plain)
                self._resolved[name] = self._choices.choose(name, (plain, *others))
        return self._resolved[name]

    def behaviour(self, base: B, service: str) -> B:
        """A stand-in for `base` whose switches are resolved as they are read.

        Args:
            base: a behaviour dataclass; it gives the plain readings and everything that is no switch.
            service: the first part of its switches' names.
        """
        return cast("B", _Switched(base, service, self))

    def told(self) -> list[dict[str, Any]]:
        """Every switch for people: its positions, where it stands, and whether it was consulted."""
        return [
            {
                "name": switch.name,
                "meaning": switch.meaning,
                "positions": list(switch.options),
                "position": self._resolved.get(switch.name, self._set.get(switch.name, switch.options[0])),
                "set": switch.name in self._set,
                "consulted": switch.name in self._resolved,
            }
            for switch in SWITCHES
        ]


class _Switched:
    """Reads like the behaviour it stands in for."""

    __slots__ = ("_base", "_names", "_switches")

    def __init__(self, base: Any, service: str, switches: Switches) -> None:
        self._base = base
        self._switches = switches
        of_service = f"{service}."
        self._names = {
            name.removeprefix(of_service): name for name in _BY_NAME if name.startswith(of_service)
        }

    def __getattr__(self, field: str) -> Any:
        value = getattr(self._base, field)
        name = self._names.get(field)
        return value if name is None else self._switches.resolve(name, value)


def _sort(value: Any) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)
