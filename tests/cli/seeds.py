"""What the Azure CLI's reference of `enrollment-group` and `enrollment` has: commands, options, values."""

from collections.abc import Mapping

Parameter = tuple[tuple[str, ...], tuple[str, ...]]
"""All names of an option, and the values it takes where they are a closed list."""

BOTH = ("false", "true")
POLICIES = ("custom", "geoLatency", "hashed", "static")
REPROVISION = ("never", "reprovisionandmigratedata", "reprovisionandresetdata")

CONNECTION: tuple[Parameter, ...] = (
    (("--auth-type",), ("key", "login")),
    (("--dps-name", "-n"), ()),
    (("--login", "-l"), ()),
    (("--resource-group", "-g"), ()),
)
GLOBAL: tuple[Parameter, ...] = (
    (("--debug",), ()),
    (("--help", "-h"), ()),
    (("--only-show-errors",), ()),
    (("--output", "-o"), ("json", "jsonc", "none", "table", "tsv", "yaml", "yamlc")),
    (("--query",), ()),
    (("--subscription",), ()),
    (("--verbose",), ()),
)
GROUP_ID: Parameter = (("--eid", "--enrollment-id", "--gid", "--group-id"), ())
ONE_ID: Parameter = (("--eid", "--enrollment-id"), ())
ETAG: Parameter = (("--etag", "-e"), ())
SHOW_KEYS: Parameter = (("--keys", "--show-keys"), BOTH)
TOP: Parameter = (("--top",), ())
REGISTRATION_ID: Parameter = (("--registration-id", "--rid"), ())
WRITTEN: tuple[Parameter, ...] = (
    (("--allocation-policy", "--ap"), POLICIES),
    (("--api-version", "--av"), ()),
    (("--certificate-path", "--cp"), ()),
    (("--edge-enabled", "--ee"), BOTH),
    (("--ih", "--iot-hubs"), ()),
    (("--initial-twin-properties", "--props"), ()),
    (("--initial-twin-tags", "--tags"), ()),
    (("--pk", "--primary-key"), ()),
    (("--provisioning-status", "--ps"), ("disabled", "enabled")),
    (("--reprovision-policy", "--rp"), REPROVISION),
    (("--scp", "--secondary-certificate-path"), ()),
    (("--secondary-key", "--sk"), ()),
    (("--webhook-url", "--wh"), ()),
)
AUTHORITIES: tuple[Parameter, ...] = (
    (("--ca-name", "--cn", "--root-ca-name"), ()),
    (("--scn", "--secondary-ca-name", "--secondary-root-ca-name"), ()),
)
DEVICE: tuple[Parameter, ...] = (
    (("--device-id", "-d"), ()),
    (("--device-information", "--info"), ()),
    (("--ek", "--endorsement-key"), ()),
)
REMOVALS: tuple[Parameter, ...] = (
    (("--rc", "--remove-certificate"), BOTH),
    (("--remove-secondary-certificate", "--rsc"), BOTH),
)
ATTESTATION: Parameter = (("--at", "--attestation-type"), ("symmetricKey", "tpm", "x509"))

COMMANDS: Mapping[str, tuple[Parameter, ...]] = {
    "enrollment-group compute-device-key": (
        REGISTRATION_ID,
        GROUP_ID,
        (("--key", "--symmetric-key"), ()),
        *CONNECTION,
    ),
    "enrollment-group create": (GROUP_ID, *WRITTEN, *AUTHORITIES, *CONNECTION),
    "enrollment-group delete": (GROUP_ID, ETAG, *CONNECTION),
    "enrollment-group list": (TOP, *CONNECTION),
    "enrollment-group registration delete": (REGISTRATION_ID, ETAG, *CONNECTION),
    "enrollment-group registration list": (GROUP_ID, *CONNECTION),
    "enrollment-group registration show": (REGISTRATION_ID, *CONNECTION),
    "enrollment-group show": (GROUP_ID, SHOW_KEYS, *CONNECTION),
    "enrollment-group update": (GROUP_ID, ETAG, *WRITTEN, *AUTHORITIES, *REMOVALS, *CONNECTION),
    "enrollment create": (ONE_ID, ATTESTATION, *WRITTEN, *DEVICE, *CONNECTION, *GLOBAL),
    "enrollment delete": (ONE_ID, ETAG, *CONNECTION, *GLOBAL),
    "enrollment list": (TOP, *CONNECTION, *GLOBAL),
    "enrollment registration delete": (ONE_ID, ETAG, *CONNECTION, *GLOBAL),
    "enrollment registration show": (ONE_ID, *CONNECTION, *GLOBAL),
    "enrollment show": (ONE_ID, SHOW_KEYS, *CONNECTION, *GLOBAL),
    "enrollment update": (ONE_ID, ETAG, *WRITTEN, *DEVICE, *REMOVALS, *CONNECTION, *GLOBAL),
}
"""Command -> its options. The registration subcommands stand in the reference without theirs: here are the
ids they need."""
