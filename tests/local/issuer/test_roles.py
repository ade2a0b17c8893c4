"""A token lets its holder do what its roles say, and nothing else."""

import jwt
import pytest

from local.issuer import DPS, Identity, Issuer, Role
from local.issuer.roles import (
    BUILT_IN,
    DPS_DATA_READER,
    EVERYTHING,
    HUB_DATA_READER,
    HUB_REGISTRY_CONTRIBUTOR,
    READER,
    SECRETS_USER,
    Granted,
    UnknownRole,
    role,
)
from local.world import ManualClock

ISSUER = Issuer(ManualClock())


def granted(*roles: Role) -> Granted:
    return ISSUER.accept(ISSUER.token(DPS[0], roles=roles), DPS)


@pytest.mark.parametrize(
    ("given", "action", "allowed"),
    [
        (DPS_DATA_READER, "Microsoft.Devices/provisioningServices/enrollmentGroups/read", True),
        (DPS_DATA_READER, "microsoft.devices/PROVISIONINGSERVICES/registrationStates/read", True),
        (DPS_DATA_READER, "Microsoft.Devices/provisioningServices/registrationStates/delete", False),
        (
            DPS_DATA_READER,
            "Microsoft.Devices/provisioningServices/attestationmechanism/details/action",
            False,
        ),
        (DPS_DATA_READER, "Microsoft.Devices/IotHubs/devices/read", False),
        (HUB_DATA_READER, "Microsoft.Devices/IotHubs/statistics/read", True),
        (HUB_DATA_READER, "Microsoft.Devices/IotHubs/devices/delete", False),
        (HUB_REGISTRY_CONTRIBUTOR, "Microsoft.Devices/IotHubs/devices/delete", True),
        (HUB_REGISTRY_CONTRIBUTOR, "Microsoft.Devices/IotHubs/twins/read", False),
        (SECRETS_USER, "Microsoft.KeyVault/vaults/secrets/getSecret/action", True),
        (SECRETS_USER, "Microsoft.KeyVault/vaults/secrets/setSecret/action", False),
    ],
)
def test_a_role_allows_what_its_patterns_match(given: Role, action: str, allowed: bool) -> None:
    assert granted(given).may(action) is allowed


def test_every_action_that_is_asked_for_must_be_allowed() -> None:
    reads = ("Microsoft.Devices/IotHubs/devices/read", "Microsoft.Devices/IotHubs/twins/read")
    assert granted(HUB_DATA_READER).may(*reads)
    assert not granted(HUB_REGISTRY_CONTRIBUTOR).may(*reads)


def test_data_and_management_are_apart() -> None:
    page = "Microsoft.Devices/provisioningServices/read"
    assert granted(READER).may_manage(page)
    assert not granted(READER).may(page)
    assert not granted(*(each for each in EVERYTHING if each is not READER)).may_manage(page)


def test_an_identity_without_roles_may_nothing() -> None:
    nobody = Identity("client", "object", roles=())
    holder = ISSUER.accept(ISSUER.token(DPS[0], nobody), DPS)
    assert (holder.client_id, holder.data_actions, holder.actions) == ("client", (), ())


@pytest.mark.parametrize("claim", ["everything", 7, None, {"*": "*"}, [7, None]])
def test_a_claim_that_is_no_list_of_texts_allows_nothing(claim: object) -> None:
    claims = jwt.decode(ISSUER.token(DPS[0]), options={"verify_signature": False})
    token = jwt.encode(claims | {"local_data_actions": claim}, ISSUER._key, algorithm="RS256")
    assert ISSUER.accept(token, DPS).data_actions == ()


def test_roles_are_found_by_name_by_id_and_made_of_a_data_action() -> None:
    for each in BUILT_IN:
        assert role(each.name.upper()) is each
        assert role(each.id) is each
    own = role("Microsoft.Devices/provisioningServices/registrationStates/delete")
    assert granted(own).may(own.name)
    with pytest.raises(UnknownRole, match="Key Vault Secrets User"):
        role("Owner")
