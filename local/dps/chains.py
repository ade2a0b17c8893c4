"""Certificate chains of devices: reading them, and verifying them up to an authority."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import crypto

Chain = tuple[x509.Certificate, ...]
"""A certificate, its issuer, that one's issuer, and so on."""


def thumbprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER bytes, in upper-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex().upper()


def verified(sent: Sequence[x509.Certificate], anchors: Iterable[x509.Certificate], now: datetime) -> Chain:
    """The longest valid chain from the first certificate sent up to an anchor; empty: there is none.

    An anchor need not be self-signed, and need not be sent; everything between may come in any order. All
    certificates must be valid at `now`, the anchor too, and all but the first must be allowed to sign.
    """
    if not sent:
        return ()
    known = list({thumbprint(each): each for each in anchors}.values())
    leaf, *rest = (crypto.X509.from_cryptography(each) for each in (*sent, *known))
    names = _names_above(sent[0], (*sent, *known))
    chains = (_up_to(each, leaf, rest, now) for each in known if each.subject in names)
    return max(chains, key=len, default=())


def _names_above(leaf: x509.Certificate, known: Sequence[x509.Certificate]) -> set[x509.Name]:
    """The subjects a chain may hold by its names alone: spares most anchors the costly look."""
    names, fresh = set[x509.Name](), {leaf.issuer}
    while fresh:
        names |= fresh
        fresh = {each.issuer for each in known if each.subject in names} - names
    return names


def _up_to(anchor: x509.Certificate, leaf: crypto.X509, rest: list[crypto.X509], now: datetime) -> Chain:
    store = crypto.X509Store()
    store.add_cert(crypto.X509.from_cryptography(anchor))
    store.set_time(now)
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    try:
        chain = crypto.X509StoreContext(store, leaf, rest).get_verified_chain()
    except crypto.X509StoreContextError:
        return ()
    return tuple(each.to_cryptography() for each in chain)
