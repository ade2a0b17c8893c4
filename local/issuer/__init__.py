"""A test issuer of bearer tokens: makes them, judges them, and hands them out as Azure's endpoints do."""

from local.issuer.endpoint import TokenService
from local.issuer.roles import Granted, Role
from local.issuer.tokens import (
    ARM,
    DPS,
    HUBS,
    STORAGE,
    VAULT,
    Identity,
    Issuer,
    Refusal,
    TokenJudge,
    TokenRefused,
)

__all__ = [
    "ARM",
    "DPS",
    "HUBS",
    "STORAGE",
    "VAULT",
    "Granted",
    "Identity",
    "Issuer",
    "Refusal",
    "Role",
    "TokenJudge",
    "TokenRefused",
    "TokenService",
]
