from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from local.tls import CertificateAuthority, ServerCertificate
from tests.clients_of_dps.served import Served, serving
from tests.local.dps.rig import Rig


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return CertificateAuthority(tmp_path_factory.mktemp("tls")).issue()


@pytest_asyncio.fixture
async def served(certificate: ServerCertificate) -> AsyncIterator[Served]:
    async with serving(certificate) as running:
        yield running


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with Rig() as made:
        yield made
