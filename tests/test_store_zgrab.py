"""zgrab2's results, read and written."""

from __future__ import annotations

import base64
import hashlib
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pytest
from feeds import full
from servers.certificate import make_certificate

from smtpsurvey.items import Interruption, Observation, ReplyItem, SmtpItem, Target, TlsItem
from smtpsurvey.outcomes import Outcome, StartTls, Trouble
from smtpsurvey.smtp.reply import complete
from smtpsurvey.store.checks import BadItemError
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Writer
from smtpsurvey.store.zgrab.read import observations
from smtpsurvey.store.zgrab.write import _standard_name, line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BANNER = "220 mx.example.org ESMTP\r\n"
EHLO = "250-mx.example.org\r\n250-SIZE 100\r\n250 STARTTLS\r\n"
READY = "220 go ahead\r\n"
Write = "Callable[[SmtpItem], dict[str, Any] | None]"


def scan(
    status: str = "success", result: dict[str, Any] | None = None, error: str | None = None, **more: Any
) -> Observation:
    made = {"status": status, "protocol": "smtp", "timestamp": "2026-11-25T01:02:03Z", "result": result, "error": error}
    (seen,) = observations(
        msgspec.json.encode({"ip": "192.0.2.1", "domain": "mx.example.org", "data": {"x": made | more}})
    )
    return seen


@pytest.fixture(scope="module")
def der(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    made = make_certificate(tmp_path_factory.mktemp("certificate"))
    return ssl.PEM_cert_to_DER_cert(made.certificate.read_text("ascii"))


def log(der: bytes, **validation: Any) -> dict[str, Any]:
    """The log of a handshake, as zgrab2 writes it, with what we do not use."""
    raw = base64.b64encode(der).decode()
    return {
        "handshake_log": {
            "client_hello": {"random": "AAAA"},
            "server_hello": {
                "version": {"name": "TLSv1.2", "value": 771},
                "cipher_suite": {
                    "hex": "0xC02F",
                    "name": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                    "value": 0xC02F,
                },
            },
            "server_certificates": {
                "certificate": {"raw": raw, "parsed": {"subject_dn": "CN=x"}},
                "chain": [{"raw": raw}],
                "validation": validation or None,
            },
        }
    }


def test_a_whole_conversation_is_read(der: bytes) -> None:
    tls = log(der, browser_trusted=False, browser_error="x509: certificate signed by unknown authority")
    seen = scan(
        result={"banner": BANNER, "ehlo": EHLO, "starttls": READY, "tls": tls, "quit": "221 bye\r\n"}, port=2525
    )
    assert (seen.target.ip, seen.target.port, seen.target.name) == ("192.0.2.1", 2525, "mx.example.org")
    assert (seen.outcome, seen.reason, seen.interrupted, seen.starttls) == (Outcome.OK, None, None, StartTls.OK)
    item = SmtpItem.from_observation(seen, "s")
    assert item.time == "2026-11-25T01:02:03.000Z"
    assert item.greeting is not None
    assert (item.greeting.code, item.greeting.text) == (220, "mx.example.org ESMTP")
    assert item.ehlo is not None
    assert item.ehlo.extensions == {"SIZE": "100", "STARTTLS": ""}
    assert item.quit is not None
    assert item.quit.code == 221
    assert item.tls is not None
    digest = hashlib.sha256(der).hexdigest()
    assert (item.tls.version, item.tls.cipher) == ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256")
    assert item.tls.chain == [digest, digest]
    assert (item.tls.trusted, item.tls.trust_error, item.tls.matches_name) == (False, "unknown_issuer", None)
    assert item.tls.certificate is not None
    assert (item.tls.certificate.sha256, item.tls.certificate.names) == (digest, ["mx.test.example"])
    assert seen.tls is not None
    assert seen.tls.chain == (der, der)


def test_tls_1_3_is_told_from_its_extension_and_suites_have_the_names_of_openssl() -> None:
    hello: dict[str, Any] = {
        "version": {"name": "TLSv1.2", "value": 771},
        "supported_versions": {"selected_version": {"name": "TLSv1.3", "value": 772}},
        "cipher_suite": {"value": 0x1301},
    }
    seen = scan(
        result={"banner": BANNER, "starttls": READY, "tls": {"handshake_log": {"server_hello": hello}}},
    )
    assert seen.tls is not None
    assert (seen.tls.version, seen.tls.cipher) == ("TLSv1.3", "TLS_AES_128_GCM_SHA256")
    old = {"version": {"name": "TLSv1.0"}, "cipher_suite": {"name": "TLS_UNKNOWN", "value": 0xFFFE}}
    seen = scan(result={"banner": BANNER, "starttls": READY, "tls": {"handshake_log": {"server_hello": old}}})
    assert seen.tls is not None
    assert (seen.tls.version, seen.tls.cipher) == ("TLSv1", "TLS_UNKNOWN")


@pytest.mark.parametrize(
    ("validation", "verdict"),
    [
        ({}, (None, None, None)),
        ({"browser_trusted": True, "matches_domain": True}, (True, None, True)),
        ({"browser_trusted": True, "browser_error": "odd"}, (True, None, None)),
        (
            {"browser_trusted": False, "browser_error": "x509: expired: current time X is after Y"},
            (False, "expired", None),
        ),
        ({"browser_trusted": False, "browser_error": "X is before Y"}, (False, "not_yet_valid", None)),
        ({"browser_trusted": False, "browser_error": "weak"}, (False, "weak", None)),
        ({"browser_trusted": False, "browser_error": "x509: odd"}, (False, "other:x509: odd", None)),
    ],
)
def test_the_verdict_on_the_chain_is_zgrab2s(der: bytes, validation: dict[str, Any], verdict: tuple[Any, ...]) -> None:
    tls = scan(result={"banner": BANNER, "starttls": READY, "tls": log(der, **validation)}).tls
    assert tls is not None
    assert (tls.trusted, tls.trust_error, tls.matches_name) == verdict


@pytest.mark.parametrize(
    ("status", "error", "outcome", "reason"),
    [
        ("connection-refused", None, "refused", None),
        ("connection-timeout", "dial tcp 192.0.2.1:25: i/o timeout", "timeout", None),
        ("connection-timeout", "dial tcp 192.0.2.1:25: connect: connection refused", "refused", None),
        ("connection-timeout", "dial tcp 192.0.2.1:25: connect: no route to host", "unreachable", None),
        ("connection-timeout", "dial tcp: connect: network is unreachable", "unreachable", None),
        ("unknown-error", "dial tcp: socket: too many open files", "local_error", "unknown-error"),
        ("connection-timeout", "connect: cannot assign requested address", "local_error", "connection-timeout"),
        ("connection-closed", None, "closed", None),
        ("io-timeout", "EOF", "closed", None),
        ("io-timeout", "read tcp: read: connection reset by peer", "reset", None),
        ("io-timeout", "read tcp: i/o timeout", "silent", None),
        ("protocol-error", None, "not_smtp", None),
        ("unknown-error", "odd", "local_error", "unknown-error"),
        ("sheep", None, "local_error", "sheep"),
        ("success", None, "local_error", "success"),
    ],
)
@pytest.mark.parametrize("result", [None, {}])
def test_without_a_greeting_status_and_error_say_what_became_of_it(
    status: str, error: str | None, outcome: str, reason: str | None, result: Any
) -> None:
    seen = scan(status, result, error)
    assert (seen.outcome, seen.reason, seen.greeting, seen.starttls) == (outcome, reason, None, None)


@pytest.mark.parametrize(
    ("status", "banner", "outcome"),
    [
        ("success", "SSH-2.0-x\r\n", "not_smtp"),
        ("io-timeout", "220-wait\r\n", "too_slow"),
        ("connection-closed", "220-wait\r\n", "closed"),
    ],
)
def test_a_greeting_that_is_none_is_kept(status: str, banner: str, outcome: str) -> None:
    seen = scan(status, {"banner": banner})
    assert seen.outcome == outcome
    assert seen.greeting is not None
    assert (seen.greeting.code, seen.greeting.raw) == (None, banner.encode())


@pytest.mark.parametrize(
    ("status", "error", "result", "interrupted", "starttls"),
    [
        ("success", None, {}, None, "not_asked"),
        ("application-error", "SMTP error code 554", {}, None, "not_asked"),
        ("io-timeout", "EOF", {}, ("ehlo", "closed"), None),
        ("io-timeout", "i/o timeout", {"ehlo": EHLO}, ("starttls", "too_slow"), "failed"),
        ("connection-closed", "connection reset by peer", {"helo": "250 x\r\n"}, ("starttls", "reset"), "failed"),
        ("protocol-error", None, {"ehlo": EHLO, "starttls": READY}, ("tls", "not_smtp"), "failed"),
        ("application-error", None, {"ehlo": EHLO, "starttls": "454 no\r\n"}, None, "refused"),
        ("handshake-error", "EOF", {"starttls": READY, "tls": {}}, None, "failed"),
        ("success", None, {"implicit_tls": True, "tls": {}}, None, None),
        ("io-timeout", None, {"implicit_tls": True, "tls": {}}, ("ehlo", "too_slow"), None),
    ],
)
def test_after_a_greeting_they_say_where_it_broke_off(
    status: str, error: str | None, result: dict[str, Any], interrupted: tuple[str, str] | None, starttls: str | None
) -> None:
    seen = scan(status, {"banner": "554 no\r\n", **result}, error)
    assert seen.outcome == "ok"
    assert (seen.interrupted and attrs.astuple(seen.interrupted), seen.starttls) == (interrupted, starttls)


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        ("remote error: tls: handshake failure", "alert:handshake_failure"),
        ("remote error: tls: protocol version not supported", "protocol_version"),
        ("tls: server selected unsupported protocol version 301", "protocol_version"),
        ("tls: first record does not look like a TLS handshake", "not_tls"),
        ("read tcp: connection reset by peer", "reset"),
        ("EOF", "closed"),
        ("i/o timeout", "timeout"),
        ("odd", "other:odd"),
        (None, "other:handshake-error"),
    ],
)
def test_a_handshake_that_fails_says_why(error: str | None, ours: str) -> None:
    tls = scan("handshake-error", {"banner": BANNER, "starttls": READY, "tls": {}}, error).tls
    assert tls is not None
    assert (tls.error, tls.version) == (ours, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ip": ""}, "no ip"),
        ({"ip": "x"}, "ip 'x' is no"),
        ({"data": {"x": {"status": "", "protocol": "smtp"}}}, "no t"),
    ],
)
def test_a_line_that_lacks_what_a_row_needs_is_told(changes: dict[str, Any], reason: str) -> None:
    whole = {"ip": "192.0.2.1", "data": {"x": {"status": "a", "protocol": "smtp", "timestamp": "2026-11-25"}}}
    with pytest.raises(BadItemError, match=reason):
        observations(msgspec.json.encode(whole | changes))


def test_a_result_of_another_shape_is_told() -> None:
    with pytest.raises(msgspec.ValidationError):
        scan(result={"banner": {"no": "text"}})


def test_other_modules_are_passed_over_whatever_they_hold() -> None:
    line = {"ip": "x", "data": {"http": {"status": "success", "protocol": "http", "result": {"banner": [1]}}}}
    assert observations(msgspec.json.encode(line)) == []


@pytest.fixture
def write(tmp_path: Path) -> Callable[[SmtpItem], dict[str, Any] | None]:
    """Store an item, and give what is written of its row."""
    shards = Shards([f"sqlite:///{tmp_path / 's.sqlite3'}"])
    shards.create()

    def store(item: SmtpItem) -> dict[str, Any] | None:
        Writer(shards).write(0, [item])
        ((shard, (row,)),) = Reader(shards).pages(item.survey)
        digests = (item.tls.chain or []) if item.tls else []
        written = line(row, Reader(shards).ders(shard, digests))
        shards.dispose()
        return None if written is None else msgspec.json.decode(written)

    return store


def test_a_line_has_zgrab2s_shape(write: Callable[[SmtpItem], dict[str, Any] | None]) -> None:
    item = full()
    item.interrupted = None
    assert item.tls is not None
    assert item.tls.certificate is not None
    assert item.tls.chain is not None
    assert write(item) == {
        "ip": "192.0.2.1",
        "domain": "mx.example.org",
        "data": {
            "smtp": {
                "status": "success",
                "protocol": "smtp",
                "port": 25,
                "timestamp": "2026-11-25T01:02:03.456Z",
                "result": {
                    "banner": "220 mx.example.org ESMTP Postfix\r\n",
                    "helo": "250 hello\r\n",
                    "ehlo": "250-mx.example.org\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n250 8BITMIME\r\n",
                    "starttls": "220 2.0.0 Ready to start TLS\r\n",
                    "quit": "221 2.0.0 Bye\r\n",
                    "tls": {
                        "handshake_log": {
                            "server_hello": {
                                "version": {"name": "TLSv1.2", "value": 0x0303},
                                "supported_versions": {"selected_version": {"name": "TLSv1.3", "value": 0x0304}},
                                "cipher_suite": {"name": "TLS_AES_256_GCM_SHA384", "value": 0x1302, "hex": "0x1302"},
                            },
                            "server_certificates": {
                                "certificate": {
                                    "parsed": {
                                        "subject_dn": "CN=mx.example.org",
                                        "issuer_dn": "CN=CA",
                                        "names": ["mx.example.org"],
                                        "validity": {"start": "2026-11-25T01:02:03Z", "end": "2026-11-25T01:02:03Z"},
                                        "fingerprint_sha256": item.tls.certificate.sha256,
                                    }
                                },
                                "chain": [{"parsed": {"fingerprint_sha256": item.tls.chain[1]}}],
                                "validation": {
                                    "browser_trusted": False,
                                    "browser_error": "expired",
                                    "matches_domain": True,
                                },
                            },
                        }
                    },
                },
            }
        },
    }


def test_what_was_read_is_written_and_read_again(
    der: bytes, write: Callable[[SmtpItem], dict[str, Any] | None]
) -> None:
    tls = log(der, browser_trusted=False, browser_error="X is after Y")
    first = SmtpItem.from_observation(
        scan(result={"banner": BANNER, "ehlo": EHLO, "starttls": READY, "tls": tls, "quit": "221 bye\r\n"}), "s"
    )
    written = write(first)
    assert written is not None
    certificates = written["data"]["smtp"]["result"]["tls"]["handshake_log"]["server_certificates"]
    assert base64.b64decode(certificates["certificate"]["raw"]) == der
    (seen,) = observations(msgspec.json.encode(written))
    again = SmtpItem.from_observation(seen, "s")
    for item in (first, again):
        assert item.tls is not None
        item.tls.chain = (item.tls.chain or [])[:1]  # the leaf was there twice, which nobody sends
    assert attrs.asdict(again) == attrs.asdict(first)


def test_bytes_are_written_as_go_does(write: Callable[[SmtpItem], dict[str, Any] | None]) -> None:
    seen = Observation(Target("192.0.2.1"), 1e9, 0.1, Outcome.OK, greeting=complete(b"220", b"220 caf\xe9\n"))
    written = write(SmtpItem.from_observation(seen, "s"))
    assert written is not None
    assert written["data"]["smtp"]["result"]["banner"] == "220 caf\N{REPLACEMENT CHARACTER}\n"


OUTCOMES = {
    "refused": "refused",
    "unreachable": "unreachable",
    "timeout": "timeout",
    "silent": "silent",
    "closed": "closed",
    "reset": "reset",
    "not_smtp": "not_smtp",
    "too_slow": "silent",  # zgrab2 has no word for it, and no greeting that would tell
    "oversize": "not_smtp",
    "local_error": "local_error",
}


@pytest.mark.parametrize("outcome", [str(each) for each in Outcome if each is not Outcome.OK])
def test_outcomes_survive_as_far_as_zgrab2_has_words_for_them(
    outcome: str, write: Callable[[SmtpItem], dict[str, Any] | None]
) -> None:
    item = SmtpItem("s", "192.0.2.1", 25, None, None, None, "2026-11-25T01:02:03.000Z", 0.0, outcome, "why")
    written = write(item)
    if outcome == Outcome.EXCLUDED:
        assert written is None
    else:
        (seen,) = observations(msgspec.json.encode(written))
        assert seen.outcome == OUTCOMES[outcome]


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({}, "success", None),
        ({"greeting": ReplyItem(554, "no")}, "application-error", "SMTP error code 554"),
        (
            {"starttls": "refused", "starttls_reply": ReplyItem(454, "no")},
            "application-error",
            "SMTP error code 454",
        ),
        ({"interrupted": Interruption("ehlo", Trouble.RESET)}, "connection-closed", "read: connection reset by peer"),
        ({"interrupted": Interruption("quit", Trouble.RESET)}, "success", None),
        ({"interrupted": Interruption("ehlo_tls", Trouble.CLOSED)}, "success", None),
        ({"tls": TlsItem(error="alert:internal_error")}, "handshake-error", "remote error: tls: internal error"),
        ({"tls": TlsItem(error="other:odd")}, "handshake-error", "odd"),
        ({"tls": TlsItem(error="closed")}, "handshake-error", "EOF"),
        ({"tls": TlsItem(error="certificate")}, "handshake-error", "certificate"),
    ],
)
def test_status_and_error_are_those_of_a_scan(
    changes: dict[str, Any], status: str, error: str | None, write: Callable[[SmtpItem], dict[str, Any] | None]
) -> None:
    item = full()
    item.interrupted = None
    for name, value in changes.items():
        setattr(item, name, value)
    written = write(item)
    assert written is not None
    assert (written["data"]["smtp"]["status"], written["data"]["smtp"].get("error")) == (status, error)


def test_standard_names_of_suites_are_those_that_openssl_tells() -> None:
    suites = ["openssl", "ciphers", "-stdname", "ALL:!PSK:!SRP:!aNULL"]
    listed = subprocess.run(suites, check=True, capture_output=True, text=True)
    names = dict(line.split()[2::-2] for line in listed.stdout.splitlines())
    assert len(names) > 40
    assert {name: _standard_name(name) for name in names} == names
    assert _standard_name("GOST2012-MAGMA") is None
