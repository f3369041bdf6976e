"""Items as feeds hold them, hostile ones too, for tests of what reads and writes feeds."""

from __future__ import annotations

import hashlib

import msgspec
from hypothesis import strategies as st

from smtpsurvey.items import EhloItem, Interruption, ReplyItem, SecondTlsItem, SmtpItem, Software, TlsItem
from smtpsurvey.outcomes import (
    Evidence,
    Flag,
    Outcome,
    Stage,
    Staple,
    StartTls,
    TlsError,
    TlsSecond,
    Trouble,
    TrustError,
)
from smtpsurvey.smtp.certificate import Certificate

HOSTILE = [
    "'; DROP TABLE observations_00; --",
    "=cmd|'/c calc'!A1",
    "+1",
    "@SUM(A1)",
    "Robert\\'); DROP TABLE surveys;--\\",
    "%s %(ip)s {0} :ip ? \\",
    "a\x00b\x1a\x7f\r\n\t",
    "\N{PILE OF POO} e\N{COMBINING ACUTE ACCENT} \U0010ffff \N{RIGHT-TO-LEFT OVERRIDE}abc",
    "\\x1b[31m \x1b[31mred \\ud800",
    '"quoted", comma\nand line',
    " blanks at the end  ",
    "",
    "x" * 70_000,
]


def hostile(at: int) -> str:
    """Give one of them, so that no strategy takes 70 kB to write down, of which Hypothesis warns."""
    return HOSTILE[at]


TEXT = st.text(st.characters(codec="utf-8"), max_size=30) | st.integers(0, len(HOSTILE) - 1).map(hostile)
MAYBE = st.none() | TEXT
TRUTH = st.none() | st.booleans()
CODE = st.none() | st.integers(0, 999)
DIGEST = st.binary(max_size=4).map(lambda data: hashlib.sha256(data).hexdigest())
REPLIES = st.none() | st.builds(ReplyItem, CODE, TEXT)
EHLOS = st.none() | st.builds(EhloItem, CODE, TEXT, st.none() | st.dictionaries(TEXT, TEXT, max_size=4))
DAY = "2026-11-25T01:02:03Z"


def words(
    *closed: type[Outcome | StartTls | Stage | Trouble | Flag | TlsError | TrustError | Evidence | Staple | TlsSecond],
) -> list[str]:
    return [str(word) for each in closed for word in each]


def certificates() -> st.SearchStrategy[Certificate]:
    """Certificates of which one hash always says the same."""
    days = st.none() | st.just(DAY)
    texts = st.tuples(MAYBE, MAYBE, st.none() | st.lists(TEXT, max_size=3), days, days, MAYBE)
    more = st.tuples(MAYBE, TRUTH)
    return st.tuples(texts, more).map(
        lambda read: Certificate(*read[0], hashlib.sha256(msgspec.json.encode(read)).hexdigest(), *read[1])
    )


def items(survey: str = "2026-11") -> st.SearchStrategy[SmtpItem]:
    """Any item that a feed may hold."""
    second = st.builds(
        SecondTlsItem,
        st.sampled_from(words(TlsSecond)),
        MAYBE,
        MAYBE,
        st.none() | st.lists(DIGEST, max_size=3),
        st.none() | st.sampled_from(words(TlsError)),
    )
    tls = st.builds(
        TlsItem,
        MAYBE,
        MAYBE,
        st.none() | st.lists(DIGEST, max_size=3),
        st.none() | certificates(),
        TRUTH,
        st.none() | st.sampled_from([*words(TrustError), "other:=x"]),
        TRUTH,
        EHLOS,
        st.none() | st.sampled_from([*words(TlsError), "alert:internal_error", "other:\x1b"]),
        MAYBE,
        MAYBE,
        TRUTH,
        TRUTH,
        st.none() | st.sampled_from(words(Staple)),
        st.none() | second,
    )
    return st.builds(
        SmtpItem,
        st.just(survey),
        st.sampled_from(["192.0.2.1", "192.0.2.200", "2001:db8::1", "::"]),
        st.integers(0, 65535),
        MAYBE,
        MAYBE,
        MAYBE,
        st.sampled_from(["2026-11-25T01:02:03.456Z", DAY]),
        st.floats(0, 1e6),
        st.sampled_from(words(Outcome)),
        MAYBE,
        REPLIES,
        EHLOS,
        REPLIES,
        st.none() | st.sampled_from(words(StartTls)),
        REPLIES,
        REPLIES,
        st.none() | tls,
        st.none() | st.builds(Interruption, st.sampled_from(words(Stage)), st.sampled_from(words(Trouble))),
        st.none() | st.lists(st.sampled_from(words(Flag)), max_size=2),
        st.none() | st.integers(0, 2**32 - 1),
        MAYBE,
        MAYBE,
        st.none() | st.builds(Software, MAYBE, TEXT, MAYBE, MAYBE, st.none() | st.sampled_from(words(Evidence))),
        MAYBE,
    )


def encoded(item: SmtpItem, **changes: object) -> bytes:
    """Write an item's line, some of its fields changed to what they should not be."""
    return msgspec.json.encode({**msgspec.to_builtins(item), **changes}) + b"\n"


def full() -> SmtpItem:
    """An item that has something everywhere."""
    extensions = {"SIZE": "10240000", "STARTTLS": "", "8BITMIME": ""}
    ehlo = EhloItem(250, "mx.example.org\nSIZE 10240000\nSTARTTLS\n8BITMIME", extensions)
    digest = hashlib.sha256(b"leaf").hexdigest()
    leaf = Certificate(
        "CN=mx.example.org",
        "CN=CA",
        ["mx.example.org"],
        DAY,
        DAY,
        "ecdsa-p256",
        digest,
        "rsa-sha256",
        self_signed=False,
    )
    issuer = hashlib.sha256(b"issuer").hexdigest()
    return SmtpItem(
        survey="2026-11",
        ip="192.0.2.1",
        port=25,
        name="mx.example.org",
        tag="t",
        source="list",
        time="2026-11-25T01:02:03.456Z",
        duration=0.125,
        outcome="ok",
        reason=None,
        greeting=ReplyItem(220, "mx.example.org ESMTP Postfix"),
        ehlo=ehlo,
        helo=ReplyItem(250, "hello"),
        starttls="ok",
        starttls_reply=ReplyItem(220, "2.0.0 Ready to start TLS"),
        quit=ReplyItem(221, "2.0.0 Bye"),
        tls=TlsItem(
            version="TLSv1.3",
            cipher="TLS_AES_256_GCM_SHA384",
            chain=[digest, issuer],
            certificate=leaf,
            trusted=False,
            trust_error="expired",
            matches_name=True,
            ehlo=ehlo,
            stray_plaintext="PLAIN",
            group="x25519",
            sni=True,
            matches_domain=False,
            staple="good",
            second=SecondTlsItem("no_name", "TLSv1.3", "TLS_AES_256_GCM_SHA384", [issuer], None),
            dane="secure-match",
        ),
        interrupted=Interruption("quit", "too_slow"),
        flags=["early_reply"],
        asn=64500,
        prefix="192.0.2.0/24",
        country="AU",
        software=Software("Postfix", "Postfix", "3.8", "postfix", "greeting"),
        domain="example.org",
    )
