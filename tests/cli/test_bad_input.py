"""What cannot be is refused with the parameter and the fix, before any call; or before any change."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.rig import HUBS, WEBHOOK, Rig
from tests.cli.rig_clients import azure
from tests.local.dps.pki import Party, root, self_signed
from tests.local.dps.rig import PRIMARY, SECONDARY, group, individual

pytestmark = pytest.mark.asyncio(loop_scope="package")

G, I = "enrollment-group", "enrollment"  # noqa: E741 - as short as the table wants them
NEW = (G, "create", "--eid", "g1")
EDIT = (G, "update", "--eid", "g1")
CUSTOM = ("--ap", "custom", "--wh", WEBHOOK, "--av", "2021-10-01")
SHORT_KEY = "AAAAAAAAAAAAAAAAAAAA"  # 15 bytes
LONG_KEY = "A" * 88 + "AAAA"  # 69 bytes

REFUSED: dict[str, tuple[tuple[str, ...], str, str]] = {
    "a space in an id": ((G, "create", "--eid", "line a"), "--enrollment-id", "letters, digits"),
    "an id of 129": ((G, "create", "--eid", "a" * 129), "--enrollment-id", "1 to 128"),
    "an id that ends with a dot": (
        (I, "create", "--eid", "a.", "--at", "tpm"),
        "--enrollment-id",
        "end with",
    ),
    "an id that leaves its path": ((G, "show", "--eid", "../enrollments/x"), "--enrollment-id", "1 to 128"),
    "an id of dots": ((G, "show", "--eid", ".."), "--enrollment-id", "1 to 128"),
    "no id": ((G, "show"), "--enrollment-id", "--help"),
    "a device id with a slash": (
        (I, "create", "--eid", "d", "--at", "symmetricKey", "--device-id", "a/b"),
        "--device-id",
        "128 ASCII",
    ),
    "a short key": ((*NEW, "--pk", SHORT_KEY), "--primary-key", "16 to 64 bytes"),
    "a long key": ((*NEW, "--pk", LONG_KEY), "--primary-key", "16 to 64 bytes"),
    "a key that is no Base64": ((*NEW, "--pk", PRIMARY, "--sk", "not a key"), "--secondary-key", "Base64"),
    "a secondary key alone": ((*NEW, "--sk", SECONDARY), "--secondary-key", "--primary-key"),
    "an update with a short key": ((*EDIT, "--sk", SHORT_KEY), "--secondary-key", "16 to 64 bytes"),
    "hubs in one text": (
        (*NEW, "--ap", "hashed", "--ih", f"{HUBS[0]},{HUBS[1]}"),
        "--iot-hubs",
        "separate them by spaces",
    ),
    "hubs in one text with spaces": (
        (*EDIT, "--ih", f"{HUBS[0]} {HUBS[1]}"),
        "--iot-hubs",
        "separate them by spaces",
    ),
    "a hub's short name": ((*EDIT, "--ih", "hub-a"), "--iot-hubs", "full host name"),
    "a hub twice": ((*EDIT, "--ih", HUBS[0], HUBS[0].upper()), "--iot-hubs", "once"),
    "hubs without a policy": ((*NEW, "--ih", HUBS[0]), "--iot-hubs", "--allocation-policy"),
    "static without a hub": ((*NEW, "--ap", "static"), "--iot-hubs", "exactly one"),
    "static with two hubs": ((*NEW, "--ap", "static", "--ih", *HUBS[:2]), "--iot-hubs", "exactly one"),
    "an update to static with two hubs": (
        (*EDIT, "--ap", "static", "--ih", *HUBS[:2]),
        "--iot-hubs",
        "exactly one",
    ),
    "custom without a webhook": ((*NEW, "--ap", "custom"), "--webhook-url", "give --webhook-url"),
    "custom without a version": ((*NEW, "--ap", "custom", "--wh", WEBHOOK), "--api-version", "2021-10-01"),
    "a version before webhooks": (
        (*NEW, "--ap", "custom", "--wh", WEBHOOK, "--av", "2017-11-15"),
        "--api-version",
        "2018-09-01-preview or later",
    ),
    "a version that is no date": ((*EDIT, "--av", "2021-13-01"), "--api-version", "2018-09-01-preview"),
    "a webhook over http": (
        (*NEW, "--ap", "custom", "--wh", "http://app.example/x", "--av", "2021-10-01"),
        "--webhook-url",
        "https",
    ),
    "a masked webhook": ((*EDIT, "--wh", "https://app.example/x?****"), "--webhook-url", "masked"),
    "a webhook without the custom policy": (
        (*NEW, "--ap", "hashed", "--wh", WEBHOOK),
        "--webhook-url",
        "--allocation-policy custom",
    ),
    "a webhook and no policy": ((*NEW, "--wh", WEBHOOK), "--webhook-url", "--allocation-policy custom"),
    "tags that are no JSON": ((*NEW, "--tags", "site=north"), "--initial-twin-tags", "JSON"),
    "tags that are a list": ((*EDIT, "--tags", "[1]"), "--initial-twin-tags", "JSON object"),
    "tags with a name twice": ((*EDIT, "--tags", '{"a": 1, "a": 2}'), "--initial-twin-tags", "twice"),
    "tags over 8 KB": (
        (*NEW, "--tags", '{"a": "' + "x" * 4000 + '", "b": "' + "x" * 4000 + '", "c": "' + "x" * 400 + '"}'),
        "--initial-twin-tags",
        "8,192",
    ),
    "tags with a dot in a name": ((*EDIT, "--tags", '{"a.b": 1}'), "--initial-twin-tags", "no space . $ #"),
    "tags with a dollar": ((*EDIT, "--tags", '{"$a": 1}'), "--initial-twin-tags", "no space . $ #"),
    "tags called count": ((*NEW, "--tags", '{"count": 1}'), "--initial-twin-tags", "count_dps"),
    "tags with infinity": ((*EDIT, "--tags", '{"a": Infinity}'), "--initial-twin-tags", "finite"),
    "properties over 32 KB": (
        (*EDIT, "--props", "{" + ",".join(f'"a{n}": "{"x" * 4000}"' for n in range(9)) + "}"),
        "--initial-twin-properties",
        "32,768",
    ),
    "properties nested again": (
        (*EDIT, "--props", '{"desired": {"a": 1}}'),
        "--initial-twin-properties",
        'content of "desired"',
    ),
    "properties of a whole twin": (
        (*EDIT, "--props", '{"properties": {"desired": {"a": 1}}}'),
        "--initial-twin-properties",
        'content of "desired"',
    ),
    "properties eleven levels deep": (
        (*EDIT, "--props", '{"a":' * 11 + "1" + "}" * 11),
        "--initial-twin-properties",
        "levels",
    ),
    "device information that is a text": (
        (I, "update", "--eid", "d", "--info", '"red"'),
        "--device-information",
        "JSON object",
    ),
    "a key and a CA name": (
        (*NEW, "--pk", PRIMARY, "--ca-name", "ca"),
        "--primary-key",
        "leave the other out",
    ),
    "a CA name that is a path": ((*NEW, "--ca-name", "certs/ca.pem"), "--root-ca-name", "--certificate-path"),
    "x509 without a certificate": (
        (I, "create", "--eid", "d", "--at", "x509"),
        "--certificate-path",
        "--secondary-certificate-path",
    ),
    "tpm without a key": ((I, "create", "--eid", "d", "--at", "tpm"), "--endorsement-key", "give"),
    "tpm with a key that is no Base64": (
        (I, "create", "--eid", "d", "--at", "tpm", "--ek", "?"),
        "--endorsement-key",
        "Base64",
    ),
    "tpm with symmetric keys": (
        (I, "create", "--eid", "d", "--at", "tpm", "--ek", "AAAA", "--pk", PRIMARY),
        "--primary-key",
        "symmetricKey",
    ),
    "symmetric keys with a TPM's": (
        (I, "create", "--eid", "d", "--at", "symmetricKey", "--ek", "AAAA"),
        "--endorsement-key",
        "tpm",
    ),
    "removing and replacing": ((*EDIT, "--rc", "--ca-name", "ca"), "--remove-certificate", "say one of both"),
    "keys and removing a certificate": (
        (*EDIT, "--rc", "--pk", PRIMARY),
        "--remove-certificate",
        "leave one out",
    ),
    "an update that names nothing": (EDIT, "--enrollment-id", "--provisioning-status"),
    "a policy nobody knows": ((*NEW, "--ap", "random"), "--ap", "geoLatency"),
    "a flag that is neither": ((*NEW, "--ee", "maybe"), "--ee", "true"),
    "an option of groups": (
        (I, "create", "--eid", "d", "--at", "x509", "--ca-name", "c"),
        "--ca-name",
        "--help",
    ),
    "an option nobody knows": ((*NEW, "--certificate", "x"), "--certificate", "Did you mean"),
    "a time span that is none": ((G, "list", "--older-than", "soon"), "--older-than", "30d"),
    "a top below -1": ((G, "list", "--top", "-2"), "--top", "-1 for all"),
    "a query that is none": ((G, "list", "--query", "["), "--query", "JMESPath"),
    "a file that is not there": ((*NEW, "--cp", "/nowhere/c.pem"), "--certificate-path", "cannot be read"),
    "a folder for a file": ((*NEW, "--cp", "/"), "--certificate-path", "name a file"),
    "a key's file that is not there": ((*NEW, "--pk", "@/nowhere"), "--primary-key", "cannot be read"),
    "a registration id and a file": (
        (G, "compute-device-key", "--eid", "g", "--rid", "a", "--registration-ids", "b"),
        "--registration-id",
        "one of both",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_cannot_be_is_refused_before_any_call(rig: Rig, case: str) -> None:
    words, parameter, fix = REFUSED[case]
    ran = await rig.run(*words, *(("--yes",) if words[1] in ("create", "update") else ()))
    assert (ran.code, ran.out, rig.calls) == (2, "", [])
    told = ran.err.removeprefix("error: ")
    assert parameter in told
    assert fix in told
    assert "Traceback" not in told
    assert told.count("\n") == 1


def expired() -> Party:
    return root("R").issue("old", ca=True, end=datetime.now(UTC) - timedelta(days=1))


def future() -> Party:
    start = datetime.now(UTC) + timedelta(days=1)
    return root("R").issue("new", ca=True, start=start)


GOOD = root("R").issue("signer", ca=True)
CERTIFICATES: dict[str, tuple[Callable[[], str | bytes], str]] = {
    "no BEGIN": (lambda: GOOD.pem.replace("-----BEGIN CERTIFICATE-----\n", ""), "BEGIN and END"),
    "no END": (lambda: GOOD.pem.replace("-----END CERTIFICATE-----\n", ""), "BEGIN and END"),
    "another END": (lambda: GOOD.pem.replace("END CERTIFICATE", "END X509 CRL"), "BEGIN and END"),
    "the halves swapped": (
        lambda: "-----END CERTIFICATE-----\nAAAA\n-----BEGIN CERTIFICATE-----\n",
        "before its BEGIN",
    ),
    "a broken inside": (lambda: GOOD.pem[:200] + "!!" + GOOD.pem[202:], "cannot be read"),
    "nothing inside": (lambda: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "cannot be read"),
    "DER": (lambda: GOOD.der, "-inform DER"),
    "a private key": (lambda: GOOD.pem + GOOD.key_pem, "private key"),
    "two certificates": (lambda: GOOD.chain_pem() + root("Other").pem, "2 certificates"),
    "expired": (lambda: expired().pem, "--force"),
    "not valid yet": (lambda: future().pem, "not valid before"),
    "no CA's": (lambda: self_signed("leaf").pem, "no CA's"),
    "a folder full": (lambda: "x" * 100_000, "right file"),
}


@pytest.mark.parametrize("case", CERTIFICATES)
async def test_a_bad_certificate_is_refused_before_any_call(rig: Rig, case: str) -> None:
    make, fix = CERTIFICATES[case]
    made = make()
    path = rig.folder / "bad.pem"
    path.write_bytes(made if isinstance(made, bytes) else made.encode())
    for words in ((*NEW, "--cp", str(path)), (*EDIT, "--scp", str(path))):
        ran = await rig.run(*words, "--yes")
        assert (ran.code, ran.out, rig.calls) == (2, "", [])
        assert fix in ran.err
        assert GOOD.key_pem.splitlines()[1] not in ran.err


@pytest.mark.parametrize("make", [expired, future])
async def test_a_certificate_of_another_time_is_taken_when_forced(
    rig: Rig, make: Callable[[], Party]
) -> None:
    path = rig.folder / "c.pem"
    path.write_text(make().pem)
    assert (await rig.run(*NEW, "--cp", str(path), "--force", "--yes")).code == 0


async def test_a_certificate_is_sent_without_what_stands_around_it(rig: Rig) -> None:
    path = rig.folder / "c.pem"
    path.write_bytes(b"\xef\xbb\xbfsubject=signer\r\n" + GOOD.pem.replace("\n", "\r\n").encode() + b"notes")
    assert (await rig.run(*NEW, "--cp", str(path), "--yes")).code == 0
    made = await azure(rig, lambda client: dict(client.enrollment_group.get("g1")))
    assert made["attestation"]["x509"]["signingCertificates"]["primary"]["certificate"] == GOOD.pem


def pem(folder: Path) -> str:
    path = folder / "c.pem"
    path.write_text(GOOD.pem)
    return str(path)


HELD: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    "a certificate for keys": ("keys", ("--cp", "PEM"), "--certificate-path", "symmetric keys"),
    "a CA name for keys": ("keys", ("--ca-name", "ca"), "--root-ca-name", "symmetric keys"),
    "removing from keys": ("keys", ("--rc",), "--remove-certificate", "symmetric keys"),
    "a key for certificates": ("certificate", ("--pk", PRIMARY), "--primary-key", "certificates"),
    "a CA name for certificates": ("certificate", ("--ca-name", "ca"), "--root-ca-name", "of its own"),
    "a certificate for CA names": ("names", ("--cp", "PEM"), "--certificate-path", "by name"),
    "removing the only certificate": ("certificate", ("--rc",), "--remove-certificate", "only certificate"),
    "removing the only name": ("names", ("--rc", "true"), "--remove-certificate", "only certificate"),
    "removing what is not there": (
        "certificate",
        ("--rsc",),
        "--remove-secondary-certificate",
        "no secondary",
    ),
    "static with the two hubs held": ("keys", ("--ap", "static"), "--iot-hubs", "exactly one"),
    "custom without a webhook": ("keys", ("--ap", "custom"), "--webhook-url", "give --webhook-url"),
    "a webhook for hashed": ("keys", ("--wh", WEBHOOK), "--webhook-url", "--allocation-policy custom"),
}


@pytest.mark.parametrize("case", HELD)
async def test_what_the_enrollment_does_not_allow_is_refused_before_any_change(rig: Rig, case: str) -> None:
    held, words, parameter, fix = HELD[case]
    attested = {
        "keys": (),
        "certificate": ("--cp", pem(rig.folder)),
        "names": ("--ca-name", "ca-1"),
    }[held]
    more = ("--ap", "hashed", "--ih", *HUBS[:2], "--yes")
    assert (await rig.run(*NEW, *attested, *more)).code == 0
    before = len(rig.calls)
    told = [pem(rig.folder) if word == "PEM" else word for word in words]
    ran = await rig.run(*EDIT, *told, "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert parameter in ran.err
    assert fix in ran.err
    assert not [call for call in rig.calls[before:] if call.startswith(("PUT", "DELETE"))]


async def test_certificates_and_ca_names_do_not_go_together(rig: Rig) -> None:
    for words in (NEW, EDIT):
        ran = await rig.run(*words, "--cp", pem(rig.folder), "--scn", "ca", "--yes")
        assert (ran.code, rig.calls) == (2, [])
        assert "--secondary-root-ca-name" in ran.err


async def test_a_group_has_no_tpm_and_a_device_no_ca_name(rig: Rig) -> None:
    await azure(rig, lambda client: client.enrollment.create_or_update("d", individual("d")))
    await azure(rig, lambda client: client.enrollment_group.create_or_update("g1", group("g1")))
    assert (await rig.run(I, "update", "--eid", "d", "--ca-name", "x", "--yes")).code == 2
    assert (await rig.run(*EDIT, "--endorsement-key", "AAAA", "--yes")).code == 2
