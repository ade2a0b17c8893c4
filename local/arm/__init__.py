"""The management plane's page on provisioning services, to read and not to write.

Known: the paths and members (published API descriptions of 2022-12-12 and, from Microsoft's own client, of
2026-08-31 and 2026-11-01), keys that come masked, hubs that show weight and `applyAllocationPolicy` only
when they were set (both seen in a debug log), and the error codes and messages (seen in public logs).

What is unknown, and what this does:
- whether a hub linked without naming them shows the two members of allocation: a choice of `ArmBehaviour`;
- which members a hub linked by identity has in 2022-12-12: those it always has, without connectionString;
- whether a list of a few services comes in pages: a choice of `ArmBehaviour`;
- the order of the checks: token, api-version, path, rights, existence;
- the message of a refused token other than an expired one and one for another audience: words of its own.

Changes and key lists of provisioning services are refused to everybody, as a role that can only read refuses
them: nothing that works with these emulators may need them. The keys of function apps are another matter: see
`local.arm.sites`.
"""

from local.arm.errors import ArmError
from local.arm.page import ArmPage
from local.arm.paths import API_VERSIONS
from local.arm.resources import (
    SUBSCRIPTION,
    ArmBehaviour,
    Authority,
    LinkedHub,
    Provisioning,
    ProvisioningResource,
)
from local.arm.sites import FunctionSite

__all__ = [
    "API_VERSIONS",
    "SUBSCRIPTION",
    "ArmBehaviour",
    "ArmError",
    "ArmPage",
    "Authority",
    "FunctionSite",
    "LinkedHub",
    "Provisioning",
    "ProvisioningResource",
]
