"""The errors of Key Vault, with the codes and messages seen in public logs and recordings."""

from collections.abc import Mapping
from typing import Any

_HELP = (
    "If you recently deleted this secret you may be able to recover it using the correct recovery command. "
    "For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"
)


class VaultError(Exception):
    """An error a caller of Key Vault gets to see; its message never holds a secret's value.

    Args:
        status: the HTTP status.
        code: `error.code`.
        message: `error.message`.
        inner: `error.innererror.code`.
        headers: more response headers.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        inner: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.inner = inner
        self.headers = dict(headers) if headers else {}

    @property
    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.inner:
            error["innererror"] = {"code": self.inner}
        return {"error": error}


def bad(message: str) -> VaultError:
    """400 of a request that does not hold what it must."""
    return VaultError(400, "BadParameter", message)


def over_limit() -> VaultError:
    """400 of a property that is too long or too many (seen for tags, blanks and all)."""
    return bad("Property  has invalid value\r\n")


def not_found(name: str, version: str | None = None) -> VaultError:
    """404 (seen): no such secret, or none of that version."""
    wanted = f"{name}/{version}" if version else name
    message = f"A secret with (name/id) {wanted} was not found in this key vault. {_HELP}"
    return VaultError(404, "SecretNotFound", message)


def deleted_not_found(name: str) -> VaultError:
    """404 (seen): no such deleted secret, or not yet."""
    return VaultError(404, "SecretNotFound", f"Deleted Secret not found: {name}")


def disabled() -> VaultError:
    """403 (seen): the value of a disabled version is asked for."""
    return VaultError(
        403, "Forbidden", "Operation get is not allowed on a disabled secret.", inner="SecretDisabled"
    )


def forbidden(caller: str, action: str, resource: str, vault: str) -> VaultError:
    """403 (seen) of somebody whose roles do not allow an action.

    Args:
        caller: `appid=...;oid=...;iss=...`.
        action: the data action.
        resource: ARM resource id of the vault, or of a secret in it.
        vault: name and location.
    """
    message = (
        "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or "
        "role definitions were changed recently, please observe propagation time.\r\n"
        f"Caller: {caller}\r\nAction: '{action}'\r\nResource: '{resource}'\r\nAssignment: (not found)\r\n"
        f"DenyAssignmentId: null\r\nDecisionReason: 'DeniedWithNoValidRBAC' \r\nVault: {vault}\r\n"
    )
    return VaultError(403, "Forbidden", message, inner="ForbiddenByRbac")


def deleted_but_recoverable(name: str) -> VaultError:
    """409 (seen): a deleted secret has that name."""
    message = (
        f"Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; "
        "in this state, the secret can only be recovered or purged."
    )
    return VaultError(409, "Conflict", message, inner="ObjectIsDeletedButRecoverable")


def being_deleted(name: str) -> VaultError:
    """409 (seen): a secret of that name is on its way out."""
    message = f"Secret {name} is currently being deleted and cannot be re-created; retry later."
    return VaultError(409, "Conflict", message, inner="ObjectIsBeingDeleted")


def still_deleting() -> VaultError:
    """409 (seen): a purge that comes before the delete is done."""
    return VaultError(409, "Conflict", "Secret is currently being deleted.", inner="ObjectIsBeingDeleted")


def being_recovered(name: str) -> VaultError:
    """409 (seen): a secret of that name is on its way back."""
    message = f"Secret {name} is currently being recovered and cannot be re-created; retry later."
    return VaultError(409, "Conflict", message, inner="ObjectIsBeingRecovered")


def purge_protected(vault: str) -> VaultError:
    """403 (seen): the vault keeps deleted secrets for their whole retention."""
    message = (
        'Operation "purge" is not allowed because purge protection is enabled for this vault. Key Vault '
        f"service will automatically purge it after the retention period has passed.\r\nVault: {vault}"
    )
    return VaultError(403, "Forbidden", message)


def throttled(retry_after: int | None) -> VaultError:
    """429 (seen; without Retry-After)."""
    message = (
        "Request was not processed because too many requests were received. "
        "Reason: VaultRequestTypeLimitReached"
    )
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else None
    return VaultError(429, "Throttled", message, headers=headers)


def no_method(allowed: str) -> VaultError:
    """405: inferred."""
    return VaultError(
        405, "MethodNotAllowed", "This path does not take that method.", headers={"Allow": allowed}
    )


def unauthorized(message: str, challenge: str) -> VaultError:
    """401 (seen) with the challenge that tells a client where to get a token."""
    return VaultError(401, "Unauthorized", message, headers={"WWW-Authenticate": challenge})
