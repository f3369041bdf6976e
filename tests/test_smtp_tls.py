import hashlib
import ssl
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from smtpsurvey.lab.certificates import SELF_SIGNED, Authority, Leaf
from smtpsurvey.outcomes import Staple, TlsError, Trouble, TrustError
from smtpsurvey.smtp import tls as tls_module
from smtpsurvey.smtp.certificate import Examiner
from smtpsurvey.smtp.tls import DEPRECATED, LEGACY, TlsClient, TlsFacts, TlsPipe, TlsTroubleError

NAME = "mx.example.org"
LIMIT = 65536
ALERT, HANDSHAKE, DATA = 0x15, 0x16, 0x17
SERVER_HELLO, CERTIFICATE, SERVER_KEY_EXCHANGE, CERTIFICATE_VERIFY = 2, 11, 12, 15


class Pki(NamedTuple):
    """A root that the client trusts, what its servers show, and where servers find that."""

    authority: Authority
    client: TlsClient
    leaf: Leaf
    folder: Path

    def context(self, leaf: Leaf | None = None, *, most: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """Make a server that shows this leaf, and speaks no later version."""
        leaf = leaf or self.leaf
        path = self.folder / f"{leaf.sha256}.pem"
        path.write_bytes(leaf.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.load_cert_chain(path)
        if most is not None:
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
                context.maximum_version = most
        return context


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.ca_pem)
    return Pki(authority, TlsClient(Examiner(str(folder / "ca.pem")), LIMIT), authority.leaf((NAME,)), folder)


class Server:
    """The other side: the standard library's TLS, which is another build of OpenSSL than the client's."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_side=True)
        self.heard = b""
        self.established = False

    def receive(self, data: bytes) -> bytes:
        """Take ciphertext, give ciphertext."""
        self._in.write(data)
        try:
            if not self.established:
                self.tls.do_handshake()
                self.established = True
            self.heard += self.tls.read()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.established = False  # its alert is in what it sends
        return self._out.read()

    def say(self, plain: bytes) -> bytes:
        self.tls.write(plain)
        return self._out.read()

    def hang_up(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):  # it waits for our close_notify
            self.tls.unwrap()
        return self._out.read()


Cut = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> list[bytes]:
    return [data] if data else []


def singly(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def shake_hands(pipe: TlsPipe, server: Server, cut: Cut = whole) -> bytes:
    """Carry bytes between both until nothing moves; gives the plaintext that came."""
    plain, to_server = b"", pipe.begin()
    while to_server:
        to_client, to_server = server.receive(to_server), b""
        for piece in cut(to_client):
            came, out = pipe.receive(piece)
            plain += came
            to_server += out
    return plain


def pipe_to(pki: Pki, stray: bytes = b"") -> TlsPipe:
    return TlsPipe(pki.client, NAME, stray)


def broken(pipe: TlsPipe, *pieces: bytes) -> TlsTroubleError:
    """Feed pieces, the last of which must break TLS."""
    for piece in pieces[:-1]:
        pipe.receive(piece)
    with pytest.raises(TlsTroubleError) as caught:
        pipe.receive(pieces[-1])
    return caught.value


def record(kind: int, body: bytes, version: bytes = b"\3\3") -> bytes:
    return bytes([kind]) + version + len(body).to_bytes(2) + body


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3) + body


def server_hello(version: int = 0x0303, cipher: int = 0xC02F) -> bytes:
    """Write a ServerHello (RFC 5246 section 7.4.1.3), secure renegotiation its only extension."""
    random = b"\x11" * 32
    body = version.to_bytes(2) + random + b"\0" + cipher.to_bytes(2) + b"\0" + bytes.fromhex("0005 ff01000100")
    return record(HANDSHAKE, message(SERVER_HELLO, body))


def certificates(*ders: bytes) -> bytes:
    """Write a Certificate message of TLS 1.2 (RFC 5246 section 7.4.2)."""
    chain = b"".join(len(der).to_bytes(3) + der for der in ders)
    return record(HANDSHAKE, message(CERTIFICATE, len(chain).to_bytes(3) + chain))


def alert(number: int, level: int = 2) -> bytes:
    return record(ALERT, bytes([level, number]))


def check_established(facts: TlsFacts, pki: Pki, version: str) -> None:
    assert (facts.version, facts.error, facts.stray_plaintext) == (version, None, None)
    assert facts.certificate is not None
    assert facts.certificate.names == [NAME]
    assert facts.hashes[0] == facts.certificate.sha256 == pki.leaf.sha256
    assert facts.hashes == tuple(hashlib.sha256(der).hexdigest() for der in facts.chain)
    assert len(facts.chain) == 2
    assert (facts.trusted, facts.trust_error, facts.matches_name) == (True, None, True)


@pytest.mark.parametrize("cut", [whole, singly])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_session_with_a_server(pki: Pki, version: str, cut: Cut) -> None:
    pipe = pipe_to(pki)
    server = Server(pki.context(most=ssl.TLSVersion[version.replace(".", "_")]))
    assert shake_hands(pipe, server, cut) == b""
    assert (pipe.established, server.established) == (True, True)
    facts = pipe.facts()
    check_established(facts, pki, version)
    assert (facts.version, facts.cipher) == (server.tls.version(), server.tls.cipher()[0])
    assert server.receive(pipe.send(b"EHLO x\r\n")) == b""
    assert server.heard == b"EHLO x\r\n"
    came = [pipe.receive(piece) for piece in cut(server.say(b"250 mx\r\n") + server.say(b"x" * 40_000))]
    assert b"".join(plain for plain, _ in came) == b"250 mx\r\n" + b"x" * 40_000
    assert not any(out for _, out in came)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=20))
def test_any_way_of_cutting_the_handshake_establishes_it(pki: Pki, sizes: list[int]) -> None:
    def cut(data: bytes) -> list[bytes]:
        ends = [0]
        while ends[-1] < len(data):
            ends.append(ends[-1] + sizes[len(ends) % len(sizes)])
        return [data[begin:end] for begin, end in pairwise(ends)]

    pipe, server = pipe_to(pki), Server(pki.context())
    shake_hands(pipe, server, cut)
    check_established(pipe.facts(), pki, "TLSv1.3")


@pytest.mark.parametrize("cut", [whole, singly])
def test_a_server_that_asks_for_a_key_of_another_group_gets_it(pki: Pki, cut: Cut) -> None:
    context = pki.context()
    context.set_ecdh_curve("secp384r1")
    pipe, server = pipe_to(pki), Server(context)
    shake_hands(pipe, server, cut)
    check_established(pipe.facts(), pki, "TLSv1.3")


def test_groups_that_openssl_does_not_know_are_an_error(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_module, "_GROUPS", b"NO-SUCH-GROUP")
    with pytest.raises(ValueError, match="NO-SUCH-GROUP"):
        TlsClient(pki.client.examiner, LIMIT)
    monkeypatch.undo()
    shake_hands(pipe := pipe_to(pki), Server(pki.context()))  # and the error does not stay with OpenSSL
    check_established(pipe.facts(), pki, "TLSv1.3")


def test_session_tickets_after_the_handshake_are_no_plaintext(pki: Pki) -> None:
    pipe, server = pipe_to(pki), Server(pki.context())
    _, finished = pipe.receive(server.receive(pipe.begin()))
    assert pipe.established
    tickets = server.receive(finished)
    assert tickets
    assert pipe.receive(tickets) == (b"", b"")


def test_a_session_without_a_name(pki: Pki) -> None:
    names: list[str | None] = []
    context = pki.context()
    context.sni_callback = lambda _tls, name, _context: names.append(name)
    for name in (None, NAME, "other.example.org"):
        pipe = TlsPipe(pki.client, name, b"")
        shake_hands(pipe, Server(context))
        assert pipe.facts().matches_name is {None: None, NAME: True}.get(name, False)
    assert names == [None, NAME, "other.example.org"]


def test_any_certificate_is_accepted_and_recorded(pki: Pki) -> None:
    leaf = pki.authority.leaf(("other.example",), SELF_SIGNED, bits=1024)
    pipe = pipe_to(pki)
    shake_hands(pipe, Server(pki.context(leaf)))
    facts = pipe.facts()
    assert (facts.version, facts.error, facts.hashes) == ("TLSv1.3", None, (leaf.sha256,))
    assert (facts.trusted, facts.trust_error, facts.matches_name) == (False, TrustError.SELF_SIGNED, False)
    assert facts.certificate is not None
    assert facts.certificate.key == "rsa-1024"


def test_a_server_of_tls_1_1_has_another_protocol_version(pki: Pki) -> None:
    pipe = pipe_to(pki)
    refusal = Server(pki.context(most=ssl.TLSVersion.TLSv1_1)).receive(pipe.begin())
    assert broken(pipe, refusal).error == TlsError.PROTOCOL_VERSION
    assert not pipe.established


@pytest.mark.parametrize("version", [0x0300, 0x0301, 0x0302])
def test_a_server_that_answers_with_an_old_version_has_another_protocol_version(pki: Pki, version: int) -> None:
    pipe = pipe_to(pki)
    pipe.begin()
    assert broken(pipe, server_hello(version)).error == TlsError.PROTOCOL_VERSION


def test_a_server_without_a_cipher_of_ours_says_so_in_an_alert(pki: Pki) -> None:
    context = pki.context(most=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-CAMELLIA256-SHA384:@SECLEVEL=0")
    pipe = pipe_to(pki)
    trouble = broken(pipe, Server(context).receive(pipe.begin()))
    assert (trouble.error, trouble.trouble) == ("alert:handshake_failure", Trouble.CLOSED)
    assert pipe.facts(trouble.error).error == "alert:handshake_failure"


@pytest.mark.parametrize("cipher", [0x0001, 0x0005, 0x1234])
def test_a_server_that_chooses_a_cipher_we_did_not_offer(pki: Pki, cipher: int) -> None:
    pipe = pipe_to(pki)
    pipe.begin()
    assert broken(pipe, server_hello(cipher=cipher)).error == TlsError.NO_SHARED_CIPHER


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (10, "alert:unexpected_message"),
        (20, "alert:bad_record_mac"),
        (22, "alert:record_overflow"),
        (40, "alert:handshake_failure"),
        (42, "alert:bad_certificate"),
        (43, "alert:unsupported_certificate"),
        (44, "alert:certificate_revoked"),
        (45, "alert:certificate_expired"),
        (46, "alert:certificate_unknown"),
        (47, "alert:illegal_parameter"),
        (48, "alert:unknown_ca"),
        (49, "alert:access_denied"),
        (50, "alert:decode_error"),
        (51, "alert:decrypt_error"),
        (70, TlsError.PROTOCOL_VERSION),
        (71, "alert:insufficient_security"),
        (80, "alert:internal_error"),
        (86, "alert:inappropriate_fallback"),
        (109, "alert:missing_extension"),
        (110, "alert:unsupported_extension"),
        (112, "alert:unrecognized_name"),
        (113, "alert:bad_certificate_status_response"),
        (116, "alert:certificate_required"),
        (120, "alert:no_application_protocol"),
        (255, "other:unknown"),
    ],
)
def test_each_alert_by_its_name(pki: Pki, number: int, error: str) -> None:
    """The numbers and names are those of RFC 8446 section 6 and the IANA registry."""
    pipe = pipe_to(pki)
    pipe.begin()
    assert broken(pipe, alert(number)).error == error


def test_a_warning_is_no_end(pki: Pki) -> None:
    pipe, server = pipe_to(pki), Server(pki.context(most=ssl.TLSVersion.TLSv1_2))
    flight = server.receive(pipe.begin())
    assert pipe.receive(alert(112, level=1)) == (b"", b"")  # unrecognized_name, as servers do for a name they lack
    _, out = pipe.receive(flight)
    pipe.receive(server.receive(out))
    check_established(pipe.facts(), pki, "TLSv1.2")


def test_a_server_that_closes_the_session_in_the_handshake(pki: Pki) -> None:
    for ahead in (b"", server_hello()):
        pipe = pipe_to(pki)
        pipe.begin()
        trouble = broken(pipe, ahead + alert(0, level=1))
        assert (trouble.error, trouble.trouble) == (TlsError.CLOSED, Trouble.CLOSED)


@pytest.mark.parametrize(
    "garbage", [b"HTTP/1.1 400 Bad Request\r\n", b"500 what?\r\n", b"\x16\x03\x03\xff\xff" + b"x" * 99]
)
def test_garbage_in_the_handshake_is_not_tls(pki: Pki, garbage: bytes) -> None:
    pipe = pipe_to(pki)
    pipe.begin()
    trouble = broken(pipe, server_hello(), garbage)
    assert (trouble.error, trouble.trouble) == (TlsError.NOT_TLS, Trouble.NOT_SMTP)
    assert pipe.facts(trouble.error).stray_plaintext is None


@pytest.mark.parametrize(
    ("flight", "error"),
    [
        (certificates(b"\x30\x03\x02\x01\x00"), TlsError.CERTIFICATE),
        (certificates(b"no certificate"), TlsError.CERTIFICATE),
        (record(HANDSHAKE, b"\x0b\xff\xff\xff" + b"x" * 99), TlsError.OVERSIZE),
        (record(HANDSHAKE, message(20, b"\0" * 12)), "other:unexpected message"),
    ],
)
def test_messages_that_make_no_sense(pki: Pki, flight: bytes, error: str) -> None:
    pipe = pipe_to(pki)
    pipe.begin()
    assert broken(pipe, server_hello(), flight).error == error
    assert pipe.facts(error).chain == ()


def records_of(flight: bytes) -> list[bytes]:
    found = []
    while flight:
        end = 5 + int.from_bytes(flight[3:5])
        found.append(flight[:end])
        flight = flight[end:]
    return found


def messages_until(kind: int, stream: bytes) -> bytes:
    """Give the handshake messages before the first of this kind."""
    end = 0
    while stream[end] != kind:
        end += 4 + int.from_bytes(stream[end + 1 : end + 4])
    return stream[:end]


def check_certificate_kept(facts: TlsFacts, pki: Pki) -> None:
    assert (facts.version, facts.cipher, facts.error) == (None, None, "alert:internal_error")
    assert facts.hashes[0] == pki.leaf.sha256
    assert (len(facts.chain), facts.trusted, facts.matches_name) == (2, True, True)
    assert facts.certificate is not None
    assert facts.certificate.names == [NAME]


def test_a_handshake_that_fails_after_the_certificate_keeps_it(pki: Pki) -> None:
    pipe = pipe_to(pki)
    flight = records_of(Server(pki.context(most=ssl.TLSVersion.TLSv1_2)).receive(pipe.begin()))
    told = messages_until(SERVER_KEY_EXCHANGE, b"".join(sent[5:] for sent in flight))
    trouble = broken(pipe, record(HANDSHAKE, told), alert(80))
    check_certificate_kept(pipe.facts(trouble.error), pki)


def test_a_tls_1_3_handshake_that_fails_after_the_certificate_keeps_it(pki: Pki) -> None:
    """As OpenSMTPD on Debian 12 does: the certificate, then internal_error, both encrypted (RFC 8446 section 5.2)."""
    context = pki.context()
    context.keylog_filename = str(pki.folder / "keys")
    pipe = pipe_to(pki)
    hello, *flight = records_of(Server(context).receive(pipe.begin()))
    secrets = dict(
        line.split()[::2] for line in (pki.folder / "keys").read_text("ascii").splitlines() if line[0] != "#"
    )
    secret = bytes.fromhex(secrets["SERVER_HANDSHAKE_TRAFFIC_SECRET"])
    reading, writing = Sealed(secret), Sealed(secret)
    told = b"".join(reading.open(sealed) for sealed in flight if sealed[0] == DATA)
    told = messages_until(CERTIFICATE_VERIFY, told)  # the first that takes the private key
    trouble = broken(pipe, hello + writing.seal(HANDSHAKE, told) + writing.seal(ALERT, bytes([2, 80])))
    check_certificate_kept(pipe.facts(trouble.error), pki)


class Sealed:
    """Records of TLS 1.3 under one secret, for TLS_AES_256_GCM_SHA384 (RFC 8446 sections 5.2 to 7.3)."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._aead = AESGCM(self._expand(b"key", 32))
        self._iv = int.from_bytes(self._expand(b"iv", 12))
        self._number = 0

    def _expand(self, label: bytes, size: int) -> bytes:
        label = b"tls13 " + label
        info = size.to_bytes(2) + bytes([len(label)]) + label + b"\0"
        return HKDFExpand(SHA384(), size, info).derive(self._secret)

    def _nonce(self) -> bytes:
        self._number += 1
        return (self._iv ^ (self._number - 1)).to_bytes(12)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt a record, and leave off what kind it is of."""
        return self._aead.decrypt(self._nonce(), sealed[5:], sealed[:5])[:-1]

    def seal(self, kind: int, plain: bytes) -> bytes:
        head = bytes([DATA, 3, 3]) + (len(plain) + 1 + 16).to_bytes(2)
        return head + self._aead.encrypt(self._nonce(), plain + bytes([kind]), head)


@pytest.mark.parametrize("stray", [b"250 injected\r\n", b"\x16", b"\x16\x03", b"\x16\x16\x03\x09", b"\x15\0\xff"])
@pytest.mark.parametrize("came_with_220", [b"", b"501 too\r\n"])
def test_plaintext_before_the_first_record_is_kept_apart_however_it_is_cut(
    pki: Pki, stray: bytes, came_with_220: bytes
) -> None:
    for cut in range(1, len(stray) + 8):
        pipe, server = pipe_to(pki, came_with_220), Server(pki.context())
        flight = stray + server.receive(pipe.begin())
        assert pipe.receive(flight[:cut]) == (b"", b"")
        _, out = pipe.receive(flight[cut:])
        assert pipe.established
        pipe.receive(server.receive(out))
        facts = pipe.facts()
        assert (facts.error, facts.stray_plaintext) == (None, came_with_220 + stray)


def test_plaintext_byte_by_byte(pki: Pki) -> None:
    pipe, server = pipe_to(pki, b"a"), Server(pki.context())
    shake_hands(pipe, server, lambda data: singly(b"b\x16\x03c" + data if not pipe.established else data))
    assert pipe.facts().stray_plaintext == b"ab\x16\x03c"


@pytest.mark.parametrize(
    ("with_220", "later", "ended", "error"),
    [
        (b"", b"", TlsError.CLOSED, TlsError.CLOSED),
        (b"", b"", TlsError.TIMEOUT, TlsError.TIMEOUT),
        (b"", b"", TlsError.RESET, TlsError.RESET),
        (b"500 what?\r\n", b"", TlsError.CLOSED, TlsError.NOT_TLS),
        (b"", b"500 what?\r\n", TlsError.CLOSED, TlsError.NOT_TLS),
        (b"", b"500 what?\r\n", TlsError.TIMEOUT, TlsError.NOT_TLS),
        (b"", b"500 what?\r\n", TlsError.RESET, TlsError.RESET),
        (b"500", server_hello(), TlsError.CLOSED, TlsError.CLOSED),
        (b"", b"\x16\x03", TlsError.CLOSED, TlsError.CLOSED),  # it may have been TLS
    ],
)
def test_a_handshake_that_ends_without_a_word_of_tls(
    pki: Pki, with_220: bytes, later: bytes, ended: TlsError, error: TlsError
) -> None:
    pipe = pipe_to(pki, with_220)
    pipe.begin()
    if later:
        pipe.receive(later)
    facts = pipe.facts(ended)
    seen = with_220 + (b"" if later == server_hello() else later)
    assert (facts.error, facts.stray_plaintext, facts.chain) == (error, seen or None, ())


def test_plaintext_without_end_is_oversize(pki: Pki) -> None:
    pipe = TlsPipe(TlsClient(pki.client.examiner, 1000), NAME, b"x" * 100)
    pipe.begin()
    trouble = broken(pipe, b"x" * 900, b"x")
    assert (trouble.error, trouble.trouble) == (TlsError.OVERSIZE, Trouble.OVERSIZE)


def test_the_bound_of_a_handshake(pki: Pki) -> None:
    flights: list[int] = []

    def measure(limit: int) -> TlsPipe:
        pipe, server = TlsPipe(TlsClient(pki.client.examiner, limit), NAME, b""), Server(pki.context())
        flight = server.receive(pipe.begin())
        flights.append(len(flight))
        pipe.receive(flight)
        return pipe

    measure(LIMIT)
    longest = flights[0] + 8  # an ECDSA signature is a few bytes longer or shorter
    assert measure(longest).established
    with pytest.raises(TlsTroubleError) as caught:
        measure(flights[0] - 8)
    assert (caught.value.error, caught.value.trouble) == (TlsError.OVERSIZE, Trouble.OVERSIZE)


def test_a_certificate_beyond_openssls_own_bound_is_oversize(pki: Pki) -> None:
    leaf = pki.authority.leaf(tuple(f"host-{number:05}.example.org" for number in range(6000)))
    pipe = TlsPipe(TlsClient(pki.client.examiner, 10**6), NAME, b"")
    trouble = broken(pipe, Server(pki.context(leaf)).receive(pipe.begin()))
    assert trouble.error == TlsError.OVERSIZE


def established(pki: Pki, limit: int = LIMIT, most: ssl.TLSVersion | None = None) -> tuple[TlsPipe, Server]:
    pipe, server = TlsPipe(TlsClient(pki.client.examiner, limit), NAME, b""), Server(pki.context(most=most))
    shake_hands(pipe, server)
    assert pipe.established
    return pipe, server


def test_a_session_may_take_twice_what_its_handshake_may(pki: Pki) -> None:
    pipe, server = established(pki, limit=4000)
    assert pipe.receive(server.say(b"x" * 4000))[0] == b"x" * 4000
    trouble = broken(pipe, server.say(b"x" * 4000))
    assert (trouble.error, trouble.trouble) == (TlsError.OVERSIZE, Trouble.OVERSIZE)


def test_a_server_that_closes_the_session(pki: Pki) -> None:
    pipe, server = established(pki)
    trouble = broken(pipe, server.hang_up())
    assert (trouble.error, trouble.trouble) == (TlsError.CLOSED, Trouble.CLOSED)


def test_the_last_words_are_heard_before_the_end(pki: Pki) -> None:
    pipe, server = established(pki)
    assert pipe.receive(server.say(b"221 bye\r\n") + server.hang_up())[0] == b"221 bye\r\n"
    assert broken(pipe, b"x").trouble is Trouble.CLOSED  # the end shows again


def test_garbage_in_a_session_is_no_smtp(pki: Pki) -> None:
    for garbage in (b"HTTP/1.1 400\r\n", record(DATA, b"\xff" * 40)):
        pipe, _ = established(pki)
        assert broken(pipe, garbage).trouble is Trouble.NOT_SMTP


def test_words_before_the_garbage_are_heard_and_nothing_more_is_sent(pki: Pki) -> None:
    pipe, server = established(pki)
    plain, _ = pipe.receive(server.say(b"250 mx\r\n") + record(DATA, b"\xff" * 40))
    assert plain == b"250 mx\r\n"
    pipe.send(b"QUIT\r\n")
    server.receive(b"")
    assert server.heard == b""


@pytest.mark.parametrize("behind", [b"", b"HTTP/1.1 400 Bad Request\r\n"])
def test_what_comes_behind_a_handshake_does_not_undo_it(pki: Pki, behind: bytes) -> None:
    pipe, server = pipe_to(pki), Server(pki.context())
    plain, finished = pipe.receive(server.receive(pipe.begin()) + behind)
    assert (pipe.established, plain) == (True, b"")
    server.receive(finished)
    assert server.established
    check_established(pipe.facts(), pki, "TLSv1.3")
    if behind:
        assert broken(pipe, b"more").trouble is Trouble.NOT_SMTP


def test_words_with_the_end_of_a_handshake_are_heard(pki: Pki) -> None:
    pipe, server = pipe_to(pki), Server(pki.context(most=ssl.TLSVersion.TLSv1_2))
    _, out = pipe.receive(server.receive(pipe.begin()))
    assert pipe.receive(server.receive(out) + server.say(b"220 early\r\n")) == (b"220 early\r\n", b"")
    assert pipe.established


def test_a_server_that_asks_for_another_handshake_gets_none(pki: Pki) -> None:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    path = pki.folder / "renegotiating.pem"
    path.write_bytes(pki.leaf.pem)
    context.use_certificate_chain_file(str(path))
    context.use_privatekey_file(str(path))
    server = SSL.Connection(context, None)
    server.set_accept_state()
    pipe = pipe_to(pki)
    out = pipe.begin()
    while not pipe.established:
        server.bio_write(out)
        with suppress(SSL.WantReadError):
            server.do_handshake()
        _, out = pipe.receive(server.bio_read(LIMIT))
    assert server.renegotiate()
    server.do_handshake()  # says HelloRequest
    plain, refusal = pipe.receive(server.bio_read(LIMIT))
    assert plain == b""
    assert refusal[0] == ALERT
    server.bio_write(refusal + pipe.send(b"QUIT\r\n"))
    with pytest.raises(SSL.Error, match="no renegotiation"):
        server.recv(100)


def shown_to(
    client: TlsClient, context: ssl.SSLContext, name: str | None = NAME, domain: str | None = None
) -> TlsFacts:
    shake_hands(pipe := TlsPipe(client, name, b"", domain), Server(context))
    return pipe.facts()


OLD = {ssl.TLSVersion.TLSv1: "TLSv1", ssl.TLSVersion.TLSv1_1: "TLSv1.1"}


@pytest.mark.parametrize("version", OLD)
def test_a_legacy_client_speaks_old_versions_and_takes_weak_keys(pki: Pki, version: ssl.TLSVersion) -> None:
    client = TlsClient(pki.client.examiner, LIMIT, LEGACY)
    weak = pki.authority.leaf((NAME,), bits=1024)
    facts = shown_to(client, pki.context(weak, most=version))
    assert (facts.version, facts.trust_error) == (OLD[version], TrustError.WEAK)
    assert shown_to(client, pki.context()).version == "TLSv1.3"


def test_a_client_of_deprecated_versions_alone_gets_the_later_one_of_them(pki: Pki) -> None:
    client = TlsClient(pki.client.examiner, LIMIT, DEPRECATED)
    assert shown_to(client, pki.context(most=ssl.TLSVersion.TLSv1_2)).version == "TLSv1.1"
    with pytest.raises(TlsTroubleError) as caught:
        shown_to(client, pki.context())
    assert caught.value.error == TlsError.PROTOCOL_VERSION


@pytest.mark.parametrize(
    ("curve", "group"), [(None, "x25519"), ("prime256v1", "secp256r1"), ("secp521r1", "secp521r1")]
)
@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_group_of_the_key_exchange(pki: Pki, most: ssl.TLSVersion, curve: str | None, group: str) -> None:
    context = pki.context(most=most)
    if curve is not None:
        context.set_ecdh_curve(curve)
    assert shown_to(pki.client, context).group == group


def test_rsas_key_exchange_has_no_group(pki: Pki) -> None:
    context = pki.context(pki.authority.leaf((NAME,), bits=2048), most=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("AES128-SHA:@SECLEVEL=0")
    facts = shown_to(TlsClient(pki.client.examiner, LIMIT, LEGACY), context)
    assert (facts.cipher, facts.group) == ("AES128-SHA", None)


def test_a_client_without_sni_says_no_name_and_still_compares_it(pki: Pki) -> None:
    names: list[str | None] = []
    context = pki.context()
    context.sni_callback = lambda _tls, name, _context: names.append(name)
    silent = TlsClient(pki.client.examiner, LIMIT, sni=False)
    facts = [shown_to(silent, context), shown_to(pki.client, context), shown_to(pki.client, context, None)]
    assert names == [None, NAME, None]
    assert [one.sni for one in facts] == [False, True, False]
    assert [one.matches_name for one in facts] == [True, True, None]


def test_name_and_domain_are_two_facts(pki: Pki) -> None:
    for domain, fits in ((None, None), ("example.org", False), (NAME, True)):
        facts = shown_to(pki.client, pki.context(), "other.example", domain)
        assert (facts.matches_name, facts.matches_domain) == (False, fits)


def test_a_session_without_a_staple_says_so_and_a_broken_one_nothing(pki: Pki) -> None:
    assert shown_to(pki.client, pki.context()).staple is Staple.NONE
    pipe = pipe_to(pki)
    pipe.begin()
    facts = pipe.facts(broken(pipe, alert(40)).error)
    assert (facts.group, facts.staple, facts.sni) == (None, None, True)


def test_a_staple_is_read(pki: Pki) -> None:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    path = str(pki.folder / f"{pki.leaf.sha256}.pem")
    pki.context()
    context.use_certificate_chain_file(path)
    context.use_privatekey_file(path)
    error = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER)
    context.set_ocsp_server_callback(lambda _connection, _data: error)
    server = SSL.Connection(context, None)
    server.set_accept_state()
    pipe = pipe_to(pki)
    to_server = pipe.begin()
    while not pipe.established:
        server.bio_write(to_server)
        with suppress(SSL.WantReadError):
            server.do_handshake()
        _, to_server = pipe.receive(server.bio_read(LIMIT))
    assert pipe.facts().staple is Staple.UNREADABLE
