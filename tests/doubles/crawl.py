"""``scrapy`` as a user starts it, in the repository."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

SCRAPY = str(Path(sys.executable).with_name("scrapy"))
REPOSITORY = Path(__file__).parents[2]
LONG = 30.0  # seconds until a crawl has failed
QUICK = ("-s", "SMTPSURVEY_SHARDS=", "-s", "SMTPSURVEY_ALLOW=127.0.0.0/8")
FREE = ("-s", "SMTPSURVEY_RATE=0", "-s", "SMTPSURVEY_PREFIX_RATE=0", "-s", "SMTPSURVEY_AS_RATE=0")


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def start(*arguments: str | Path, cwd: Path = REPOSITORY, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [SCRAPY, *map(str, arguments)],
        cwd=cwd,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
    )


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for its end; one that hangs is killed and fails the test."""
    try:
        out, err = process.communicate(timeout=LONG)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"{process.args!r} hangs:\n{err[-3000:]}") from None
    return Ended(process.returncode, out, err)


def run(*arguments: str | Path, cwd: Path = REPOSITORY) -> Ended:
    return finish(start(*arguments, cwd=cwd))


def items(feed: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in feed.read_text("utf-8").splitlines()]


def read_until(process: subprocess.Popen[str], text: str) -> None:
    """Read the log until a line of it has the text."""
    assert process.stderr is not None
    assert any(text in line for line in process.stderr), f"{text!r} was never said"
