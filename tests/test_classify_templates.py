from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.classify import templates
from smtpsurvey.classify.templates import MAX_COMPANIONS, MAX_SHOWN, Templates, template
from smtpsurvey.items import EhloItem, ReplyItem, SmtpItem

LABELS = st.from_regex(re.compile("[a-z0-9](?:[a-z0-9-]{0,10}[a-z0-9])?", re.ASCII), fullmatch=True)
HOSTS = st.builds(
    lambda labels, tld: ".".join([*labels, tld]),
    st.lists(LABELS, min_size=1, max_size=4),
    st.sampled_from(["com", "org", "co", "museum", "xn--p1ai", "Example"]),
)
BARE = st.from_regex(re.compile("[a-z]{1,8}[a-z0-9-]{0,8}", re.ASCII), fullmatch=True).filter(
    lambda name: name not in {"smtp", "esmtp"}
)
FORMATS = (
    "%a, %d %b %Y %H:%M:%S +0000 (UTC)",
    "%a, %d %b %Y %H:%M:%S -0800",
    "%d %b %Y %H:%M:%S GMT",
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S CEST %Y",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y/%m/%d %H:%M",
    "%d.%m.%Y %H:%M:%S.123",
    "%m/%d/%y %I:%M %p",
    "%d-%b-%y",
    "%A, %B %d, %Y",
    "%H:%M:%S",
)
# Locale-free: strftime is given English names by hand, whatever the machine's locale is.
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = "January February March April May June July August September October November December".split()  # noqa: SIM905
TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - given UTC
IDS = st.one_of(
    st.uuids().map(str),
    st.from_regex(re.compile("[0-9A-F]{5}[A-F][0-9][0-9A-F]{0,4}", re.ASCII), fullmatch=True),  # a queue id of Postfix
    st.from_regex(
        re.compile("[a-z][0-9]{2}[a-z]{2}[0-9]{3}[a-z0-9]{0,8}(?:[.-][a-z]?[0-9]{2})?", re.ASCII), fullmatch=True
    ),
)
ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str).filter(lambda text: text != "::")
)  # which is also punctuation
NUMBERS = st.lists(st.integers(0, 999_999), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
# What servers say; hosts and others stand where they stand in greetings.
WIRE = st.text(
    st.one_of(st.sampled_from("aAfFtTzZ0129.:-_/@<>[]() \t\r\n\x00\x1b+,=é²٣"), st.characters()), max_size=80
)


def when(time: datetime, form: str) -> str:
    day, month = DAYS[time.weekday()], MONTHS[time.month - 1]
    for code, text in (("%A", day), ("%a", day[:3]), ("%B", month), ("%b", month[:3])):
        form = form.replace(code, text)
    return time.strftime(form.replace("%p", "AM" if time.hour < 12 else "PM"))


@pytest.mark.parametrize(
    ("greeting", "masked"),
    [
        ("mx.example.org ESMTP ready", "<host> ESMTP ready"),
        ("mailhost ESMTP", "<host> ESMTP"),
        ("ESMTP SMTP", "ESMTP SMTP"),
        ("smtp ESMTP", "smtp ESMTP"),
        ("Welcome to Acme Mail", "Welcome to Acme Mail"),
        ("[192.0.2.1] SMTP 256.0.2.1", "[<ip>] SMTP <n>"),
        ("[IPv6:2001:db8::25] ::1 ::ffff:192.0.2.1 a :: b", "[<ip>] <ip> <ip> a :: b"),
        ("Net::Server::Mail", "Net::Server::Mail"),
        ("postmaster+x@mail.example.com", "<mail>"),
        ("Acme 4.96b, smtp4dev", "Acme <n>b, smtp<n>dev"),
        ("8.13.1/8.12.10 and 8.13.12", "<n>/<n> and <n>"),
        ("id d2e1a72fcca58-72d8b4a0e9bsi1234567b3a.12 - x", "id <id> - x"),
        ("550e8400-e29b-41d4-a716-446655440000", "<id>"),
        ("deadbeef Acme-a1b2c3d4-Mail-20", "<id> Acme-<id>-Mail-<id>"),
        ("ready at  Wed, 5 Nov 2026 1:02:03 -0800", "ready at  <date>"),
        ("Sun Microsystems in May", "Sun Microsystems in May"),
        ("2.0.0 Bye\n2.0.0x Bye", "2.0.0 Bye\n<n>x Bye"),
        ("", ""),
        ("<host> is kept, <n> too", "<host> is kept, <n> too"),
        ("\x1b[2J\x00 bücher.example.com", "\x1b[<n>J\x00 <host>"),
    ],
)
def test_what_is_the_servers_own_is_masked_and_wording_stays(greeting: str, masked: str) -> None:
    assert template(greeting) == masked


@given(WIRE)
def test_masking_never_raises_and_a_template_is_its_own_template(text: str) -> None:
    masked = template(text)
    assert template(masked) == masked


@given(st.lists(st.one_of(WIRE, HOSTS, IDS, ADDRESSES, NUMBERS, TIMES.map(str)), max_size=6).map("".join))
def test_a_template_is_its_own_template_whatever_runs_into_whatever(text: str) -> None:
    masked = template(text)
    assert template(masked) == masked


@given(host=HOSTS, bare=BARE, date=st.builds(when, TIMES, st.sampled_from(FORMATS)), made=IDS, number=NUMBERS)
def test_greetings_that_differ_in_host_date_id_and_number_have_one_template(
    host: str, bare: str, date: str, made: str, number: str
) -> None:
    for name in (host, bare):
        greeting = f"{name} ESMTP Acme {number} (at {host}) ready at {date}; <{made}>"
        assert template(greeting) == "<host> ESMTP Acme <n> (at <host>) ready at <date>; <<id>>"


@given(ADDRESSES, HOSTS)
def test_addresses_are_masked_alike(address: str, host: str) -> None:
    assert template(f"Hello [{address}], this is [IPv6:2001:db8::1] {host}:25") == (
        "Hello [<ip>], this is [<ip>] <host>:<n>"
    )


@pytest.mark.parametrize("text", ["a.", "1", "1a", "=a", "a@", "::", "Wed, ", "1:", "12:34", "a1.", "f:", "Nov 1 "])
def test_what_is_made_to_be_slow_is_masked_to_its_end(text: str) -> None:
    hostile = (text * 65_536)[:65_536]
    assert template(template(hostile)) == template(hostile)


def seen(
    greeting: str | None, number: int = 1, *, code: int = 220, bye: str | None = None, words: str = ""
) -> SmtpItem:
    item = SmtpItem("s", f"192.0.2.{number}", 25, None, None, None, "t", 0.1, "ok")
    item.greeting = None if greeting is None else ReplyItem(code, greeting)
    item.quit = None if bye is None else ReplyItem(221, bye)
    item.ehlo = EhloItem(250, "x", dict.fromkeys(words.split(), "")) if words else None
    return item


def test_templates_come_most_frequent_first_with_an_example_and_what_goes_with_them() -> None:
    found = Templates()
    found.add(seen("rare"))
    for number in range(2, 5):
        found.add(seen(f"mx{number}.example.com ESMTP", number, bye=f"2.0.0 Bye {number}", words="SIZE DSN"))
    found.add(seen("mx.example.com ESMTP", 9, code=554))
    found.add(seen(None, 10))
    assert found.observations == 6
    assert len(found) == 4
    first, *rest = found.top(10)
    assert (first.code, first.template, first.count) == (220, "<host> ESMTP", 3)
    assert (first.ip, first.greeting) == ("192.0.2.2", "mx2.example.com ESMTP")
    assert first.extensions == {"SIZE DSN": 3}
    assert first.quits == {"2.0.0 Bye <n>": 3}
    assert [(group.code, group.template) for group in rest] == [(None, ""), (554, "<host> ESMTP"), (220, "rare")]
    assert [group.template for group in found.top(1)] == ["<host> ESMTP"]
    assert found.missed == 0


def test_memory_is_bounded_frequent_templates_stay_and_the_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MAX_TEMPLATES", 10)
    found = Templates()
    words = [f"{a}{b}q" for a in "ghijklm" for b in "ghijklmnop"]
    for word in words:
        found.add(seen("frequent"))
        found.add(seen(word))
    assert len(found) <= 10
    assert found.observations == 2 * len(words)
    first = found.top(1)[0]
    assert (first.template, first.count) == ("frequent", len(words))
    assert found.missed >= 1
    lost = {word: 1 - sum(group.count for group in found.top(10) if group.template == word) for word in words}
    assert max(lost.values()) <= found.missed


def test_what_goes_with_a_template_is_bounded() -> None:
    found = Templates()
    for number in range(2 * MAX_COMPANIONS):
        found.add(seen("x", words="Q" * (number + 1) + " " + "L" * 1000, bye="g" * 3000))
    (group,) = found.top(1)
    assert len(group.extensions) == MAX_COMPANIONS
    assert max(map(len, [*group.extensions, *group.quits])) == MAX_SHOWN
    assert group.quits.total() == 2 * MAX_COMPANIONS
