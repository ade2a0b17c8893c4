"""What is told of symmetric keys: the weak ones, and never one that was drawn at random."""

import base64
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.audit.key_quality import SAMPLES, digest, is_sample, length, predictable
from provisioning.keys import SymmetricKey
from tests.lifecycle.audit.planted import SAMPLE

DRAWN = 20_000


def key(content: bytes) -> SymmetricKey:
    return SymmetricKey.parse(base64.b64encode(content).decode())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (bytes(16), "count up"),
        (b"\xff" * 64, "count up"),
        (bytes(range(32)), "count up"),
        (bytes(range(64, 0, -1)), "count up"),
        (b"\x01\x02\x03\x04\xf0\x0f\xaa\x55" * 4, "repeats"),
        (b"\x00\x01" * 8, "repeats"),
        (b"contoso-factory-line-a-master-key", "short text"),
        (b"MySecretPassword1234", "short text"),
        (b"deadbeef01234567", "short text"),
        (b"the quick brown fox jumps over the lazy dog", "short text"),
        (b"\x00\x01\x00\x00\x01\x01\x00\x02\x00\x00\x00\x01\x02\x02\x01\x00", "different bytes"),
    ],
)
def test_a_key_that_somebody_made_up_is_told(content: bytes, why: str) -> None:
    assert why in predictable(key(content))


@pytest.mark.parametrize("size", [16, 24, 32, 64])
def test_no_key_that_was_drawn_is_blamed(size: int) -> None:
    drawn = random.Random(size)
    assert [
        each for each in (drawn.randbytes(size) for _ in range(DRAWN // 4)) if predictable(key(each))
    ] == []


@pytest.mark.parametrize("code", [base64.b64encode, lambda content: content.hex().encode()])
@pytest.mark.parametrize("size", [32, 24])
def test_a_drawn_key_that_was_encoded_twice_is_not_blamed(code: Callable[[bytes], bytes], size: int) -> None:
    drawn = random.Random(7)
    blamed = [
        content
        for content in (code(drawn.randbytes(size)) for _ in range(1_000))
        if predictable(key(content))
    ]
    assert len(blamed) <= 40  # Base64 of so few bytes that it has no digit looks like words
    assert all(not set(content) & set(b"0123456789") for content in blamed)


@given(st.binary(min_size=16, max_size=64))
def test_looking_at_a_key_never_raises_and_never_shows_it(content: bytes) -> None:
    told = predictable(key(content))
    assert base64.b64encode(content).decode() not in told
    assert content.hex() not in told
    assert length(key(content)) == len(content)


def test_keys_of_the_documentation_are_known_by_digest_alone() -> None:
    derived = "JC8F96eayuQwwz+PkE7IzjH2lIAjCUnAa61tDigBnSs="
    assert is_sample(SymmetricKey.parse(SAMPLE))
    assert is_sample(SymmetricKey.parse(SAMPLE).derive("breakroom499-contoso-tstrsd-007"))
    assert is_sample(SymmetricKey.parse(derived))
    assert not is_sample(SymmetricKey.parse(SAMPLE).derive("another-device"))
    assert all(len(each) == 64 for each in SAMPLES)


def test_a_digest_tells_keys_apart() -> None:
    assert digest(key(bytes(16))) == digest(key(bytes(16)))
    assert digest(key(bytes(16))) != digest(key(bytes(17)))
