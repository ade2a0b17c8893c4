"""What can be told of a symmetric key by looking at it. Nothing here gives the key, or a part of it, away."""

import base64
import hashlib
from itertools import pairwise

from provisioning.keys import SymmetricKey

SAMPLES = frozenset(
    {
        "e4e55afdbd93458d3ebc0f651436566197cebb3f9f2ff3d70a42b56d437aad1c",
        "1d395eaa2c671ac27002195cc6020f83ccac14dc8ba16d52ce70c1248bcae0c5",
        "6430bc02e4a0c4a7fc4f4935e90c3cc6d5f373a73da7910dc47a3e76e85a9872",
        "1f3bdb1fec85a36f0dfeb42569cfa7216d49745097839b4239a3c1d9daea5d15",
        "1bfc63c81898767b35bdda1293636324146cabd3bb85b16c716927b121506f7c",
    }
)
"""Digests of the keys that DPS's documentation prints: two groups', and device keys derived from them."""

_ENOUGH_BITS = 128
_HEX = frozenset(b"0123456789abcdefABCDEF")
_PRINTABLE = range(0x20, 0x7F)


def digest(key: SymmetricKey) -> str:
    """The same for the same key. For memory only: a weak key can be guessed from it."""
    return hashlib.sha256(_bytes(key)).hexdigest()


def length(key: SymmetricKey) -> int:
    """Bytes once decoded."""
    return len(_bytes(key))


def is_sample(key: SymmetricKey) -> bool:
    """Whether everybody can read the key in DPS's documentation."""
    return digest(key) in SAMPLES


def predictable(key: SymmetricKey) -> str:
    """Why a key was not drawn at random; "" if it may have been.

    Each reason is one that random bytes have with a probability below 10^-6, so a drawn key is not blamed; a
    key made from a passphrase may pass. Random bytes that were turned to Base64 before they became the key
    pass too, unless they happen to be as short and as free of digits as words.
    """
    content = _bytes(key)
    size = len(content)
    if len({(after - before) % 256 for before, after in pairwise(content)}) == 1:
        return "its bytes count up, down, or are all the same"
    if any(content[period:] == content[:-period] for period in range(1, size // 2 + 1)):
        return "it repeats a shorter key"
    text = all(byte in _PRINTABLE for byte in content)
    if text and _text_bits(content) < _ENOUGH_BITS:
        return "it is a short text in place of random bytes"
    alphabet = 16 if all(byte in _HEX for byte in content) else 64 if text else 256
    expected = alphabet * (1 - (1 - 1 / alphabet) ** size)
    if len(set(content)) < expected / 2:
        return f"it has only {len(set(content))} different bytes"
    return ""


def _text_bits(content: bytes) -> float:
    """At most so many bits are in a text: as if each character were drawn from its kind."""
    if all(byte in _HEX for byte in content):
        return 4.0 * len(content)
    text = content.decode("ascii")
    mixed = any(map(str.isupper, text)) and any(map(str.islower, text)) and any(map(str.isdigit, text))
    return (6.0 if mixed else 2.0) * len(content)  # words of a language: about two bits a letter


def _bytes(key: SymmetricKey) -> bytes:
    return base64.b64decode(key.reveal())
