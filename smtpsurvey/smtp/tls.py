"""TLS over memory BIOs: sans-I/O like the rest of the room (pyOpenSSL).

The client accepts any certificate; what it learnt is in :class:`TlsFacts`.
"""

from __future__ import annotations

import re
from contextlib import suppress

import attrs
from OpenSSL import SSL, crypto
from OpenSSL._util import ffi, lib

from smtpsurvey.outcomes import Staple, TlsError, Trouble
from smtpsurvey.smtp.certificate import Certificate, Examiner, matches_name
from smtpsurvey.smtp.staple import read_staple

_READ = 16384  # bytes; a TLS record holds no more (RFC 8446 section 5.1)
# The hybrid is offered, but a key is made ready for X25519 alone (the asterisk; OpenSSL 3.5 and later): a
# server that prefers the hybrid asks for it. Both in each hello would cost a fifth of a probe's CPU.
_GROUPS = b"X25519MLKEM768:*X25519:P-256:X448:P-521:P-384"
# The words OpenSSL has for an alert; a few of them lack the word (RFC 6066's).
_ALERT = re.compile(r"(?:(?:ssl/tls|tls|sslv3|tlsv1|tlsv13) alert|tlsv1) (.+)")
# A record that a server may begin with: handshake or alert, of any TLS version (RFC 8446 section 5.1).
_RECORD = re.compile(rb"[\x15\x16]\x03[\x00-\x04]")
_PARTIAL_RECORD = re.compile(rb"[\x15\x16]\x03?\Z")
# OpenSSL's reason texts for what is not an alert, to the closed list.
_REASONS = {
    "unsupported protocol": TlsError.PROTOCOL_VERSION,
    "wrong ssl version": TlsError.PROTOCOL_VERSION,
    "no ciphers available": TlsError.NO_SHARED_CIPHER,
    "wrong cipher returned": TlsError.NO_SHARED_CIPHER,
    "unknown cipher returned": TlsError.NO_SHARED_CIPHER,
    "wrong version number": TlsError.NOT_TLS,
    "record layer failure": TlsError.NOT_TLS,
    "packet length too long": TlsError.NOT_TLS,
    "http request": TlsError.NOT_TLS,
    "excessive message size": TlsError.OVERSIZE,
    "cert length mismatch": TlsError.CERTIFICATE,
    "ASN1 lib": TlsError.CERTIFICATE,
    "bad ecpoint": TlsError.CERTIFICATE,
    "ee key too small": TlsError.CERTIFICATE,
    "unknown certificate type": TlsError.CERTIFICATE,
    "wrong certificate type": TlsError.CERTIFICATE,
    "unable to find public key parameters": TlsError.CERTIFICATE,
}


@attrs.frozen(eq=False)
class TlsFacts:
    """What one handshake showed.

    ``chain`` holds the certificates as DER, the leaf first, as they were sent; a failed handshake may
    have some too. ``error`` is of the closed list ``TlsError``, ``alert:<name>`` or ``other:<text>``. ``group`` is the
    key exchange's, as OpenSSL names it; ``None`` also where the key exchange has none (RSA). ``sni`` tells whether the
    server was told a name.
    """

    version: str | None = None
    cipher: str | None = None
    chain: tuple[bytes, ...] = ()
    hashes: tuple[str, ...] = ()
    certificate: Certificate | None = None
    trusted: bool | None = None
    trust_error: str | None = None
    matches_name: bool | None = None
    error: str | None = None
    stray_plaintext: bytes | None = None
    group: str | None = None
    sni: bool | None = None
    matches_domain: bool | None = None
    staple: Staple | None = None


@attrs.frozen
class Offer:
    """What a client offers: the versions, and OpenSSL's cipher string where it is not the default."""

    least: int
    most: int
    ciphers: bytes | None = None


MODERN = Offer(SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)
"""As a careful sender of mail does (RFC 8996 forbids what is older)."""
LEGACY = Offer(SSL.TLS1_VERSION, SSL.TLS1_3_VERSION, b"ALL:@SECLEVEL=0")
"""Whatever OpenSSL still has."""
DEPRECATED = Offer(SSL.TLS1_VERSION, SSL.TLS1_1_VERSION, b"ALL:@SECLEVEL=0")
"""What RFC 8996 forbids, alone."""


class TlsClient:
    """One TLS configuration for all conversations of a survey."""

    def __init__(self, examiner: Examiner, limit: int, offer: Offer = MODERN, *, sni: bool = True) -> None:
        """Say the server's name with ``sni``; a handshake may take ``limit`` bytes, a whole session twice that."""
        self.examiner = examiner
        self.limit = limit
        self.sni = sni
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.context.set_min_proto_version(offer.least)
        self.context.set_max_proto_version(offer.most)
        if offer.ciphers is not None:
            self.context.set_cipher_list(offer.ciphers)
            self.context.set_options(SSL.OP_LEGACY_SERVER_CONNECT)  # servers without RFC 5746, which are as old
        self.context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        # pyOpenSSL has no method for it; Scrapy's own TLS code reaches for the binding in the same way.
        if lib.SSL_CTX_set1_curves_list(self.context._context, _GROUPS) != 1:  # noqa: SLF001 - see above
            raise ValueError(f"this OpenSSL does not know the key-exchange groups {_GROUPS.decode()}")
        self.context.set_options(SSL.OP_NO_RENEGOTIATION)  # one handshake is what we came for


class TlsTroubleError(Exception):
    """TLS ended: before it was established ``error`` says why, later ``trouble``."""

    def __init__(self, error: str, trouble: Trouble) -> None:
        """Say how."""
        super().__init__(error)
        self.error = error
        self.trouble = trouble


class TlsPipe:
    """One TLS session: ciphertext in and out, plaintext out and in."""

    __slots__ = ("_client", "_connection", "_domain", "_name", "_received", "_seeking", "_stray", "established")

    def __init__(self, client: TlsClient, name: str | None, stray: bytes, domain: str | None = None) -> None:
        """Prepare a session with the server called ``name``, an exchange of ``domain``; ``stray`` came before it."""
        self._client = client
        self._name = name
        self._domain = domain
        self._stray = stray
        self._seeking = b""  # bytes that may be the beginning of the first record
        self._received = 0
        self.established = False
        self._connection = SSL.Connection(client.context, None)
        self._connection.set_connect_state()
        self._connection.request_ocsp()
        if name is not None and client.sni:
            self._connection.set_tlsext_host_name(name.encode("ascii", "ignore"))

    def begin(self) -> bytes:
        """Give the first flight of the handshake."""
        return self._step()

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """Take ciphertext; give plaintext and what has to be sent. Raises :class:`TlsTroubleError`."""
        if not self._received:
            data = self._after_stray(data)
            if not data:
                return b"", b""
        self._received += len(data)
        if self._received > self._client.limit * (2 if self.established else 1):
            raise TlsTroubleError(TlsError.OVERSIZE, Trouble.OVERSIZE)
        self._connection.bio_write(data)
        if self.established:
            return self._read(), self._pending()
        plain, out = b"", self._step()
        if self.established:
            # The handshake stands, whatever came behind it; an end shows again when the socket closes.
            with suppress(TlsTroubleError):
                plain = self._read()
        return plain, out

    def send(self, plain: bytes) -> bytes:
        """Encrypt; a session that the server has broken off has nothing to send."""
        with suppress(SSL.Error):
            self._connection.send(plain)
        return self._pending()

    def facts(self, error: str | None = None) -> TlsFacts:
        """Say what the handshake showed so far; ``error`` where it came to nothing."""
        connection = self._connection
        if error in (TlsError.CLOSED, TlsError.TIMEOUT) and not self._received and self._stray:
            error = TlsError.NOT_TLS
        stray = self._stray + self._seeking or None
        ders = tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, c) for c in connection.get_peer_cert_chain() or ())
        version = cipher = group = staple = None
        if self.established:
            version, cipher = connection.get_protocol_version_name(), connection.get_cipher_name()
            group, staple = connection.get_group_name(), self._staple()
        sni = self._client.sni and self._name is not None
        if not ders:
            return TlsFacts(version, cipher, error=error, stray_plaintext=stray, group=group, sni=sni, staple=staple)
        chain = self._client.examiner.chain(ders)
        return TlsFacts(
            version,
            cipher,
            ders,
            chain.hashes,
            chain.certificate,
            chain.trusted,
            chain.trust_error,
            matches_name(chain.leaf, self._name),
            error,
            stray,
            group,
            sni,
            matches_name(chain.leaf, self._domain),
            staple,
        )

    def _staple(self) -> Staple:
        """Read the OCSP response that came; pyOpenSSL gives it to a callback alone, a Python call in each handshake."""
        place = ffi.new("unsigned char **")
        length = lib.SSL_get_tlsext_status_ocsp_resp(self._connection._ssl, place)  # noqa: SLF001 - see above
        return read_staple(ffi.buffer(place[0], length)[:], self._client.examiner.now()) if length > 0 else Staple.NONE

    def _step(self) -> bytes:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            raise _trouble(error) from None
        else:
            self.established = True
        return self._pending()

    def _read(self) -> bytes:
        plain = b""
        try:
            while True:
                plain += self._connection.recv(_READ)
        except SSL.WantReadError:
            return plain
        except SSL.Error as error:
            if plain:  # the end shows again when the socket closes
                return plain
            raise _trouble(error) from None

    def _pending(self) -> bytes:
        try:
            return self._connection.bio_read(_READ)
        except SSL.WantReadError:
            return b""

    def _after_stray(self, data: bytes) -> bytes:
        """Keep plain bytes before the first record apart; give what TLS begins with."""
        data = self._seeking + data
        self._seeking = b""
        record = _RECORD.search(data)
        if record is not None:
            self._stray += data[: record.start()]
            return data[record.start() :]
        partial = _PARTIAL_RECORD.search(data)
        end = partial.start() if partial else len(data)
        self._stray += data[:end]
        self._seeking = data[end:]
        if len(self._stray) > self._client.limit:
            raise TlsTroubleError(TlsError.OVERSIZE, Trouble.OVERSIZE)
        return b""


def _trouble(error: SSL.Error) -> TlsTroubleError:
    """Translate OpenSSL's words, in this one place."""
    if isinstance(error, SSL.ZeroReturnError):
        return TlsTroubleError(TlsError.CLOSED, Trouble.CLOSED)
    reasons = [reason for _, _, reason in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    for reason in reasons:
        alert = _ALERT.fullmatch(reason)
        if alert is not None:
            name = alert[1].replace(" ", "_")
            if name == "protocol_version":
                return TlsTroubleError(TlsError.PROTOCOL_VERSION, Trouble.CLOSED)
            return TlsTroubleError(f"alert:{name}", Trouble.CLOSED)
        if reason in _REASONS:
            return TlsTroubleError(_REASONS[reason], Trouble.NOT_SMTP)
    return TlsTroubleError(f"other:{'; '.join(reasons) or 'unknown'}", Trouble.NOT_SMTP)
