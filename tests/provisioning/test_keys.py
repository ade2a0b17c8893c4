"""Symmetric keys: derived as documented, never shown."""

import base64

import pytest

from provisioning.keys import KeyFormatError, SymmetricKey

# The sample key and vectors of Microsoft's documentation on symmetric-key attestation.
DOCUMENTED_GROUP_KEY = (
    "oiK77Oy7rBw8YB6IS6ukRChAw+Yq6GC61RMrPLSTiOOtdI+XDu0LmLuNm11p+qv2I+adqGUdZHm46zXAQdZoOA=="
)


@pytest.mark.parametrize(
    ("registration_id", "derived"),
    [
        ("breakroom499-contoso-tstrsd-007", "JC8F96eayuQwwz+PkE7IzjH2lIAjCUnAa61tDigBnSs="),
        ("mainbuilding167-contoso-hpsd-088", "6uejA9PfkQgmYylj8Zerp3kcbeVrGZ172YLa7VSnJzg="),
    ],
)
def test_device_keys_derive_as_documented(registration_id: str, derived: str) -> None:
    assert SymmetricKey.parse(DOCUMENTED_GROUP_KEY).derive(registration_id).reveal() == derived


def test_derivation_is_case_sensitive() -> None:
    key = SymmetricKey(b"k" * 32)
    assert not key.derive("dev").same_as(key.derive("Dev"))
    assert key.derive("dev").same_as(key.derive("dev"))


@pytest.mark.parametrize("length", [0, 15, 65])
def test_a_key_of_the_wrong_length_is_refused_without_being_quoted(length: int) -> None:
    text = base64.b64encode(b"\x01" * length).decode()
    with pytest.raises(KeyFormatError) as error:
        SymmetricKey.parse(text)
    assert f"this one {length}" in str(error.value)
    assert not text or text not in str(error.value)


@pytest.mark.parametrize("text", ["%%%", "abc", "é", "QUJD QUJD"])
def test_text_that_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(KeyFormatError, match="Base64"):
        SymmetricKey.parse(text)


def test_a_key_never_shows_in_repr_or_str() -> None:
    key = SymmetricKey(b"0123456789abcdef")
    for shown in (repr(key), str(key), f"{key}", repr([key])):
        assert "0123" not in shown
        assert key.reveal() not in shown
