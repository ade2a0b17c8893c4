"""Tokens are accepted for what they say, when they say it, and by nobody else's word."""

import base64
import hmac
import json
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from local.issuer import ARM, DPS, HUBS, VAULT, Identity, Issuer, Refusal, TokenJudge, TokenRefused
from local.world import ManualClock

CLOCK = ManualClock(datetime(2031, 5, 1, tzinfo=UTC))  # far from the machine's time on purpose
ISSUER = Issuer(CLOCK)


def refusal(issuer: TokenJudge, token: str, audiences: tuple[str, ...] = VAULT) -> Refusal:
    with pytest.raises(TokenRefused) as refused:
        issuer.accept(token, audiences)
    assert len(token) < 20 or token not in str(refused.value)
    return refused.value.reason


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("audiences", [DPS, HUBS, VAULT, ARM])
def test_a_token_is_good_for_its_audience_with_and_without_a_slash(audiences: tuple[str, ...]) -> None:
    for spelling in audiences:
        ISSUER.accept(ISSUER.token(spelling), audiences)


@pytest.mark.parametrize("audience", [*DPS, *HUBS, *ARM, "https://vault.azure.net.example", ""])
def test_a_token_for_another_service_is_refused_by_name(audience: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        ISSUER.accept(ISSUER.token(audience), VAULT)
    assert (refused.value.reason, refused.value.audience) == (Refusal.AUDIENCE, audience)


async def test_a_token_expires_by_the_worlds_clock() -> None:
    clock = ManualClock()
    issuer = Issuer(clock)
    token = issuer.token(VAULT[0], lifetime=60)
    await clock.advance(59.9)
    issuer.accept(token, VAULT)
    await clock.advance(0.1)
    assert refusal(issuer, token) is Refusal.EXPIRED


async def test_a_token_from_the_future_is_refused_until_then() -> None:
    early, late = ManualClock(), ManualClock()
    issuer = Issuer(early)
    await late.advance(3600)
    issuer._clock = late
    token = issuer.token(VAULT[0])
    issuer._clock = early
    assert refusal(issuer, token) is Refusal.EARLY
    await early.advance(3600)
    issuer.accept(token, VAULT)


async def test_leeway_forgives_clocks_that_differ() -> None:
    clock = ManualClock()
    issuer = Issuer(clock, leeway=300)
    token = issuer.token(VAULT[0], lifetime=60)
    await clock.advance(359)
    issuer.accept(token, VAULT)
    await clock.advance(1)
    assert refusal(issuer, token) is Refusal.EXPIRED


def test_another_issuers_token_is_refused() -> None:
    assert refusal(ISSUER, Issuer(CLOCK).token(VAULT[0])) is Refusal.SIGNATURE


def test_a_changed_token_is_refused() -> None:
    head, body, signature = ISSUER.token(DPS[0]).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "==")) | {"aud": VAULT[0]}
    assert refusal(ISSUER, f"{head}.{part(claims)}.{signature}") is Refusal.SIGNATURE


def test_no_token_chooses_its_own_algorithm() -> None:
    claims = jwt.decode(ISSUER.token(VAULT[0]), options={"verify_signature": False})
    unsigned = f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."
    assert refusal(ISSUER, unsigned) is Refusal.SIGNATURE
    key = ec.generate_private_key(ec.SECP256R1())
    assert refusal(ISSUER, jwt.encode(claims, key, algorithm="ES256")) is Refusal.SIGNATURE
    der = ISSUER._public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}"
    forged = base64.urlsafe_b64encode(hmac.digest(der, signed.encode(), "sha256")).rstrip(b"=").decode()
    assert refusal(ISSUER, f"{signed}.{forged}") is Refusal.SIGNATURE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://sts.windows.net/elsewhere/"}, Refusal.ISSUER),
        ({"exp": "tomorrow"}, Refusal.GARBAGE),
        ({"nbf": [1]}, Refusal.GARBAGE),
        ({"exp": 1e400}, Refusal.GARBAGE),
        ({"aud": ["https://vault.azure.net"]}, Refusal.GARBAGE),
        ({"aud": {"x": 1}}, Refusal.GARBAGE),
        ({"aud": None}, Refusal.GARBAGE),
        ({"oid": None}, Refusal.GARBAGE),
    ],
)
def test_well_signed_nonsense_is_refused(change: dict[str, object], reason: Refusal) -> None:
    claims = jwt.decode(ISSUER.token(VAULT[0]), options={"verify_signature": False}) | change
    assert refusal(ISSUER, jwt.encode(claims, ISSUER._key, algorithm="RS256")) is reason


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1")), st.from_regex(r"[\w.-]*")))
@settings(max_examples=300, deadline=None)
def test_no_text_is_more_than_refused(text: str) -> None:
    assert refusal(ISSUER, text) in (Refusal.GARBAGE, Refusal.SIGNATURE)


def test_a_token_names_its_holder() -> None:
    identity = Identity("client", "object")
    named = ISSUER.accept(ISSUER.token(VAULT[0], identity), VAULT)
    assert (named.client_id, named.object_id, named.tenant) == ("client", "object", ISSUER.tenant)


def test_an_issuer_without_a_system_identity_wants_a_name() -> None:
    with pytest.raises(ValueError, match="name one"):
        Issuer(CLOCK, system=None).token(VAULT[0])


def test_secrets_of_applications_are_in_no_repr() -> None:
    assert "hush" not in repr(Identity("client", "object", secret="hush"))
