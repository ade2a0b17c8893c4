"""What somebody asks of an enrollment, in the words of the Azure CLI."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Attestation = Literal["symmetricKey", "x509", "tpm"]

REPROVISION: Mapping[str, Mapping[str, bool]] = {
    "reprovisionandmigratedata": {"updateHubAssignment": True, "migrateDeviceData": True},
    "reprovisionandresetdata": {"updateHubAssignment": True, "migrateDeviceData": False},
    "never": {"updateHubAssignment": False, "migrateDeviceData": False},
}
"""The Azure CLI's names for the flags of `reprovisionPolicy` (seen in its source)."""

SLOTS = ("primary", "secondary")

CERTIFICATES = ("certificate_path", "secondary_certificate_path")
CA_NAMES = ("root_ca_name", "secondary_root_ca_name")
KEYS = ("primary_key", "secondary_key")
REMOVALS = ("remove_certificate", "remove_secondary_certificate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What somebody asks of an enrollment; None where nothing is said.

    The fields are called as the Azure CLI's options are, for errors name them. Certificates, twins and
    keys are their contents here, not the paths of files.

    Attributes:
        certificate_path: the primary certificate, PEM.
        root_ca_name: the primary CA certificate's name at the DPS.
        initial_twin_tags: a JSON value; `initial_twin_properties` the content of `desired`.
        force: take a certificate that is expired or not valid yet.
    """

    certificate_path: str | None = None
    secondary_certificate_path: str | None = None
    root_ca_name: str | None = None
    secondary_root_ca_name: str | None = None
    primary_key: str | None = field(default=None, repr=False)
    secondary_key: str | None = field(default=None, repr=False)
    endorsement_key: str | None = None
    remove_certificate: bool = False
    remove_secondary_certificate: bool = False
    device_id: str | None = None
    device_information: Any = None
    allocation_policy: str | None = None
    iot_hubs: tuple[str, ...] | None = None
    webhook_url: str | None = field(default=None, repr=False)
    api_version: str | None = None
    edge_enabled: bool | None = None
    initial_twin_tags: Any = None
    initial_twin_properties: Any = None
    provisioning_status: str | None = None
    reprovision_policy: str | None = None
    force: bool = False

    def given(self, *names: str) -> list[str]:
        """Which of these fields say something."""
        unsaid = {name: False if name in (*REMOVALS, "force") else None for name in names}
        return [name for name in names if getattr(self, name) is not unsaid[name]]
