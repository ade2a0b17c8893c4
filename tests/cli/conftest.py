"""One cloud for all tests of the commands: stopping its eight servers takes longer than most of them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from local.tls import CertificateAuthority, ServerCertificate
from tests.cli.placing import App, environment_of
from tests.cli.rig import Rig, serving
from tests.cli.rig_clients import azure_client


@pytest.fixture(scope="package")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return CertificateAuthority(tmp_path_factory.mktemp("tls")).issue()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def served(
    certificate: ServerCertificate, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Rig]:
    async with serving(certificate, tmp_path_factory.mktemp("cloud")) as running:
        with azure_client(running.connection_string, running.ca) as client:
            yield replace(running, azure=client)


@pytest.fixture
def rig(served: Rig, tmp_path: Path) -> Rig:
    """The cloud, empty. Its tests run on the package's event loop."""
    return served.empty(tmp_path)


@pytest.fixture
def app(rig: Rig, azurite: str, monkeypatch: pytest.MonkeyPatch) -> App:
    """The same with state tables, empty for the name that this test works under, and with empty hubs."""
    for served in rig.cloud.hubs.values():
        hub = served.service.hub
        for device in list(hub.devices):
            hub.remove(device)
    return App(rig, environment_of(rig, azurite, f"d{uuid4().hex[:12]}", monkeypatch))
