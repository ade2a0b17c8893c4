"""Roles and what they allow.

Names, ids and patterns are those of the built-in roles (documented). Real tokens do not carry them: Azure
looks role assignments up. Here the issuer writes what its holder was given into each token, so that a
service needs nothing but the token, and scopes do not exist: a role counts at every service of its kind.

Which data action a call needs is documented for DPS and for what a hub's devices, twins and statistics are
read by; the actions of a vault are seen in its refusals. Unknown, and read in the strictest way: a query
of a hub needs to read devices and twins; a bulk call, whatever its mode, to write and to delete.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

PROVISIONING = "Microsoft.Devices/provisioningServices"
IOT_HUBS = "Microsoft.Devices/IotHubs"
SECRETS = "Microsoft.KeyVault/vaults/secrets"


@dataclass(frozen=True, slots=True)
class Role:
    """What somebody may do; `*` in a pattern stands for any text."""

    name: str
    id: str = ""
    """Of the built-in role definition; empty for one's own."""
    data_actions: tuple[str, ...] = ()
    """Patterns of what may be done at the services themselves."""
    actions: tuple[str, ...] = ()
    """Patterns of what may be done at the management plane."""


DPS_DATA_CONTRIBUTOR = Role(
    "Device Provisioning Service Data Contributor",
    "dfce44e4-17b7-4bd1-a6d1-04996ec95633",
    (f"{PROVISIONING}/*",),
)
DPS_DATA_READER = Role(
    "Device Provisioning Service Data Reader",
    "10745317-c249-44a1-a5ce-3a4353c0bbd8",
    (f"{PROVISIONING}/*/read",),
)
HUB_DATA_CONTRIBUTOR = Role(
    "IoT Hub Data Contributor", "4fc6c259-987e-4a07-842e-c321cc9d413f", (f"{IOT_HUBS}/*",)
)
HUB_DATA_READER = Role("IoT Hub Data Reader", "b447c946-2db7-41ec-983d-d8bf3b1c77e3", (f"{IOT_HUBS}/*/read",))
HUB_REGISTRY_CONTRIBUTOR = Role(
    "IoT Hub Registry Contributor", "4ea46cd5-c1b2-4a8e-910b-273211f9ce47", (f"{IOT_HUBS}/devices/*",)
)
HUB_TWIN_CONTRIBUTOR = Role(
    "IoT Hub Twin Contributor", "494bdba2-168f-4f31-a0a1-191d2f7c028c", (f"{IOT_HUBS}/twins/*",)
)
SECRETS_OFFICER = Role("Key Vault Secrets Officer", "b86a8fe4-44ce-4948-aee5-eccb2c155cd7", (f"{SECRETS}/*",))
SECRETS_USER = Role(
    "Key Vault Secrets User",
    "4633458b-17de-408a-b874-0445c86b69e6",
    (f"{SECRETS}/getSecret/action", f"{SECRETS}/readMetadata/action"),
)
WEBSITE_CONTRIBUTOR = Role(
    "Website Contributor", "de139f84-1756-47ae-9be6-808fbbe84772", actions=("Microsoft.Web/sites/*",)
)
READER = Role("Reader", "acdd72a7-3385-48ef-bd42-f606fba81ae7", actions=("*/read",))
BUILT_IN = (
    DPS_DATA_CONTRIBUTOR,
    DPS_DATA_READER,
    HUB_DATA_CONTRIBUTOR,
    HUB_DATA_READER,
    HUB_REGISTRY_CONTRIBUTOR,
    HUB_TWIN_CONTRIBUTOR,
    SECRETS_OFFICER,
    SECRETS_USER,
    READER,
    WEBSITE_CONTRIBUTOR,
)
EVERYTHING = (DPS_DATA_CONTRIBUTOR, HUB_DATA_CONTRIBUTOR, SECRETS_OFFICER, READER)
"""What the app and most commands need; the keys of function apps are not among it."""
OPERATORS = (*EVERYTHING, WEBSITE_CONTRIBUTOR)
"""What an operator needs who rolls the webhook's key."""


class UnknownRole(Exception):
    """There is no role of that name; the text says which there are."""


def role(text: str) -> Role:
    """The built-in role of a name or an id, without case; a text with a slash is a data action of its own.

    Raises:
        UnknownRole: it is neither.
    """
    for each in BUILT_IN:
        if text.lower() in (each.name.lower(), each.id):
            return each
    if "/" in text:
        return Role(text, data_actions=(text,))
    known = ", ".join(each.name for each in BUILT_IN)
    raise UnknownRole(f"{text[:80]!r} is no role; there are {known}, and any data action")


@dataclass(frozen=True, slots=True)
class Granted:
    """What an accepted token says of its holder and of what it may do."""

    object_id: str
    client_id: str
    tenant: str
    data_actions: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()

    def may(self, *data_actions: str) -> bool:
        """Whether each of these may be done at a service."""
        return all(_matches(self.data_actions, each) for each in data_actions)

    def may_manage(self, action: str) -> bool:
        """Whether it may be done at the management plane."""
        return _matches(self.actions, action)


def patterns(roles: Iterable[Role]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Data actions and actions of some roles together, each pattern once."""
    given = tuple(roles)
    return (
        tuple(dict.fromkeys(each for one in given for each in one.data_actions)),
        tuple(dict.fromkeys(each for one in given for each in one.actions)),
    )


def _matches(allowed: tuple[str, ...], action: str) -> bool:
    return any(_compiled(pattern).fullmatch(action) for pattern in allowed)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.IGNORECASE | re.DOTALL)
