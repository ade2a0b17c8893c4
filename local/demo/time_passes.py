"""Time that passes for a whole stack at once: its services, the Functions host, and who calls them."""

from datetime import timedelta

from local.admin.port import TOKEN_HEADER
from local.clients import connect
from local.stack import Stack


async def pass_time(stack: Stack, span: timedelta) -> None:
    """Move the date of a stack on. What became due has been set going when this returns."""
    async with connect(stack.admin_address.url, stack.trust) as admin:
        answer = await admin.post(
            "/clock",
            json={"advance": span.total_seconds()},
            headers={TOKEN_HEADER: stack.admin.token},
            timeout=300,
        )
        answer.raise_for_status()
