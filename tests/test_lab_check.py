"""A survey's feed against the truth."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from smtpsurvey.lab.check import RecordsError, compare, read_records

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Record = dict[str, Any]

TRUTH: list[Record] = [
    {
        "ip": f"127.1.0.{number}",
        "port": 25,
        "vendor": "Postfix" if number < 4 else "Exim",
        "product": "Postfix" if number < 4 else "Exim",
        "version": "1.0",
        "shows_version": number == 4,
        "hidden": False,
        "named": True,
        "outcome": "ok",
        "greeting_code": 220,
        "greeting": f"mx{number} ESMTP",
        "starttls": "ok",
        "interrupted": None,
        "tls_version": "TLSv1.3",
        "tls_error": None,
        "certificate_sha256": "ab",
        "matches_name": True,
    }
    for number in range(1, 5)
]
FEED: list[Record] = [
    {
        "ip": truth["ip"],
        "port": 25,
        "outcome": "ok",
        "greeting": {"code": 220, "text": truth["greeting"]},
        "starttls": "ok",
        "interrupted": None,
        "tls": {"version": "TLSv1.3", "error": None, "certificate": {"sha256": "ab"}, "matches_name": True},
        "software": {"vendor": truth["vendor"], "product": truth["product"], "version": "1.0"},
    }
    for truth in TRUTH
]
DEAD = {"ip": "127.9.9.9", "port": 25, "outcome": "refused"}


def test_right_feed_is_good() -> None:
    result = compare(TRUTH, [*reversed(FEED), DEAD])
    assert result.good
    assert result.summary() == "4 of 4 live servers found, shares within 0.00 points"


def change(path: str, value: object) -> Callable[[Record], None]:
    def apply(item: Record) -> None:
        *parents, last = path.split(".")
        for name in parents:
            item = item[name]
        item[last] = value

    return apply


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (change("outcome", "silent"), "outcome"),
        (change("starttls", "failed"), "starttls"),
        (change("starttls", None), "starttls"),
        (change("greeting.text", "mx4 ESMTP "), "greeting"),
        (change("greeting.code", 221), "greeting_code"),
        (change("interrupted", {"stage": "quit", "reason": "closed"}), "interrupted"),
        (change("tls.version", "TLSv1.2"), "tls_version"),
        (change("tls.error", "closed"), "tls_error"),
        (change("tls.certificate.sha256", "cd"), "certificate_sha256"),
        (change("tls.matches_name", None), "matches_name"),
        (change("software.product", "Sendmail"), "software"),
        (change("software.vendor", None), "software"),
        (change("software.version", "2.0"), "version"),
        (change("software", None), "software"),
    ],
)
def test_each_wrong_fact_is_found(changed: Callable[[Record], None], field: str) -> None:
    feed = copy.deepcopy(FEED)
    changed(feed[3])
    result = compare(TRUTH, feed)
    assert not result.good
    assert {(mismatch.ip, mismatch.field) for mismatch in result.mismatches} == {("127.1.0.4", field)}


def test_missing_twice_and_dead_hosts_are_found() -> None:
    result = compare(TRUTH, [FEED[0], FEED[1], FEED[1], FEED[2], {**DEAD, "outcome": "ok"}])
    assert [(m.ip, m.field, m.expected, m.got) for m in result.mismatches] == [
        ("127.9.9.9", "outcome", "refused", "ok"),
        ("127.1.0.2", "items", 1, 2),
        ("127.1.0.4", "items", 1, 0),
    ]
    assert result.summary().startswith("3 of 4 live servers found, shares within 25.00 points")


def test_hidden_hosts_are_counted_and_not_required() -> None:
    truth = [{**host, "hidden": True, "named": False} for host in TRUTH]
    feed = copy.deepcopy(FEED)
    feed[0]["software"] = None
    feed[1]["software"]["product"] = "Sendmail"
    result = compare(truth, feed)
    assert result.good
    assert result.summary().endswith("of 4 hidden 2 named rightly, 1 wrongly")


def test_fact_that_truth_leaves_open_is_not_compared() -> None:
    truth = copy.deepcopy(TRUTH)
    del truth[0]["interrupted"]
    feed = copy.deepcopy(FEED)
    feed[0]["interrupted"] = {"stage": "tls", "reason": "closed"}
    assert compare(truth, feed).good


def test_unfinished_greeting_is_the_surveys_affair() -> None:
    truth = [{**TRUTH[0], "outcome": "not_smtp", "greeting": None, "greeting_code": None, "named": False}]
    feed = [{**FEED[0], "outcome": "not_smtp", "greeting": {"code": None, "text": "SSH-2.0"}}]
    assert compare(truth, feed).good


@pytest.mark.parametrize(
    ("text", "reason"),
    [('{"ip": "127.1.0.1"}', "line 1: no 'port'"), ('{"ip": 1, "port": 2}\n{', "line 2: "), ("[]", "line 1: ")],
)
def test_bad_file_is_one_clear_line(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RecordsError) as error:
        list(read_records(file, "ip", "port"))
    assert str(error.value).startswith(f"{file}: {reason}")


def test_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="No such file"):
        list(read_records(tmp_path / "none.jsonl"))
