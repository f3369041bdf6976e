"""Time single verdicts and print them, as JSON, in microseconds (run by case_classify in a process of its own)."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from smtpsurvey.classify import Classifier, Transcript
from smtpsurvey.items import EhloItem, ReplyItem, SmtpItem

if TYPE_CHECKING:
    from collections.abc import Callable

EXTENSIONS = "PIPELINING SIZE VRFY ETRN STARTTLS ENHANCEDSTATUSCODES 8BITMIME DSN SMTPUTF8 CHUNKING"
LONG = 65_536
HOSTILE = (" ", "x ESMTP ", "(", "a ESMTP Exim 4.9", "a\nb ESMTP Sendmail 8.", "\u00e9 ESMTP Postfix (")
"""Texts that make patterns start again and again, repeated to 64 KiB."""


def main() -> None:
    """Take the number of verdicts from the command line."""
    count = int(sys.argv[1])
    classifier = Classifier.load(["builtin"])
    named, hidden = conversation("mx.example.com", " ESMTP Postfix"), conversation("mx.example.com", " ESMTP")
    distinct = [conversation(f"mx{number}.example.com", " ESMTP") for number in range(count)]
    one_by_one = iter(distinct)
    figures = {
        "cached": per_call(lambda: classifier.classify_item(named), count),
        "cached_hidden": per_call(lambda: classifier.classify_item(hidden), count),
        "hidden": per_call(lambda: classifier.classify_item(next(one_by_one)), count),
        "slow": max(per_call(partial(classifier.match, slow(text)), 1) for text in HOSTILE),
        "wrong": [str(verdict) for verdict in map(classifier.classify_item, distinct) if not is_right(verdict)][:5],
    }
    json.dump(figures, sys.stdout)


def conversation(host: str, greeting: str) -> SmtpItem:
    """Return an item of a Postfix, whole."""
    item = SmtpItem("bench", "127.0.0.1", 25, None, None, None, "", 0.0, "ok", greeting=ReplyItem(220, host + greeting))
    keywords = EXTENSIONS.split()
    item.ehlo = EhloItem(250, "\n".join([host, *keywords]), dict.fromkeys(keywords, ""))
    item.starttls_reply, item.quit = ReplyItem(220, "2.0.0 Ready to start TLS"), ReplyItem(221, "2.0.0 Bye")
    return item


def slow(text: str) -> Transcript:
    """Return a conversation all of whose texts are 64 KiB of this."""
    return Transcript(*[(text * LONG)[:LONG]] * len(Transcript._fields))


def is_right(verdict: object) -> bool:
    """Whether a verdict is on a Postfix that does not name itself."""
    return getattr(verdict, "product", None) == "Postfix" and getattr(verdict, "certainty", None) == "likely"


def per_call(call: Callable[[], object], count: int) -> float:
    """Return CPU microseconds a call, with the loop's own."""
    start = time.process_time_ns()
    for _ in range(count):
        call()
    return (time.process_time_ns() - start) / count / 1000


if __name__ == "__main__":
    main()
