"""What is the same for every check of a run: read once at its start, kept in a row, and so in all slices."""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from allocation import CompiledPolicy, FleetView, HubState
from clients.arm import CaCertificate, DpsPage, LinkedHub, Unknown
from lifecycle.audit.evidence import Around, Complete, Thresholds
from provisioning.hubs import HubKey, hub_key

CHANGED = "the policy in force changed while the audit ran; the next run looks at the new one"


def kept(
    page: DpsPage | Unknown,
    certificates: tuple[CaCertificate, ...] | Unknown,
    fleet: FleetView | None,
    policy: str | None,
) -> dict[str, Any]:
    """The values as JSON. Nothing of them is secret: certificates are public.

    Args:
        page: of the management plane.
        certificates: of the management plane.
        fleet: hub states and loads.
        policy: version of the one in force.
    """
    return {
        "page": _page(page),
        "certificates": (
            {"unknown": certificates.reason}
            if isinstance(certificates, Unknown)
            else [_certificate(each) for each in certificates]
        ),
        "fleet": None if fleet is None else _fleet(fleet),
        "policy": policy,
    }


def around(
    values: Mapping[str, Any],
    *,
    dps: str,
    now: datetime,
    thresholds: Thresholds,
    complete: Complete,
    policy: CompiledPolicy | None,
    webhook: str,
) -> Around:
    """The values of `kept`, with what is not kept beside them.

    Args:
        values: of `kept`.
        dps: name of the DPS.
        now: when the run started.
        thresholds: of the run.
        complete: what was read to its end so far.
        policy: the one in force; ignored unless it is the one that was when the run started.
        webhook: this app's URL without its key.
    """
    same = policy is not None and policy.version == values["policy"]
    return Around(
        dps=dps,
        now=now,
        thresholds=thresholds,
        complete=complete,
        page=_page_of(values["page"]),
        certificates=_certificates_of(values["certificates"]),
        policy=policy if same else None,
        fleet=None if values["fleet"] is None else _fleet_of(values["fleet"]),
        webhook=webhook,
    )


def _page(page: DpsPage | Unknown) -> dict[str, Any]:
    if isinstance(page, Unknown):
        return {"unknown": page.reason}
    hubs = page.linked_hubs
    return {
        "name": page.name,
        "location": page.location,
        "sku": page.sku,
        "capacity": page.capacity,
        "id_scope": page.id_scope,
        "service_host": page.service_host,
        "device_host": page.device_host,
        "allocation_policy": page.allocation_policy,
        "local_auth_disabled": page.local_auth_disabled,
        "hubs": (
            {"unknown": hubs.reason}
            if isinstance(hubs, Unknown)
            else [
                [each.host_name, each.weight, each.applies_allocation_policy, each.location] for each in hubs
            ]
        ),
    }


def _page_of(value: Mapping[str, Any]) -> DpsPage | Unknown:
    if "unknown" in value:
        return Unknown(value["unknown"])
    hubs = value["hubs"]
    linked: tuple[LinkedHub, ...] | Unknown = (
        Unknown(hubs["unknown"])
        if isinstance(hubs, dict)
        else tuple(LinkedHub(name, hub_key(name), *rest) for name, *rest in hubs)
    )
    rest = {name: each for name, each in value.items() if name != "hubs"}
    return DpsPage(**rest, linked_hubs=linked)


def _certificate(each: CaCertificate) -> dict[str, Any]:
    return {
        "name": each.name,
        "subject": each.subject,
        "thumbprint": each.thumbprint,
        "verified": each.verified,
        "expires": None if each.expires is None else each.expires.isoformat(),
        "der": None if each.der is None else base64.b64encode(each.der).decode(),
    }


def _certificates_of(value: Any) -> tuple[CaCertificate, ...] | Unknown:
    if isinstance(value, dict):
        return Unknown(value["unknown"])
    return tuple(
        CaCertificate(
            each["name"],
            each["subject"],
            each["thumbprint"],
            each["verified"],
            None if each["expires"] is None else datetime.fromisoformat(each["expires"]),
            None if each["der"] is None else base64.b64decode(each["der"]),
        )
        for each in value
    )


def _fleet(fleet: FleetView) -> dict[str, Any]:
    return {
        "states": {hub: str(state) for hub, state in fleet.states.items()},
        "loads": dict(fleet.loads),
        "avoided": sorted(fleet.avoided),
        "as_of": None if fleet.as_of is None else fleet.as_of.isoformat(),
    }


def _fleet_of(value: Mapping[str, Any]) -> FleetView:
    return FleetView(
        states={HubKey(hub): HubState(state) for hub, state in value["states"].items()},
        loads={HubKey(hub): load for hub, load in value["loads"].items()},
        avoided=frozenset(map(HubKey, value["avoided"])),
        as_of=None if value["as_of"] is None else datetime.fromisoformat(value["as_of"]),
    )
