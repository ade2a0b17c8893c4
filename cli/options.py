"""The options that commands share: the Azure CLI's names, aliases and values."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import App, ArgumentCollection, Group, Parameter

from cli.connect import Connection
from cli.output import FORMATS

T = TypeVar("T")
Injected = Annotated[T, Parameter(parse=False)]
"""What a command is handed, and no option says."""

GLOBAL = Group("Everywhere", sort_key=9)
CHANGES = Group("Change", sort_key=5)
FILTERS = Group("Filters", sort_key=4)

Flag = Annotated[
    list[str] | None,
    Parameter(choices=("true", "false"), consume_multiple=(0, 1), negative=(), show_default=False),
]
"""A flag that may stand alone or before true or false, as the Azure CLI takes it."""

Policy = Annotated[str | None, Parameter(choices=("custom", "geoLatency", "hashed", "static"))]
Reprovision = Annotated[
    str | None, Parameter(choices=("never", "reprovisionandmigratedata", "reprovisionandresetdata"))
]
Status = Annotated[str | None, Parameter(choices=("disabled", "enabled"))]

GroupId = Annotated[
    str,
    Parameter(name=("--enrollment-id", "--eid", "--gid", "--group-id"), help="The enrollment group's id."),
]
IndividualId = Annotated[
    str,
    Parameter(name=("--enrollment-id", "--eid"), help="The individual enrollment's id: its registration id."),
]
RegistrationId = Annotated[
    str, Parameter(name=("--registration-id", "--rid"), help="The device's registration id.")
]
ShowKeys = Annotated[
    Flag,
    Parameter(
        name=("--show-keys", "--keys"),
        help="Show symmetric keys and the webhook's key; nothing else shows them.",
    ),
]
Etag = Annotated[
    str | None,
    Parameter(
        name=("--etag", "-e"),
        allow_leading_hyphen=True,
        help="Only if its ETag is still this one; else the one just read counts. '*': no guard at all.",
    ),
]
Yes = Annotated[
    bool, Parameter(name=("--yes", "-y"), negative=(), group=CHANGES, help="Change without asking.")
]
DryRun = Annotated[
    bool, Parameter(name="--dry-run", negative=(), group=CHANGES, help="Show what would change, and stop.")
]


def said(flag: Sequence[str] | None) -> bool | None:
    """What a Flag says: None where it is not given."""
    return None if flag is None else list(flag) != ["false"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Shared:
    """Options of create and update, of groups and individual enrollments."""

    certificate_path: Annotated[
        Path | None,
        Parameter(name=("--certificate-path", "--cp"), help="File of the primary certificate, PEM."),
    ] = None
    secondary_certificate_path: Annotated[
        Path | None,
        Parameter(
            name=("--secondary-certificate-path", "--scp"), help="File of the secondary certificate, PEM."
        ),
    ] = None
    primary_key: Annotated[
        str | None,
        Parameter(name=("--primary-key", "--pk"), help="The primary symmetric key, Base64, or @FILE."),
    ] = None
    secondary_key: Annotated[
        str | None,
        Parameter(name=("--secondary-key", "--sk"), help="The secondary symmetric key, Base64, or @FILE."),
    ] = None
    allocation_policy: Annotated[
        Policy,
        Parameter(
            name=("--allocation-policy", "--ap"),
            help="How a hub is chosen. Without it, as the DPS has it by default.",
        ),
    ] = None
    iot_hubs: Annotated[
        list[str] | None,
        Parameter(
            name=("--iot-hubs", "--ih"),
            consume_multiple=(1, None),
            negative=(),
            help="Host names of the hubs to choose among, separated by spaces; '' for every linked hub.",
        ),
    ] = None
    webhook_url: Annotated[
        str | None,
        Parameter(
            name=("--webhook-url", "--wh"),
            help="Where DPS asks for a custom allocation, with the function key, or @FILE.",
        ),
    ] = None
    api_version: Annotated[
        str | None,
        Parameter(
            name=("--api-version", "--av"),
            help="API version of what the webhook is sent; 2018-09-01-preview or later, like 2021-10-01.",
        ),
    ] = None
    edge_enabled: Annotated[
        Flag, Parameter(name=("--edge-enabled", "--ee"), help="Whether devices are IoT Edge devices.")
    ] = None
    initial_twin_tags: Annotated[
        str | None,
        Parameter(
            name=("--initial-twin-tags", "--tags"), help="Tags a twin starts with: a JSON object or @FILE."
        ),
    ] = None
    initial_twin_properties: Annotated[
        str | None,
        Parameter(
            name=("--initial-twin-properties", "--props"),
            help="Desired properties a twin starts with: a JSON object (the content of desired) or @FILE.",
        ),
    ] = None
    provisioning_status: Annotated[
        Status, Parameter(name=("--provisioning-status", "--ps"), help="Whether devices may register.")
    ] = None
    reprovision_policy: Annotated[
        Reprovision,
        Parameter(
            name=("--reprovision-policy", "--rp"),
            help="What registering again may do. New enrollments: reprovisionandmigratedata.",
        ),
    ] = None
    force: Annotated[
        bool, Parameter(negative=(), help="Take a certificate that is expired or not valid yet.")
    ] = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AuthorityNames:
    """What only groups have."""

    root_ca_name: Annotated[
        str | None,
        Parameter(
            name=("--ca-name", "--cn", "--root-ca-name"),
            help="Name of the primary CA certificate at the DPS.",
        ),
    ] = None
    secondary_root_ca_name: Annotated[
        str | None,
        Parameter(
            name=("--secondary-ca-name", "--scn", "--secondary-root-ca-name"),
            help="Name of the secondary CA certificate at the DPS.",
        ),
    ] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OneDevice:
    """What only individual enrollments have."""

    endorsement_key: Annotated[
        str | None,
        Parameter(name=("--endorsement-key", "--ek"), help="The TPM's endorsement key, Base64, or @FILE."),
    ] = None
    device_id: Annotated[
        str | None,
        Parameter(
            name=("--device-id", "-d", "--did"),
            help="The device's id at its hub, if not the registration id.",
        ),
    ] = None
    device_information: Annotated[
        str | None,
        Parameter(
            name=("--device-information", "--info", "--device-info"),
            help="Notes about the device: a JSON object or @FILE.",
        ),
    ] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Removal:
    """What only an update may do."""

    remove_certificate: Annotated[
        Flag,
        Parameter(name=("--remove-certificate", "--rc"), help="Remove the primary certificate or CA name."),
    ] = None
    remove_secondary_certificate: Annotated[
        Flag,
        Parameter(
            name=("--remove-secondary-certificate", "--rsc"),
            help="Remove the secondary certificate or CA name.",
        ),
    ] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Everywhere:
    """Options of every command, before or after its name."""

    state: Annotated[
        Path | None,
        Parameter(
            help="File of `./run local --state FILE`: work on the stack of this machine.", group=GLOBAL
        ),
    ] = None
    login: Annotated[
        str | None,
        Parameter(
            name=("--login", "-l"),
            group=GLOBAL,
            help="A connection string of the DPS, or @FILE. In DPS_CONNECTION_STRING no history keeps it.",
        ),
    ] = None
    dps_name: Annotated[
        str | None, Parameter(name=("--dps-name", "-n"), group=GLOBAL, help="Name or host name of the DPS.")
    ] = None
    auth_type: Annotated[
        str | None,
        Parameter(
            choices=("key", "login"),
            group=GLOBAL,
            help="By a connection string's key or your Entra login. Without it: by key where there is one.",
        ),
    ] = None
    resource_group: Annotated[
        str | None,
        Parameter(
            name=("--resource-group", "-g"),
            group=GLOBAL,
            help="Taken for az's sake; a DPS's name says all that is needed.",
        ),
    ] = None
    subscription: Annotated[str | None, Parameter(group=GLOBAL, help="Taken for az's sake, likewise.")] = None
    output: Annotated[
        str,
        Parameter(name=("--output", "-o"), choices=FORMATS, group=GLOBAL, help="How results are written."),
    ] = "json"
    query: Annotated[
        str | None,
        Parameter(
            group=GLOBAL, help="JMESPath over the result, as az has it; reads a list to its end first."
        ),
    ] = None
    only_show_errors: Annotated[bool, Parameter(negative=(), group=GLOBAL, help="No notes, only errors.")] = (
        False
    )
    verbose: Annotated[
        bool, Parameter(negative=(), group=GLOBAL, help="Say which DPS is worked on, and how.")
    ] = False
    debug: Annotated[bool, Parameter(negative=(), group=GLOBAL, help="Show where an error came from.")] = (
        False
    )

    def connection(self, login: str | None) -> Connection:
        """The part that says where to and how."""
        auth: Literal["key", "login"] | None = (
            "key" if self.auth_type == "key" else "login" if self.auth_type else None
        )
        return Connection(state=self.state, login=login, dps_name=self.dps_name, auth_type=auth)


def told_default(value: Any) -> str | None:
    """A default as the help shows it; None: it is what anybody expects of an option that is left out."""
    return None if value is None or value is False or value == "" else str(value)


def any_case(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Before the values are read: those of a closed list in the list's own case, as az takes them in any."""
    for argument in arguments:
        choices: Any = argument.parameter.choices
        if not isinstance(choices, tuple):
            continue
        spelled = {choice.lower(): choice for choice in choices}
        argument.tokens[:] = [
            token.evolve(value=spelled.get(token.value.lower(), token.value)) for token in argument.tokens
        ]
