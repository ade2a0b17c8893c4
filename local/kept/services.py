"""A whole world as lines, and its records back in services made anew."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from local.dps.store import Store as Records
from local.hub import IotHub
from local.iothub.packing import unpack
from local.kept import dps, vault
from local.kept.file import line
from local.kept.head import Head, values
from local.vault import KeyVault

_DEVICE = "device"
_HEAD = frozenset({"world", "dps", "ca", "hub"})


class _Provisioning(Protocol):
    @property
    def store(self) -> Records: ...


@dataclass(frozen=True, slots=True)
class Services:
    """Those whose records are kept."""

    dps: _Provisioning
    hubs: Mapping[str, IotHub]
    """By host name."""
    vault: KeyVault


def lines(head: Head, services: Services) -> Iterator[bytes]:
    """All that is kept, as `file.write` takes it; nothing may change meanwhile."""
    for value in values(head):
        yield line(value)
    for value in dps.values(services.dps.store):
        yield line(value)
    for host_name, hub in services.hubs.items():
        opening = b'{"%s":[%s,' % (_DEVICE.encode(), json.dumps(host_name).encode())
        for packed in hub.devices.records():
            # A device's compact form is two flags and a JSON list. Whoever changes it changes VERSION.
            yield b'%s"%s",%s]}\n' % (opening, packed[:2], packed[2:])
    for value in vault.values(services.vault):
        yield line(value)


def fill(kept: Iterable[Mapping[str, Any]], services: Services) -> None:
    """Put the records of kept lines into empty services.

    The hubs must not be served yet: whoever counts devices or follows their changes starts with them.

    Raises:
        KeyError, TypeError, ValueError: the lines are not those of `lines`.
    """
    for each in kept:
        [(kind, value)] = each.items()
        match kind:
            case dps.REGISTRATION:
                dps.put_registration(services.dps.store, value)
            case "device":
                host_name, flags, body = value
                packed = flags.encode("ascii") + json.dumps(body, separators=(",", ":")).encode("ascii")
                services.hubs[host_name].devices.put(unpack(packed))
            case dps.ENROLLMENT:
                dps.put_enrollment(services.dps.store, value)
            case vault.SECRET:
                vault.put_secret(services.vault, value)
            case vault.DUE:
                vault.put_due(services.vault, value)
            case vault.RAISED:
                vault.put_raised(services.vault, value)
            case _ if kind not in _HEAD:
                raise ValueError(f"there is no record of kind {kind[:40]!r}")
