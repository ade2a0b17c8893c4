"""One request given to an ASGI application as it is, past everything a client would tidy up."""

from typing import Any

import httpx


async def call(
    application: Any, method: str, path: str, query: Any = None, headers: Any = (), body: bytes = b""
) -> tuple[int, bytes]:
    """Status and body of the answer."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": str(httpx.QueryParams(query or {})).encode(),
        "headers": list(headers),
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    await application(scope, receive, send)
    return int(sent[0]["status"]), bytes(sent[1]["body"])
