"""A test issuer of bearer tokens: makes them, judges them, and hands them out as Azure's endpoints do."""

from local.issuer.endpoint import TokenService
from local.issuer.tokens import (
    ARM,
    DPS,
    HUBS,
    STORAGE,
    VAULT,
    Caller,
    Identity,
    Issuer,
    Refusal,
    TokenJudge,
    TokenRefused,
    caller,
)

__all__ = [
    "ARM",
    "DPS",
    "HUBS",
    "STORAGE",
    "VAULT",
    "Caller",
    "Identity",
    "Issuer",
    "Refusal",
    "TokenJudge",
    "TokenRefused",
    "TokenService",
    "caller",
]
