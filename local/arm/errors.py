"""The errors of Azure Resource Manager, with the codes and messages seen in public logs."""

from local.asgi import Response


class ArmError(Exception):
    """An error in Azure Resource Manager's shape."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    @property
    def response(self) -> Response:
        """The answer that says so."""
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        return Response(self.status, {"error": {"code": self.code, "message": self.message}}, headers)


def nothing_here() -> ArmError:
    """404 of a path that is none of provisioning services."""
    return ArmError(404, "NotFound", "There is nothing at this path.")


def no_resource(resource: str, group: str) -> ArmError:
    """404 of a resource."""
    message = (
        f"The Resource '{resource}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    return ArmError(404, "ResourceNotFound", message)


def no_group(group: str) -> ArmError:
    """404 of a resource group."""
    return ArmError(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")


def no_subscription(subscription: str) -> ArmError:
    """404 of a subscription."""
    message = f"The subscription '{subscription}' could not be found."
    return ArmError(404, "SubscriptionNotFound", message)


def not_authorized(client_id: str, object_id: str, action: str, scope: str) -> ArmError:
    """403 of somebody whose roles do not allow an action."""
    message = (
        f"The client '{client_id}' with object id '{object_id}' does not have "
        f"authorization to perform action '{action}' over scope '{scope}' or the scope is "
        "invalid. If access was recently granted, please refresh your credentials."
    )
    return ArmError(403, "AuthorizationFailed", message)
