"""Reads a conversation that somebody wrote down, or a greeting alone, to classify it.

Lines begin with ``S:`` or ``<`` (the server) and ``C:`` or ``>`` (the client), as ``scrapy fetch smtp://…``
prints them; others are remarks.
"""

from __future__ import annotations

import re
from typing import IO, TYPE_CHECKING

from smtpsurvey.errors import SurveyError
from smtpsurvey.items import Observation, SmtpItem, Target
from smtpsurvey.outcomes import Outcome
from smtpsurvey.smtp.capabilities import extensions
from smtpsurvey.smtp.reply import Limits, NotAReplyError, Reply, ReplyReader, text_of
from smtpsurvey.smtp.tls import TlsFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SESSION = 1 << 20
"""Bytes of a transcript."""

_LINE = re.compile(r"(?P<who>[SC]:|[<>]) ?(?P<text>.*)", re.DOTALL)
_CODE = re.compile(r"[0-9]{3}(?:[ \t-]|$)")
_READY = 220  # the reply to STARTTLS after which TLS begins
_NOWHERE = Target("192.0.2.1")  # TEST-NET-1 (RFC 5737)


class SessionError(SurveyError):
    """A transcript that cannot be read."""


def read_text(file: IO[bytes]) -> str:
    """Read what somebody wrote down, UTF-8 or not. Raises :class:`SessionError` when it is too long."""
    data = file.read(MAX_SESSION + 1)
    if len(data) > MAX_SESSION:
        raise SessionError(f"more than {MAX_SESSION:,} bytes: no transcript of a session")
    return text_of(data)


def item_of_text(text: str) -> SmtpItem:
    """Make the item of a transcript, or, where no line tells who speaks, of a greeting."""
    told = any(_LINE.match(line) for line in text.split("\n"))
    return item_of_transcript(text) if told else item_of_greeting(text)


def item_of_greeting(text: str) -> SmtpItem:
    """Make the item of a server of which only the greeting is known, given with its code or without (then 220)."""
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if not all(_CODE.match(line) for line in lines):
        *others, last = lines
        lines = [*(f"220-{line}" for line in others), f"220 {last}"]
    return _item(_reply(lines), {})


def item_of_transcript(text: str) -> SmtpItem:
    """Make the item of a conversation; what broke it off after the greeting is left out, as in a survey.

    Raises :class:`SessionError` when there is no complete greeting.
    """
    replies: dict[str, Reply] = {}
    for command, lines in _exchanges(text):
        if command == "EHLO" and "STARTTLS" in replies and replies["STARTTLS"].code == _READY:
            command = "EHLO in TLS"  # noqa: PLW2901 - the same command, elsewhere
        if lines and command not in replies:
            try:
                replies[command] = _reply(lines)
            except SessionError:
                if not command:
                    raise
    greeting = replies.pop("", None)
    if greeting is None:
        raise SessionError("the transcript has no greeting: its lines begin with S: and C:, or < and >")
    return _item(greeting, replies)


def _exchanges(text: str) -> Iterator[tuple[str, list[str]]]:
    """Give each command (first word, upper case; empty before the first) and the lines that answer it."""
    command, lines = "", list[str]()
    for line in text.split("\n"):
        found = _LINE.match(line.removesuffix("\r"))
        if found is None:
            continue
        if found["who"] in {"S:", "<"}:
            lines.append(found["text"])
        else:
            yield command, lines
            command, lines = found["text"].partition(" ")[0].upper(), []
    yield command, lines


def _reply(lines: list[str]) -> Reply:
    raw = "".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace")
    reader = ReplyReader(Limits())
    reader.feed(raw)
    try:
        reply = reader.next_reply()
    except NotAReplyError as error:
        raise SessionError(f"the greeting is no reply of SMTP ({error})") from None
    if reply is None:
        raise SessionError("the greeting has no last line (a code and a blank)")
    return reply


def _item(greeting: Reply, replies: dict[str, Reply]) -> SmtpItem:
    ehlo, inside = replies.get("EHLO"), replies.get("EHLO in TLS")
    seen = Observation(
        _NOWHERE,
        0.0,
        0.0,
        Outcome.OK,
        greeting=greeting,
        ehlo=ehlo,
        extensions=extensions(ehlo.lines) if ehlo else None,
        helo=replies.get("HELO"),
        starttls_reply=replies.get("STARTTLS"),
        tls=TlsFacts() if inside else None,
        tls_ehlo=inside,
        quit=replies.get("QUIT"),
    )
    return SmtpItem.from_observation(seen, "explain")
