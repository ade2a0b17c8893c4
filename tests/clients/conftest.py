import pytest

from local.tls import CertificateAuthority, ServerCertificate


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return CertificateAuthority(tmp_path_factory.mktemp("tls")).issue()
