"""The classifier: which rule wins, on which evidence, with which captures, at which cost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.classify import Classifier, RulesError, Transcript, classifier
from smtpsurvey.classify.rules import parse_rules
from smtpsurvey.items import EhloItem, ReplyItem, SmtpItem, TlsItem
from smtpsurvey.smtp.certificate import Certificate

if TYPE_CHECKING:
    from pathlib import Path


def rule(name: str, examples: str, **fields: object) -> str:
    texts = {key: f"'{value}'" if isinstance(value, str) else value for key, value in fields.items()}
    lines = "".join(f"{key} = {text}\n" for key, text in texts.items())
    return f'[[rules]]\nid = "{name}"\nproduct = "{name.title()}"\nsource = "test"\n{lines}examples = [{examples}]\n'


def classifier_of(*rules: str) -> Classifier:
    return Classifier(parse_rules("test.toml", "".join(rules).encode()))


def item(greeting: str | None = None, **fields: object) -> SmtpItem:
    reply = None if greeting is None else ReplyItem(220, greeting)
    return SmtpItem(
        "t", "192.0.2.1", 25, None, None, None, "2026-11-25T01:02:03.456Z", 0.1, "ok", greeting=reply, **fields
    )


ACME = rule(
    "acme", "{ greeting = 'a ESMTP Acme 1.2', version = '1.2' }", greeting=r"ESMTP Acme(?: (?P<version>[\d.]+))?"
)
BETA = rule("beta", "{ quit = 'Beta says bye' }", quit="^Beta says bye$", version="7")
BOTH = rule("both", "{ ehlo = 'hi', extensions = 'SIZE HELP' }", ehlo="^hi$", extensions="^SIZE HELP$", priority=200)


def test_the_greeting_names_product_and_version() -> None:
    verdict = classifier_of(ACME, BETA).classify_item(item("mx.example.com ESMTP Acme 2.0.1"))
    assert verdict is not None
    assert (verdict.vendor, verdict.product, verdict.version) == (None, "Acme", "2.0.1")
    assert (verdict.rule, verdict.evidence) == ("acme", "greeting")


def test_a_capture_that_took_no_part_leaves_no_version() -> None:
    verdict = classifier_of(ACME).classify(Transcript("mx.example.com ESMTP Acme"))
    assert verdict is not None
    assert verdict.version is None


def test_where_the_greeting_names_nothing_behaviour_does() -> None:
    verdict = classifier_of(ACME, BETA).classify_item(
        item("mx.example.com ESMTP", quit=ReplyItem(221, "Beta says bye"))
    )
    assert verdict is not None
    assert (verdict.product, verdict.version, verdict.evidence) == ("Beta", "7", "quit")


def test_a_rule_on_several_fields_needs_all_of_them_and_says_combined() -> None:
    names = classifier_of(BOTH)
    verdict = names.classify(Transcript(ehlo="hi", extensions="SIZE HELP"))
    assert verdict is not None
    assert verdict.evidence == "combined"
    assert names.classify(Transcript(ehlo="hi")) is None
    assert names.classify(Transcript(extensions="SIZE HELP")) is None


def test_the_greeting_wins_over_behaviour_whatever_the_priorities() -> None:
    texts = Transcript("a ESMTP Acme 1.2", ehlo="hi", extensions="SIZE HELP")
    verdict = classifier_of(ACME, BOTH).classify(texts)
    assert verdict is not None
    assert verdict.product == "Acme"


def test_a_rule_that_reads_the_greeting_and_more_can_refine_one_that_reads_it_alone() -> None:
    fine = rule(
        "fine", "{ greeting = 'a ESMTP Acme 1.2', quit = 'x' }", greeting="ESMTP Acme", quit="^x$", priority=150
    )
    names = classifier_of(ACME, fine)
    assert names.classify(Transcript("a ESMTP Acme 1.2", quit="x")).product == "Fine"
    assert names.classify(Transcript("a ESMTP Acme 1.2", quit="y")).product == "Acme"
    assert names.classify_item(item("a ESMTP Acme 1.2", quit=ReplyItem(221, "y"))).version == "1.2"


def test_the_higher_priority_wins_and_of_equals_the_one_read_first() -> None:
    general = rule("general", "{ greeting = 'one two' }", greeting="one")
    special = rule("special", "{ greeting = 'one three' }", greeting="one three", priority=101)
    later = rule("later", "{ greeting = 'four' }", greeting="one|four")
    names = classifier_of(general, special, later)
    assert names.classify(Transcript("one three")).product == "Special"
    assert names.classify(Transcript("one five")).product == "General"


def test_a_rule_shadowed_on_its_own_example_is_refused() -> None:
    later = rule("later", "{ greeting = 'one two' }", greeting="one two")
    with pytest.raises(RulesError) as caught:
        classifier_of(rule("general", "{ greeting = 'one' }", greeting="one"), later)
    assert str(caught.value) == "test.toml: rule later: example 1 is won by rule general (priority 100)"


def test_an_example_that_does_not_match_is_refused() -> None:
    with pytest.raises(RulesError, match=r"^test.toml: rule acme: example 2 is not matched$"):
        classifier_of(rule("acme", "{ greeting = 'one' }, { greeting = 'two' }", greeting="one"))


def test_an_example_whose_captures_differ_is_refused() -> None:
    with pytest.raises(RulesError, match=r"rule acme: example 1 captures \{'version': '1'\}, not \{\}"):
        classifier_of(rule("acme", "{ greeting = 'v1' }", greeting=r"v(?P<version>\d)"))


def test_an_id_used_twice_is_refused() -> None:
    with pytest.raises(RulesError, match=r"^test.toml: rule acme: the id is taken in test.toml$"):
        classifier_of(ACME, ACME)


def test_rules_too_large_for_one_set_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "SET_MEMORY", 1000)
    with pytest.raises(
        RulesError, match=r"^the greeting patterns of all rules together are too large for one RE2 set$"
    ):
        classifier_of(ACME)


def test_own_rules_join_the_builtin_ones(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(ACME)
    names = Classifier.load(["builtin", str(path)])
    assert names.classify(Transcript("mx.example.com ESMTP Acme 3")).product == "Acme"
    assert names.classify(Transcript("mx.example.com ESMTP Postfix")).product == "Postfix"


def test_the_version_of_the_rules_changes_with_the_rules_only() -> None:
    assert classifier_of(ACME, BETA).version == classifier_of(ACME, BETA).version
    assert classifier_of(ACME, BETA).version != classifier_of(ACME).version


def test_every_text_of_an_item_is_read() -> None:
    certificate = Certificate("CN=mx", "O=Acme", None, None, None, None, "00")
    whole = item(
        "greet\nmore",
        ehlo=EhloItem(250, "mx Hello\nSIZE", {"SIZE": "1", "HELP": ""}),
        starttls_reply=ReplyItem(220, "go"),
        quit=ReplyItem(221, "bye"),
        tls=TlsItem(ehlo=EhloItem(250, "mx", {"AUTH": "PLAIN"}), certificate=certificate),
    )
    expected = Transcript("greet\nmore", "mx Hello", "SIZE HELP", "go", "bye", "AUTH", "CN=mx\nO=Acme")
    assert classifier.transcript_of(whole) == expected


def test_an_item_that_has_nothing_gives_empty_texts_and_no_name() -> None:
    assert classifier.transcript_of(item()) == Transcript()
    assert classifier.transcript_of(item(ehlo=EhloItem(502, "no"), tls=TlsItem())) == Transcript(ehlo="no")
    assert classifier_of(ACME).classify_item(item()) is None


def test_where_ehlo_is_refused_the_reply_to_helo_is_read() -> None:
    names = classifier_of(rule("helo", "{ ehlo = 'hi from Helo' }", ehlo="^hi from Helo$"))
    for text in ("no", ""):
        for greeting in ("Helo first", "Helo second"):
            refused = item(greeting, ehlo=EhloItem(502, text), helo=ReplyItem(250, "hi from Helo"))
            assert names.classify_item(item(greeting, ehlo=EhloItem(502, text))) is None
            assert names.classify_item(refused).product == "Helo"


def test_tls_extensions_and_certificate_are_evidence() -> None:
    inside = rule("inside", "{ tls_extensions = 'SIZE X' }", tls_extensions="^SIZE X$")
    cert = rule("cert", "{ certificate = 'O=Acme' }", certificate="O=Acme")
    names = classifier_of(inside, cert)
    assert names.classify(Transcript(tls_extensions="SIZE X")).evidence == "extensions"
    assert names.classify(Transcript(certificate="CN=mx\nO=Acme")).evidence == "certificate"


def test_equal_texts_give_the_verdict_from_the_cache() -> None:
    names = classifier_of(ACME, BETA)
    assert names.classify_item(item("a ESMTP Acme 1.2")) is names.classify_item(item("a ESMTP Acme 1.2"))
    hidden = item("hidden", quit=ReplyItem(221, "Beta says bye"))
    assert names.classify_item(hidden) is names.classify_item(hidden)
    assert names.classify_item(item("nothing")) is None
    assert names.classify_item(item("nothing")) is None


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "MAX_CACHED", 3)
    names = classifier_of(ACME)
    for number in range(10):
        assert names.classify_item(item(f"a ESMTP Acme {number}")).version == str(number)
        assert names.classify_item(item(f"hidden {number}")) is None
        assert max(len(names._settled), len(names._by_transcript)) <= 3


def ehlo(extensions: str, text: str = "mx.example.com") -> EhloItem:
    return EhloItem(250, "\n".join([text, *extensions.split()]), dict.fromkeys(extensions.split(), ""))


@pytest.mark.parametrize(
    ("rules", "certainty"),
    [
        ([ACME], "certain"),
        ([rule("acme", "{ quit = 'bye of Acme' }", quit="^bye of Acme$")], "likely"),
        ([rule("acme", "{ quit = 'bye of Acme' }", quit="^bye of Acme$", certainty="certain")], "certain"),
        ([rule("acme", "{ greeting = 'a', quit = 'bye of Acme' }", greeting="a", quit="Acme")], "likely"),
        ([rule("acme", "{ greeting = 'a' }", greeting="a", certainty="likely")], "likely"),
    ],
)
def test_what_names_itself_is_certain_and_what_only_behaves_so_is_likely(rules: list[str], certainty: str) -> None:
    verdict = classifier_of(*rules).classify(Transcript("a ESMTP Acme 1.2", quit="bye of Acme"))
    assert verdict is not None
    assert (verdict.certainty, verdict.claims) == (certainty, None)


def test_when_greeting_and_behaviour_contradict_the_greeting_wins_disputed_and_both_claims_are_kept() -> None:
    names = classifier_of(ACME, BETA)
    both = Transcript("a ESMTP Acme 1.2", quit="Beta says bye")
    verdict = names.classify(both)
    assert verdict is not None
    assert (verdict.product, verdict.version, verdict.rule, verdict.evidence) == ("Acme", "1.2", "acme", "greeting")
    assert verdict.certainty == "disputed"
    assert verdict.claims == {"greeting": "Acme", "behaviour": "Beta"}
    assert [match.rule.id for match in names.ranking(both)] == ["acme", "beta"]
    assert names.ranking(Transcript()) == []


def test_a_product_and_what_it_is_made_of_do_not_contradict() -> None:
    sweet = rule("sweet", "{ greeting = 'sweet' }", greeting="^sweet$")
    zimbra = sweet.replace('product = "Sweet"', 'product = "Zimbra"')
    postfix = rule("pf", "{ quit = 'pf' }", quit="^pf$").replace('product = "Pf"', 'product = "Postfix"')
    verdict = classifier_of(zimbra, postfix).classify(Transcript("sweet", quit="pf"))
    assert verdict is not None
    assert (verdict.vendor, verdict.product) == ("Zimbra", "Zimbra Collaboration")
    assert (verdict.certainty, verdict.claims) == ("certain", None)


def test_the_order_of_extensions_of_the_product_named_settles_it() -> None:
    order = rule("acme-order", "{ extensions = 'SIZE ACME' }", extensions="^SIZE ACME$")
    order = order.replace('product = "Acme-Order"', 'product = "Acme"')
    names = classifier_of(ACME, BETA, order)
    assert names.classify(Transcript("a ESMTP Acme 1.2", extensions="SIZE ACME", quit="Beta says bye")).claims is None
    assert names.classify(Transcript("a ESMTP Acme 1.2", extensions="ACME SIZE", quit="Beta says bye")).claims


def test_verdicts_of_items_do_not_depend_on_what_was_asked_before() -> None:
    order = rule("acme-order", "{ extensions = 'SIZE ACME' }", extensions="^SIZE ACME$")
    names = classifier_of(ACME, BETA, order.replace('product = "Acme-Order"', 'product = "Acme"'))
    greeting, bye = "a ESMTP Acme 1.2", ReplyItem(221, "Beta says bye")
    long = "x" * classifier.MAX_TEXT
    items = [
        item(greeting),
        item(greeting, quit=bye),
        item(greeting, ehlo=ehlo("SIZE")),
        item(greeting, ehlo=ehlo("SIZE"), quit=bye),
        item(greeting, ehlo=ehlo("SIZE ACME"), quit=bye),
        item(greeting, ehlo=ehlo("SIZE ACME", long), quit=bye),
        item("hidden", quit=bye),
        item("hidden", ehlo=ehlo("SIZE"), quit=bye),
        item("hidden", ehlo=ehlo("SIZE")),
        item(greeting + long),
    ]
    expected = [names.classify(classifier.transcript_of(each)) for each in items]
    for _ in range(3):
        found = [names.classify_item(each) for each in items]
        assert [verdict and attrs.asdict(verdict) for verdict in found] == [
            verdict and attrs.asdict(verdict) for verdict in expected
        ]
    claims = {"greeting": "Acme", "behaviour": "Beta"}
    assert [verdict and verdict.claims for verdict in expected] == [None, claims, None, claims, *[None] * 6]


def test_constants_of_a_rule_and_names_of_builds_are_part_of_the_verdict() -> None:
    fixed = rule("acme", "{ greeting = 'acme' }", greeting="^acme$", os="SunOS", edition="Plus", version="1")
    verdict = classifier_of(fixed).classify(Transcript("acme"))
    assert (verdict.version, verdict.edition, verdict.os, verdict.cpe) == ("1", "Plus", "Solaris", None)
    exchange = "mx.example.com ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2653.13) ready"
    verdict = BUILTIN.classify(Transcript(exchange))
    assert (verdict.version, verdict.edition) == ("5.5.2653.13", "5.5 SP4")
    assert verdict.cpe == "cpe:2.3:a:microsoft:exchange_server:5.5:sp4:*:*:*:*:*:*"
    iis = (
        "mx.example.com Microsoft ESMTP MAIL Service, Version: 8.5.9600.16384 ready at  Wed, 25 Nov 2026 02:37:00 +0000"
    )
    assert BUILTIN.classify(Transcript(iis)).os == "Windows Server 2012 R2"


def test_only_the_first_characters_of_a_text_count() -> None:
    names = classifier_of(ACME)
    assert names.classify(Transcript("x" * (classifier.MAX_TEXT - 20) + "ESMTP Acme 1.2")) is not None
    assert names.classify(Transcript("x" * classifier.MAX_TEXT + "ESMTP Acme 1.2")) is None


@given(st.text(), st.text(), st.text())
def test_any_text_gives_a_verdict_or_none(greeting: str, ehlo: str, quitting: str) -> None:
    transcript = Transcript(greeting, ehlo=ehlo, quit=quitting)
    verdict = BUILTIN.classify(transcript)
    assert bool(verdict) == bool(BUILTIN.ranking(transcript))


def test_lone_surrogates_are_no_error() -> None:
    assert BUILTIN.classify(Transcript("mx.example.com ESMTP Postfix \udcff")).product == "Postfix"


@pytest.mark.parametrize(
    "text",
    ["x ESMTP " * 8192, " " * 65536, "(" * 65536, "a ESMTP Exim 4." + "9" * 65536, "a\nb ESMTP Sendmail " * 4000],
)
def test_a_text_built_to_be_slow_is_not(text: str) -> None:
    whole = Transcript(*[text] * len(Transcript._fields))
    start = time.thread_time()
    BUILTIN.match(whole)
    assert time.thread_time() - start < 0.005


BUILTIN = Classifier.load(["builtin"])
