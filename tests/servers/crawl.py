"""The real command line, run inside a namespace."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from servers.namespace import Namespace

REPOSITORY = Path(__file__).parents[2]
HELO = "survey.test.example"
SETTINGS: Mapping[str, object] = {
    "SMTPSURVEY_HELO": HELO,
    "SMTPSURVEY_CONTACT": "https://survey.test.example/",
    "SMTPSURVEY_SHARDS": "",
    "SMTPSURVEY_RATE": 0,
    "SMTPSURVEY_PREFIX_RATE": 0,
    "SMTPSURVEY_AS_RATE": 0,
}
CRAWL_TIME = 60.0
Item = dict[str, Any]


class Crawl(NamedTuple):
    """A crawl that runs: ``finish`` gives its items."""

    process: subprocess.Popen[str]
    feed: Path
    log: Path

    def finish(self) -> list[Item]:
        """Wait for its end, which must be a good one without a traceback, and return the items in the order stored."""
        try:
            status = self.process.wait(CRAWL_TIME)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = -1
        log = self.log.read_text("utf-8", "replace")
        assert status == 0, log[-4000:]
        assert "Traceback" not in log, log[-4000:]
        return [json.loads(line) for line in self.feed.read_text("utf-8").splitlines()]


def start_crawl(
    namespace: Namespace,
    folder: Path,
    targets: Iterable[str],
    settings: Mapping[str, object],
    *,
    arguments: Sequence[str] = ("-a", "record=all"),
    wrapper: Sequence[str] = (),
) -> Crawl:
    """Start ``scrapy crawl smtp`` over target lines; ``wrapper`` is a command such as ``prlimit`` before it."""
    lines = folder / "targets.txt"
    lines.write_text("".join(f"{line}\n" for line in targets), "utf-8")
    feed, log = folder / "out.jsonl", folder / "crawl.log"
    argv = [*wrapper, sys.executable, "-m", "scrapy", "crawl", "smtp"]
    argv += ["-a", f"targets={lines}", "-O", f"{feed}:jsonlines", *arguments]
    for name, value in {**SETTINGS, **settings}.items():
        argv += ["-s", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            namespace.command(*argv),
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    return Crawl(process, feed, log)


def schema_errors(items: Iterable[Item]) -> list[str]:
    """Say where items are not as the published schema has them."""
    validator = _validator()
    return [f"{item['ip']}: {error.message}" for item in items for error in validator.iter_errors(item)]


@cache
def _validator() -> Draft202012Validator:
    schema = json.loads((REPOSITORY / "docs/reference/item.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
