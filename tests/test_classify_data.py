"""The fingerprints that come with the project: how many, how sound, and what must not fool them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from smtpsurvey.classify import Classifier, Transcript
from smtpsurvey.classify.classifier import transcript_of
from smtpsurvey.classify.rules import read_rules
from smtpsurvey.classify.session import item_of_text

ROOT = Path(__file__).parent.parent
TRANSCRIPTS = ROOT / "tests/transcripts"
SOURCES = ("source", "manual", "session", "transcript")
BUILTIN = Classifier.load(["builtin"])
POSTFIX = Transcript(
    ehlo="mx.example.com",
    extensions="PIPELINING SIZE VRFY ETRN STARTTLS ENHANCEDSTATUSCODES 8BITMIME DSN SMTPUTF8 CHUNKING",
    starttls_reply="2.0.0 Ready to start TLS",
    quit="2.0.0 Bye",
)
EXIM = Transcript(
    ehlo="mx.example.com Hello survey.example.org [192.0.2.1]",
    extensions="SIZE LIMITS 8BITMIME PIPELINING PIPECONNECT CHUNKING STARTTLS PRDR HELP",
    starttls_reply="TLS go ahead",
    quit="mx.example.com closing connection",
)
SENDMAIL = Transcript(
    ehlo="mx.example.com Hello survey.example.org [192.0.2.1], pleased to meet you",
    extensions="ENHANCEDSTATUSCODES PIPELINING EXPN VERB 8BITMIME SIZE DSN ETRN STARTTLS DELIVERBY HELP",
    starttls_reply="2.0.0 Ready to start TLS",
    quit="2.0.0 mx.example.com closing connection",
)
OPENSMTPD = Transcript(
    ehlo="mx.example.com Hello survey.example.org [192.0.2.1], pleased to meet you",
    extensions="8BITMIME ENHANCEDSTATUSCODES SIZE DSN STARTTLS HELP",
    starttls_reply="2.0.0 Ready to start TLS",
    quit="2.0.0 Bye",
)
AIOSMTPD = Transcript(
    ehlo="mx.example.com",
    extensions="SIZE 8BITMIME STARTTLS HELP",
    starttls_reply="Ready to start TLS",
    quit="Bye",
)
NODEMAILER = Transcript(
    ehlo="mx.example.com Nice to meet you, [192.0.2.1]",
    extensions="PIPELINING 8BITMIME SMTPUTF8 AUTH STARTTLS",
    starttls_reply="Ready to start TLS",
    quit="Bye",
)
QMAIL = Transcript("mx.example.com ESMTP", "mx.example.com", "PIPELINING 8BITMIME", quit="mx.example.com")


def product(transcript: Transcript) -> str | None:
    verdict = BUILTIN.classify(transcript)
    return verdict and verdict.product


def test_at_least_150_products_are_known() -> None:
    assert len({(rule.vendor, rule.product) for rule in BUILTIN.rules}) >= 150


def test_every_product_has_a_vendor_and_one_vendor_only() -> None:
    vendors: dict[str, set[str | None]] = {}
    for rule in BUILTIN.rules:
        vendors.setdefault(rule.product, set()).add(rule.vendor)
    # Netscape and Critical Path each called theirs so.
    assert {name for name, owners in vendors.items() if len(owners) > 1} == {"Messaging Server"}
    assert None not in set().union(*vendors.values())


@pytest.mark.parametrize("origin", read_rules("builtin"), ids=lambda origin: origin.rule.id)
def test_every_source_begins_with_its_kind(origin: object) -> None:
    kind, found, where = origin.rule.source.partition(": ")
    assert kind in SOURCES
    assert found
    assert len(where) > 8


@pytest.mark.parametrize(
    "rule", [rule for rule in BUILTIN.rules if rule.source.startswith("transcript: ")], ids=lambda rule: rule.id
)
def test_a_rule_that_rests_on_a_transcript_of_ours_matches_it(rule: object) -> None:
    name = re.search(r"tests/transcripts/(\w+\.txt)", rule.source).group(1)
    session = (TRANSCRIPTS / name).read_text("utf-8")
    assert "recorded" in session.splitlines()[0]
    transcript = transcript_of(item_of_text(session))
    assert rule.id in {match.rule.id for match in BUILTIN.ranking(transcript)}


def test_the_docs_count_rules_by_what_they_rest_on() -> None:
    counted = Counter(rule.source.partition(": ")[0] for rule in BUILTIN.rules)
    page = (ROOT / "docs/usage/fingerprints.md").read_text("utf-8")
    table = dict(re.findall(r"(?m)^\| `(\w+):` \|.*\| (\d+) \|$", page))
    assert {kind: int(number) for kind, number in table.items()} == counted


@pytest.mark.parametrize("origin", read_rules("builtin"), ids=lambda origin: origin.rule.id)
def test_no_example_is_won_by_another_rule(origin: object) -> None:
    for example in origin.rule.examples:
        match = BUILTIN.match(example.transcript())
        assert (match.rule.id, match.captures) == (origin.rule.id, example.captures())


@pytest.mark.parametrize(
    ("hidden", "name"),
    [
        (POSTFIX, "Postfix"),
        (POSTFIX._replace(extensions="SIZE ETRN STARTTLS ENHANCEDSTATUSCODES 8BITMIME DSN"), "Postfix"),
        (POSTFIX._replace(quit=""), "Postfix"),
        (EXIM, "Exim"),
        (EXIM._replace(extensions="SIZE PIPELINING STARTTLS HELP"), "Exim"),
        (EXIM._replace(quit="", extensions=""), "Exim"),
        (SENDMAIL, "Sendmail"),
        (OPENSMTPD, "OpenSMTPD"),
        (AIOSMTPD, "aiosmtpd"),
        (AIOSMTPD._replace(extensions="8BITMIME STARTTLS HELP"), "aiosmtpd"),
        (NODEMAILER, "smtp-server"),
    ],
)
@pytest.mark.parametrize("greeting", ["", "mx.example.com", "mx.example.com ESMTP", "mx.example.com ready"])
def test_a_server_that_hides_its_name_is_named_by_its_behaviour(greeting: str, hidden: Transcript, name: str) -> None:
    verdict = BUILTIN.classify(hidden._replace(greeting=greeting))
    assert verdict is not None
    assert (verdict.product, verdict.version) == (name, None)
    assert verdict.evidence != "greeting"


def test_qmail_is_named_by_greeting_and_replies_together() -> None:
    assert product(QMAIL) == "qmail"
    assert BUILTIN.classify(QMAIL).evidence == "combined"


@pytest.mark.parametrize(
    ("greeting", "name"),
    [
        ("postfix.example.com ESMTP Exim 4.96 Wed, 25 Nov 2026 02:37:00 +0000", "Exim"),
        ("exim.example.com ESMTP Postfix", "Postfix"),
        (
            "sendmail.example.com Microsoft ESMTP MAIL Service ready at Wed, 25 Nov 2026 02:37:00 +0000",
            "Exchange Server",
        ),
        ("mail.protection.outlook.com.example.net ESMTP Postfix", "Postfix"),
        ("mx.google.com.example.net ESMTP Postfix", "Postfix"),
        ("postfix.exim.sendmail.example.com ESMTP", None),
        ("exim-4.96.example.com ESMTP ready", None),
        ("mx.example.com ESMTP Exim4.96", None),
        ("Exim 4.96", None),
        ("ESMTP", None),
        ("ESMTP Postfix", None),
        ("220 mx.example.com ESMTP Postfix", None),
        ('mx.example.com ESMTP "Postfix"', None),
        ("mx.example.com ESMTP ready (this is not ESMTP Postfix)", None),
        ("mx.example.com ESMTP Acme; compatible with Sendmail 8.14.4", None),
        ("mx.example.com ESMTP Acme\nFormerly: mx.example.com ESMTP Exim 4.96", None),
        ("mx.example.com ESMTP Acme gateway for Microsoft ESMTP MAIL Service ready at noon", None),
        ("mx.example.com welcomes you to Microsoft Exchange", None),
        ("mx.example.com Microsoft ESMTP MAIL Servicemen ready", None),
        ("mx.example.com ESMTP HarakaX/3.0.3 ready", None),
        ("mx.example.com ESMTP OpenSMTPD-like", None),
        ("mx.example.com ESMTP MDaemonic 6.8.5; Mon", None),
        ("mx.example.com ESMTP IceWarped 10.4.4;", None),
        ("mx.example.com ESMTP Sendmailer", None),
        ("mx.example.com ESMTP Postfixation", None),
        ("aiosmtpd.example.com Python SMTP", None),
        ("mx.example.com Pythonic SMTP 1.4.6", None),
        ("pphosted.com.example.net ESMTP mfa-m0214089", None),
        ("mimecast.com.example.net ESMTP; Sat, 27 Jul 2024 09:26:38 +0100 [x]", None),
        ("mx.example.com ESMTP (not-a-barracuda)", None),
        ("mx.example.com ESMTP Zimbra users welcome", None),
        ("mx.example.com ESMTP qmail is not spoken here", None),
        ("mx.example.com * ESMTP *", None),
        ("mx.example.com SAP users: ESMTP service ready", None),
        ("mx.example.com ESMTP Lyris", None),
        ("mx.example.com V5.7 OpenVMS lovers ready at home", None),
        ("mx.example.com ESMTP", None),
        ("mx.example.com ESMTP ready", None),
        ("postfix.example.com ESMTP", None),
        ("exim.example.com ESMTP Service ready", None),
        ("Postfix", None),
        ("mx.example.com ESMTP PostfixLike", None),
        ("mx.example.com ESMTP EximGate 4.1", None),
        ("mx.example.com ESMTP not Sendmail 8.14.4/8.14.4", None),
        ("mx.example.com ESMTP Acme (we moved from Postfix (Ubuntu) to Acme)", None),
        ("mx.example.com ESMTP Acme, better than Exim 4.96", None),
        ("this is no ESMTP Postfix", None),
        ("mx.example.com ESMTP mfa-m0214089", None),
        ("mx.google.com.example.net ESMTP a1si2 - gsmtp", None),
        ("mx.example.com ESMTP a1si2 - gsmtp", None),
        ("x.secureserver.net ESMTP", None),
        ("a.mail.ru.example.com ESMTP ready", None),
        ("No SMTP service here", None),
        ("4.3.2 Please try again later", None),
    ],
)
def test_a_greeting_that_only_looks_alike_fools_nobody(greeting: str, name: str | None) -> None:
    assert product(Transcript(greeting)) == name


@pytest.mark.parametrize(
    "transcript",
    [
        POSTFIX._replace(quit="Bye", extensions="PIPELINING SIZE VRFY ETRN STARTTLS AUTH 8BITMIME"),
        POSTFIX._replace(extensions="", ehlo=""),
        EXIM._replace(ehlo="mx.example.com", starttls_reply="", extensions="SIZE 8BITMIME PIPELINING STARTTLS HELP"),
        EXIM._replace(extensions="", ehlo="", starttls_reply=""),
        SENDMAIL._replace(extensions="SIZE"),
        SENDMAIL._replace(extensions=""),
        AIOSMTPD._replace(extensions="SIZE HELP", starttls_reply=""),
        AIOSMTPD._replace(extensions="", ehlo=""),
        QMAIL._replace(quit="goodbye"),
        QMAIL._replace(extensions=""),
        Transcript("mx.example.com ESMTP", "mx.example.com", quit="Bye"),
        Transcript(quit="2.0.0 closing connection"),
        Transcript(quit="2.0.0 Bye"),
        Transcript(starttls_reply="2.0.0 Ready to start TLS"),
    ],
)
def test_replies_that_many_share_name_nobody(transcript: Transcript) -> None:
    assert product(transcript) is None


CLAIMS = {
    "Exchange Server": "mx.example.com Microsoft ESMTP MAIL Service ready at Wed, 25 Nov 2026 02:37:00 +0000",
    "Postfix": "mx.example.com ESMTP Postfix",
    "Exim": "mx.example.com ESMTP Exim 4.96 Wed, 25 Nov 2026 02:37:00 +0000",
    "Sendmail": "mx.example.com ESMTP Sendmail 8.14.4/8.14.4; Wed, 25 Nov 2026 02:37:00 +0000",
    "Domino": "mx.example.com ESMTP Service (HCL Domino Release 12.0.2) ready at Wed, 25 Nov 2026 02:37:00 +0000",
}
BEHAVIOURS = {
    "Postfix": POSTFIX,
    "Exim": EXIM,
    "Sendmail": SENDMAIL,
    "OpenSMTPD": OPENSMTPD,
    "aiosmtpd": AIOSMTPD,
    "smtp-server": NODEMAILER,
}


@pytest.mark.parametrize("said", CLAIMS)
@pytest.mark.parametrize("shown", BEHAVIOURS)
def test_when_greeting_and_behaviour_contradict_the_greeting_wins_and_both_are_kept(said: str, shown: str) -> None:
    verdict = BUILTIN.classify(BEHAVIOURS[shown]._replace(greeting=CLAIMS[said]))
    assert verdict is not None
    assert verdict.product == said
    if said == shown:
        assert (verdict.certainty, verdict.claims) == ("certain", None)
    else:
        assert (verdict.certainty, verdict.claims) == ("disputed", {"greeting": said, "behaviour": shown})


@pytest.mark.parametrize(
    ("greeting", "behaviour", "name"),
    [
        ("mail.example.com ESMTP Postcow", POSTFIX, "mailcow"),
        ("mx.example.com ESMTP Proxmox", POSTFIX, "Proxmox Mail Gateway"),
        ("alph731.prodigy.net ESMTP Sendmail Inbound 8.15.2/8.15.2; Sun, 9 Mar 2025", SENDMAIL, "AT&T Mail"),
        ("localhost ESMTP Sendria (https://sendria.net)", AIOSMTPD, "Sendria"),
        ("mx.example.com ESMTP MailCleaner (Community Edition 2024) Wed, 25 Nov 2026 02:37:00", EXIM, "MailCleaner"),
        (
            "mx.example.com ESMTP Sendmail 8.13.8+Sun/8.13.8; Wed, 25 Nov 2009 02:37:00 GMT",
            SENDMAIL,
            "Sendmail for Solaris",
        ),
    ],
)
def test_what_is_made_of_a_product_behaves_like_it_without_dispute(
    greeting: str, behaviour: Transcript, name: str
) -> None:
    verdict = BUILTIN.classify(behaviour._replace(greeting=greeting))
    assert verdict is not None
    assert (verdict.product, verdict.certainty, verdict.claims) == (name, "certain", None)


@pytest.mark.parametrize("origin", read_rules("builtin"), ids=lambda origin: origin.rule.id)
def test_no_example_contradicts_itself(origin: object) -> None:
    for example in origin.rule.examples:
        assert BUILTIN.match(example.transcript()).claims is None


def test_what_is_offered_inside_tls_tells_where_the_plain_reply_says_little() -> None:
    inside = POSTFIX.extensions.replace("STARTTLS ", "")
    assert product(Transcript("mx.example.com ESMTP", "mx.example.com", "STARTTLS", tls_extensions=inside)) == "Postfix"
    inside = EXIM.extensions.replace("STARTTLS ", "AUTH ")
    assert product(Transcript("mx.example.com ESMTP", extensions="STARTTLS", tls_extensions=inside)) == "Exim"
    inside = SENDMAIL.extensions.replace("STARTTLS ", "AUTH ")
    assert product(Transcript(ehlo=SENDMAIL.ehlo, extensions="STARTTLS HELP", tls_extensions=inside)) == "Sendmail"
    assert product(Transcript("mx.example.com ESMTP", tls_extensions="SIZE PIPELINING HELP")) is None


@pytest.mark.parametrize(
    ("greeting", "system"),
    [
        ("mx.example.com ESMTP Postfix (Debian/GNU)", "Debian"),
        ("mx.example.com ESMTP Postfix (Ubuntu)", "Ubuntu"),
        ("mx.example.com ESMTP Sendmail 8.17.1.9/8.17.1.9/Debian-2+deb12u2; Wed, 25 Nov 2026 02:37:00 GMT", "Debian"),
        ("mx.example.com ESMTP Sendmail 8.14.4/8.14.4/Debian-2ubuntu2.1; Wed, 25 Nov 2015 02:37:00 GMT", "Ubuntu"),
        ("mx.example.com ESMTP Sendmail 8.13.8+Sun/8.13.8; Wed, 25 Nov 2009 02:37:00 GMT", "Solaris"),
        ("mx.example.com ESMTP Sendmail 8.14.4/8.14.4; Wed, 25 Nov 2026 02:37:00 +0000", None),
        (
            "mx.example.com Microsoft ESMTP MAIL Service, Version: 7.5.7601.17514 ready at  Wed, 25 Nov 2015",
            "Windows Server 2008 R2",
        ),
    ],
)
def test_the_operating_system_is_kept_under_its_one_name(greeting: str, system: str | None) -> None:
    assert BUILTIN.classify(Transcript(greeting)).os == system


def test_exchange_2003_is_told_from_the_smtp_service_it_runs_on() -> None:
    greeting = (
        "mx.example.com Microsoft ESMTP MAIL Service, Version: 6.0.3790.4675 ready at  Wed, 25 Nov 2009 02:37:00 +0000 "
    )
    plain = "TURN SIZE ETRN PIPELINING DSN ENHANCEDSTATUSCODES 8BITMIME BINARYMIME CHUNKING VRFY OK"
    exchange = plain.replace("OK", "X-EXPS X-EXPS=LOGIN AUTH AUTH=LOGIN X-LINK2STATE XEXCH50 OK")
    assert product(Transcript(greeting, extensions=plain)) == "IIS SMTP Service"
    verdict = BUILTIN.classify(Transcript(greeting, extensions=exchange))
    assert (verdict.product, verdict.evidence, verdict.certainty) == ("Exchange Server", "combined", "certain")
    # The version shown is that of Windows, not of Exchange.
    assert (verdict.version, verdict.edition, verdict.os) == (None, "2003", "Windows Server 2003")
