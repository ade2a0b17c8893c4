"""TLS for servers that look at the client's certificate themselves.

The standard library's `ssl` either asks for no certificate or ends the handshake for one whose issuer it
does not know, before an application could answer. Here every certificate passes the handshake, which
proves that the client holds its key and no more; who may use it is the application's to judge.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL, crypto

from local.tls import ServerCertificate

PEER_CHAIN = "peer_chain"
"""`get_extra_info` of the inner transport: the PEM texts that the client sent, its own certificate first."""
TLS_VERSION = "tls_version"
"""`get_extra_info` of the inner transport: the protocol's number, 0x0303 or 0x0304."""
_RECORD = 16 * 1024  # most bytes of one TLS record
_DEEPEST = 100
_log = logging.getLogger(__name__)


class PeerTls:
    """Puts TLS 1.2 and 1.3 in front of asyncio protocols, and asks each client for its certificate."""

    def __init__(self, certificate: ServerCertificate, *, patience: float = 60.0) -> None:
        """Make one.

        Args:
            certificate: what the server shows.
            patience: seconds a handshake may take.
        """
        self.patience = patience
        self.shaking: set[_Layer] = set()
        self.closed = False
        self.context = context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
        # A resumed session knows the client's certificate, but not the chain it came with.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.use_certificate_chain_file(str(certificate.certificate))
        context.use_privatekey_file(str(certificate.key))
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        context.set_verify_depth(_DEEPEST)

    def around(self, inner: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        """The protocol of one TCP connection; `inner` makes what speaks inside, after the handshake."""
        return _Layer(self, inner)

    def close(self) -> None:
        """End the handshakes under way, and those that would begin; open connections stay."""
        self.closed = True
        for layer in tuple(self.shaking):
            layer.give_up()


class _Layer(asyncio.Protocol):
    """One TCP connection. Whatever comes over it ends that connection at most."""

    def __init__(self, peers: PeerTls, inner: Callable[[], asyncio.Protocol]) -> None:
        self._peers = peers
        self._make_inner = inner
        self._tls = SSL.Connection(peers.context, None)
        self._tls.set_accept_state()
        self._tcp: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._inner: asyncio.Protocol | None = None
        self._transport: _PeerTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._tcp = transport
        if self._peers.closed:
            transport.abort()
            return
        self._peers.shaking.add(self)
        self._timer = asyncio.get_running_loop().call_later(self._peers.patience, self.give_up)

    def give_up(self) -> None:
        """End a handshake that takes too long, or that nobody waits for any more."""
        if self._tcp is not None:
            self._tcp.abort()

    def data_received(self, data: bytes) -> None:
        assert self._tcp is not None
        try:
            self._tls.bio_write(data)
            if self._transport is None:
                self._transport = self._shaken(self._tcp)
            if self._transport is not None:
                self._deliver(self._transport)
        except SSL.ZeroReturnError:  # the client says goodbye
            if self._transport is not None:
                self._transport.close()
        except (SSL.Error, crypto.Error) as error:
            _log.info("a TLS connection ends: %r", error.args)
            self._flush(self._tcp)  # the alert that says why
            self._tcp.close()

    def _shaken(self, tcp: asyncio.Transport) -> "_PeerTransport | None":
        """Go on with the handshake; a transport for the inner protocol when it is done."""
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._flush(tcp)
            return None
        self._flush(tcp)
        self._settle()
        transport = _PeerTransport(tcp, self._tls, self._flush)
        self._inner = self._make_inner()
        self._inner.connection_made(transport)
        return transport

    def _deliver(self, transport: "_PeerTransport") -> None:
        assert self._inner is not None
        with contextlib.suppress(SSL.WantReadError):
            while not transport.is_closing():
                self._inner.data_received(self._tls.recv(_RECORD))
        if not transport.is_closing():
            self._flush(transport.tcp)

    def _flush(self, tcp: asyncio.Transport) -> None:
        parts = []
        with contextlib.suppress(SSL.WantReadError):
            while True:
                parts.append(self._tls.bio_read(4 * _RECORD))
        if parts and not tcp.is_closing():
            tcp.write(b"".join(parts))

    def _settle(self) -> None:
        self._peers.shaking.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        if self._inner is not None:
            self._inner.connection_lost(exc)
        self._inner = self._transport = self._tcp = None

    def eof_received(self) -> None:
        if self._inner is not None:
            self._inner.eof_received()  # TLS knows no half-closed connection, so its wish does not count

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()


class _PeerTransport(asyncio.Transport):
    """What the inner protocol reads from and writes to."""

    def __init__(
        self, tcp: asyncio.Transport, tls: SSL.Connection, flush: Callable[[asyncio.Transport], None]
    ) -> None:
        super().__init__()
        self.tcp = tcp
        self._tls = tls
        self._flush = flush
        self._closing = False
        self._told = {
            "sslcontext": tls.get_context(),
            PEER_CHAIN: _chain(tls),
            TLS_VERSION: tls.get_protocol_version(),
        }

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._told[name] if name in self._told else self.tcp.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self.is_closing():
            self._tls.sendall(bytes(data))
            self._flush(self.tcp)

    def is_closing(self) -> bool:
        return self._closing or self.tcp.is_closing()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            with contextlib.suppress(SSL.Error):
                self._tls.shutdown()
            self._flush(self.tcp)
            self.tcp.close()

    def abort(self) -> None:
        self._closing = True
        self.tcp.abort()

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.tcp.pause_reading()

    def resume_reading(self) -> None:
        self.tcp.resume_reading()

    def is_reading(self) -> bool:
        return self.tcp.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.tcp.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self.tcp.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self.tcp.get_write_buffer_limits()


def _chain(tls: SSL.Connection) -> tuple[str, ...]:
    leaf = tls.get_peer_certificate()
    if leaf is None:
        return ()
    sent = [_pem(each) for each in (leaf, *(tls.get_peer_cert_chain() or ()))]
    return tuple(dict.fromkeys(sent))  # whether OpenSSL counts the leaf to the chain depends on the side


def _pem(certificate: crypto.X509) -> str:
    return crypto.dump_certificate(crypto.FILETYPE_PEM, certificate).decode("ascii")
