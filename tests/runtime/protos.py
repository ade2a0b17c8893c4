"""Stand-ins for the generated protobuf classes that the Functions host and its worker speak in.

The runtime library takes the module as an argument and only makes such messages and reads their fields. What
it leans on of protobuf's own behaviour is here: which member of a oneof is set, unset messages that read as
empty ones, enums given by name and refused when the name is unknown.
"""

from typing import Any, ClassVar


class Message:
    """Holds the fields it is made with."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class _OneOf(Message):
    """At most one field is set."""

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802  protobuf's spelling
        return next(iter(self.__dict__), None)


class TypedData(_OneOf):
    """A value on the wire: ``string``, ``json``, ``bytes``, ``http``, ``int``, ``double`` …"""


class ParameterBinding(Message):
    """The value of one parameter."""

    def WhichOneof(self, group: str) -> str:  # noqa: N802  protobuf's spelling
        return "data"


class RpcException(Message):
    def __init__(self, source: str = "", stack_trace: str = "", message: str = "") -> None:
        super().__init__(source=source, stack_trace=stack_trace, message=message)


class StatusResult(Message):
    Failure = 0
    Success = 1


class BindingInfo(Message):
    undefined = 0
    out = 1
    inout = 2


class RpcRetryOptions(Message):
    """``retry_strategy`` is an enum: protobuf takes its names, and no others."""

    _STRATEGIES: ClassVar = {"exponential_backoff", "fixed_delay"}

    def __init__(self, *, retry_strategy: str, **fields: Any) -> None:
        if retry_strategy not in self._STRATEGIES:
            raise ValueError(f'unknown enum label "{retry_strategy}"')
        super().__init__(retry_strategy=retry_strategy, **fields)


class _SameSite:
    Lax = "Lax"
    Strict = "Strict"
    ExplicitNone = "ExplicitNone"


setattr(_SameSite, "None", "None")


class RpcHttpCookie(Message):
    SameSite = _SameSite


class RpcHttp(Message): ...


class NullableString(Message): ...


class NullableBool(Message): ...


class NullableDouble(Message): ...


class NullableTimestamp(Message): ...


class Timestamp(Message): ...


class WorkerMetadata(Message): ...


class WorkerInitResponse(Message): ...


class FunctionEnvironmentReloadResponse(Message): ...


class FunctionMetadataResponse(Message): ...


class RpcFunctionMetadata(Message): ...


class FunctionLoadResponse(Message): ...


class InvocationResponse(Message): ...
