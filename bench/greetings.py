"""Classify distinct greetings and print, as JSON, how long that took (run by case_classify in a process of its own).

The greetings are those of the rules' own examples, each under many host names, so that no verdict comes from a cache.
Rules that know a product by the host name itself take part in the matching only.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import time

from smtpsurvey.classify import Classifier, Transcript
from smtpsurvey.items import ReplyItem, SmtpItem

_HOST = re.compile(r"[\w-]+(\.[\w-]+)+(?=\s)", re.ASCII)
BASELINE = 200  # greetings for Python's own engine, which takes milliseconds for each


def main() -> None:
    """Take the number of greetings from the command line."""
    count = int(sys.argv[1])
    classifier = Classifier.load(["builtin"])
    examples = [
        (rule.id, example.greeting)
        for rule in classifier.rules
        if list(rule.given()) == ["greeting"]
        for example in rule.examples
        if example.greeting and _HOST.match(example.greeting)
    ]
    of_any_host = [(rule, greeting) for rule, greeting in examples if _rule(classifier, renamed(greeting, 0)) == rule]
    chosen = list(itertools.islice(itertools.cycle(of_any_host), count))
    items = [_item(renamed(greeting, number)) for number, (_, greeting) in enumerate(chosen)]
    start = time.process_time()
    verdicts = [classifier.classify_item(item) for item in items]
    ours = time.process_time() - start
    wrong = [
        f"{greeting!r}: {verdict}, not {rule}"
        for (rule, greeting), verdict in zip(chosen, verdicts, strict=True)
        if verdict is None or verdict.rule != rule
    ]
    patterns = [re.compile(rule.given()["greeting"]) for rule in classifier.rules if "greeting" in rule.given()]
    start = time.process_time()
    for item in items[:BASELINE]:
        for pattern in patterns:
            pattern.search(item.greeting.text if item.greeting else "")
    base = time.process_time() - start
    result = {
        "rules": len(patterns),
        "examples": len(of_any_host),
        "ours": count / ours,
        "base": len(items[:BASELINE]) / base,
        "wrong": wrong[:5],
    }
    json.dump(result, sys.stdout)


def renamed(greeting: str, number: int) -> str:
    """Return the greeting as another host of the same domain gives it."""
    return f"mx{number}.{greeting}"


def _rule(classifier: Classifier, greeting: str) -> str | None:
    software = classifier.classify(Transcript(greeting=greeting))
    return software.rule if software else None


def _item(greeting: str) -> SmtpItem:
    return SmtpItem(
        survey="bench",
        ip="127.0.0.1",
        port=25,
        name=None,
        tag=None,
        source=None,
        time="",
        duration=0.0,
        outcome="ok",
        greeting=ReplyItem(220, greeting),
    )


if __name__ == "__main__":
    main()
