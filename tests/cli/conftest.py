"""One cloud for all tests of the commands: stopping its eight servers takes longer than most of them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from local.tls import CertificateAuthority, ServerCertificate
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
