"""The servers of `pages` and `listing`, each a process of its own, both on local/serve.py over TLS.

Usage: python -m tests.bench.page_servers FOLDER (dps RECORDS | bare PAGE_FILE | listing PAGE_FILE PAGES).
FOLDER/ready.json says where it serves, once it does.
"""

import asyncio
import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.dps.seed import seed
from local.dps.service import ProvisioningService
from local.hub import IotHub
from local.serve import serve
from local.tls import CertificateAuthority

HUBS = 10


def filled(records: int) -> tuple[Any, dict[str, Any]]:
    """An emulator with that many records in one group; its hubs stay empty, pages do not look at them."""
    hubs = [IotHub(f"hub-{number:02d}.azure-devices.net") for number in range(HUBS)]
    service = ProvisioningService(hubs=hubs)
    started = time.perf_counter()
    seeded = seed(service, registrations=records, groups=1, devices=False)
    told = {
        "fill_seconds": time.perf_counter() - started,
        "group": seeded.groups[0],
        "connection_string": service.connection_string("localhost"),
    }
    return service.asgi, told


def bare(page: dict[str, Any]) -> Any:
    """One route that answers the bytes and headers of a page."""
    body, headers = base64.b64decode(page["body"]), dict(page["headers"])

    async def answer(request: Request) -> Response:
        await request.body()
        return Response(body, headers=headers)

    return Starlette(routes=[Route("/registrations/{group}/query", answer, methods=["POST"])])


def in_pages(page: dict[str, Any], pages: int) -> tuple[Any, dict[str, Any]]:
    """A listing of so many pages, all of the same bytes: it costs next to nothing to serve."""
    body = base64.b64decode(page["body"])

    async def answer(request: Request) -> Response:
        await request.body()
        following = int(request.headers.get("x-ms-continuation", "0")) + 1
        headers = {"x-ms-continuation": str(following)} if following < pages else {}
        return Response(body, headers=headers, media_type="application/json")

    app = Starlette(routes=[Route("/enrollments/query", answer, methods=["POST"])])
    return app, {"connection_string": page["connection_string"]}


async def main(folder: Path, app: Any, told: dict[str, Any]) -> None:
    certificate = CertificateAuthority(folder / "tls").issue()
    async with serve(app, certificate) as address:
        ready = folder / "ready.json"
        ready.with_suffix(".tmp").write_text(
            json.dumps({"port": address.port, "ca": str(certificate.ca_pem), **told})
        )
        ready.with_suffix(".tmp").replace(ready)
        await asyncio.Event().wait()


if __name__ == "__main__":
    kind, argument, *more = sys.argv[2:]
    if kind == "dps":
        served = filled(int(argument))
    elif kind == "bare":
        served = (bare(json.loads(Path(argument).read_text())), {})
    else:
        served = in_pages(json.loads(Path(argument).read_text()), int(more[0]))
    asyncio.run(main(Path(sys.argv[1]), *served))
