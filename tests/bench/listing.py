"""Listing 100,000 enrollments: the DPS client against a bare httpx loop over the same pages.

Both are processes of their own that ask one server for pages it has ready, so that nothing but the client
differs: the bare loop fetches and decodes them, the client also has a rate share, a token, retries, and a
checked view of each enrollment.

Usage of a child: python -m tests.bench.listing READY_FILE (bare | client) PAGE
"""

import asyncio
import base64
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from clients.auth import ConnectionString
from clients.clock import SystemClock
from clients.connections import Connections
from clients.dps import API_VERSION, DpsClient
from clients.pacing import UnpacedShare
from local.dps.seed import seed
from local.dps.service import ProvisioningService
from local.hub import IotHub
from tests.bench.measure import ROOT, Amount, Figure, Ratio, Results, percentile
from tests.bench.page_servers import HUBS
from tests.bench.pages import server
from tests.bench.resident import peak_mb

RATIO_AIM = 1.5
GROWTH_AIM_MB = 16
WARM_PAGES = 20
"""Pages after which memory is looked at first: imports, connections and buffers are there by then."""


def listing(rounds: int, records: int, tell: Callable[[str], None]) -> Results:
    """Seconds of a whole listing at two page sizes, the ratio, and what the client's memory grows by."""
    results = Results()
    for page in (100, 1_000):
        taken: dict[str, list[float]] = {"bare": [], "client": []}
        grown: list[float] = []
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            file = folder / "page.json"
            file.write_text(json.dumps(asyncio.run(_rendered(page))))
            with server(folder / "pages", "listing", str(file), str(records // page)) as (_, told):
                ready = folder / "pages" / "ready.json"
                for number in range(rounds + 1):
                    tell(f"listing {records} enrollments by {page}, round {number} of {rounds}")
                    for who, seconds in taken.items():
                        ended = _child(ready, who, page)
                        if ended["records"] != records:
                            raise SystemExit(f"bench: {who} listed {ended['records']} of {records}; {told}")
                        if number:  # the first round warms up
                            seconds.append(ended["seconds"])
                            if who == "client":
                                grown.append(ended["grown_mb"])
        results += Results(
            tuple(
                Figure(
                    f"listing {records:,} enrollments by {page}: {who}",
                    1,
                    round(statistics.median(seconds) * 1_000),
                    round(percentile(seconds, 0.99) * 1_000),
                )
                for who, seconds in taken.items()
            ),
            (
                Ratio(
                    f"listing by {page}: client / bare httpx loop",
                    round(
                        statistics.median(a / b for a, b in zip(taken["client"], taken["bare"], strict=True)),
                        2,
                    ),
                    RATIO_AIM,
                ),
            ),
            (
                Amount(
                    f"listing by {page}: growth of the client's memory after {WARM_PAGES} pages",
                    round(max(grown), 1),
                    "MB",
                    GROWTH_AIM_MB,
                ),
            ),
        )
    return results


def _child(ready: Path, who: str, page: int) -> dict[str, Any]:
    argv = [sys.executable, "-m", "tests.bench.listing", str(ready), who, str(page)]
    told: dict[str, Any] = json.loads(subprocess.run(argv, cwd=ROOT, capture_output=True, check=True).stdout)
    return told


async def _rendered(page: int) -> dict[str, Any]:
    """A page as the emulator renders it, whose enrollments have registered or not."""
    hubs = [IotHub(f"hub-{number:02d}.azure-devices.net") for number in range(HUBS)]
    dps = ProvisioningService(hubs=hubs)
    seed(dps, enrollments=page, registrations=page, groups=1, devices=False)
    login = ConnectionString.parse(dps.connection_string("localhost"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(dps.asgi)) as client:
        answer = await client.post(
            "https://localhost/enrollments/query",
            params={"api-version": API_VERSION},
            json={"query": "SELECT *"},
            headers={
                "authorization": await login.auth(SystemClock()).header(),
                "x-ms-max-item-count": str(page),
            },
        )
    await dps.aclose()
    answer.raise_for_status()
    return {
        "body": base64.b64encode(answer.content).decode(),
        "connection_string": dps.connection_string("localhost"),
    }


async def bare_loop(ready: dict[str, Any], page: int, each_page: Callable[[int], None]) -> None:
    """The least that lists: fetch, decode, follow."""
    trust = ssl.create_default_context(cafile=ready["ca"])
    login = ConnectionString.parse(ready["connection_string"])
    headers = {
        "authorization": await login.auth(SystemClock()).header(),
        "x-ms-max-item-count": str(page),
    }
    url = f"https://localhost:{ready['port']}/enrollments/query?api-version={API_VERSION}"
    async with httpx.AsyncClient(verify=trust, trust_env=False) as client:
        token: str | None = None
        while True:
            asked = headers if token is None else {**headers, "x-ms-continuation": token}
            answer = await client.post(url, headers=asked, json={"query": "SELECT *"})
            each_page(len(json.loads(answer.content)))
            token = answer.headers.get("x-ms-continuation")
            if token is None:
                return


async def client_loop(ready: dict[str, Any], page: int, each_page: Callable[[int], None]) -> None:
    """The same by the DPS client."""
    login = ConnectionString.parse(ready["connection_string"])
    connections = Connections(ca_file=Path(ready["ca"]))
    client = DpsClient(
        f"localhost:{ready['port']}",
        auth=login.auth(SystemClock()),
        connections=connections,
        share=UnpacedShare(),
        clock=SystemClock(),
        jitter=lambda: 0.0,
    )
    found = 0
    async for _ in client.individuals.all(size=page):  # as every listing command does it
        found += 1
        if found == page:
            each_page(found)
            found = 0
    await connections.close()


def main(ready_file: str, who: str, page: str) -> None:
    ready = json.loads(Path(ready_file).read_text())
    loop = bare_loop if who == "bare" else client_loop
    records = pages = 0
    at_first = 0.0
    started = 0.0

    def each_page(found: int) -> None:
        nonlocal records, pages, at_first, started
        if not pages:  # imports and the TLS handshake are not what is compared
            started = time.perf_counter()
        records, pages = records + found, pages + 1
        if pages == WARM_PAGES:
            at_first = peak_mb()

    asyncio.run(loop(ready, int(page), each_page))
    seconds = time.perf_counter() - started
    print(json.dumps({"records": records, "seconds": seconds, "grown_mb": peak_mb() - at_first}))


if __name__ == "__main__":
    main(*sys.argv[1:])
