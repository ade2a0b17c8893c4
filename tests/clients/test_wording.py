"""A service's words in our messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.wording import LONGEST, plain


@pytest.mark.parametrize(
    "text",
    [
        "Custom allocation failed with status code: 500",
        "error code 400004: a definition is required",
        "thumbprint 8F43288AD272F3103B6FB1428485EA3014C0BCFE is unknown",
        "id 0f9fa3b0-1b0e-4f8e-9a43-0d2f0a0f1c2d",
        "The key is too short.",
        "token expired",
    ],
)
def test_what_is_no_secret_is_kept(text: str) -> None:
    assert plain(text) == text


@given(st.text(st.characters(codec=None), max_size=600))
def test_words_are_one_line_of_printable_characters(text: str) -> None:
    said = plain(text)
    assert len(said) <= LONGEST
    assert "\n" not in said
    said.encode()
    assert not any(ord(sign) < 32 or "\u202a" <= sign <= "\u202e" for sign in said)


@given(st.binary(min_size=16, max_size=64), st.text(max_size=20), st.text(max_size=20))
def test_no_key_passes_wherever_it_stands(key: bytes, before: str, after: str) -> None:
    import base64

    text = base64.b64encode(key).decode()
    if len(text) >= 40 or text.endswith("="):
        assert text not in plain(f"{before} {text} {after}")
    assert text not in plain(f"{before} SharedAccessKey={text};{after}")


def test_endless_words_are_cut_without_reading_them_all() -> None:
    assert len(plain("a " * 40_000_000)) == LONGEST
