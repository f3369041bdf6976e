"""Opt-outs as they come in, by mail or by form, made into lines of the opt-out file.

A mail has lines ``opt-out: WHAT``, as the page of ``scrapy citizen page`` asks for; a form is one line of
``application/x-www-form-urlencoded`` a request, with the fields ``what``, ``who`` and ``why``, and perhaps ``since``.
"""

from __future__ import annotations

import email
import email.policy
import mailbox
import re
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import attrs

from smtpsurvey.admission.optout import parse_entry
from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import EmailMessage

MAX_MAIL = 1 << 20  # bytes that are looked at: people quote, and attach
MAX_ENTRIES = 10_000  # of one mail
MAX_SAID = 200  # characters of who and of why
_LINE = re.compile(r"^[ \t]*opt-?out[ \t]*:[ \t]*(\S+)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_FORM = re.compile(rb"\A\s*(?:what|who|why|since)=[^\n]*")


class RequestsError(SurveyError):
    """A file of requests that cannot be read; the message is one line."""


@attrs.frozen
class Request:
    """Somebody's wish: what to leave alone, who asks, why, and since when (a date in UTC)."""

    what: str
    who: str
    why: str
    since: str

    def line(self) -> str:
        """Write it as a line of the opt-out file."""
        said = ", ".join(part for part in (self.who, self.why, f"since {self.since}") if part)
        return f"{self.what}  # {said}"


def read_requests(path: str, today: str, bad: Callable[[str], None]) -> Iterator[Request]:
    """Yield the requests of a mail, an mbox, a Maildir, or a file of forms; the content tells which it is.

    ``today`` stands where a request has no date. ``bad`` is called with one line, file and reason, for each
    that is no entry of an opt-out file, and for mail without any. Raises :class:`RequestsError`.
    """
    place = Path(path)
    try:
        if place.is_dir():
            folder = mailbox.Maildir(path, create=False)
            for key in sorted(folder.iterkeys()):
                yield from _mail(folder.get_bytes(key)[:MAX_MAIL], f"{path}/{key}", today, bad)
            return
        with place.open("rb") as file:
            head = file.read(MAX_MAIL)
    except OSError as error:
        raise RequestsError(f"{path}: {error.strerror or error}") from None
    if _FORM.match(head):
        yield from _forms(place, today, bad)
    elif head.startswith(b"From "):
        with closing(mailbox.mbox(path, create=False)) as box:
            for number, key in enumerate(box.iterkeys(), 1):
                yield from _mail(box.get_bytes(key)[:MAX_MAIL], f"{path}, mail {number}", today, bad)
    else:
        yield from _mail(head, path, today, bad)


def _mail(raw: bytes, label: str, today: str, bad: Callable[[str], None]) -> Iterator[Request]:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    who, why = _said(_header(message, "from")), _said(_header(message, "subject"))
    try:
        since = parsedate_to_datetime(_header(message, "date")).astimezone(UTC).date().isoformat()
    except (ValueError, OverflowError):
        since = today
    found = _LINE.findall(_text(message))[:MAX_ENTRIES]
    if not found:
        bad(f"{label}: no line 'opt-out: …' in this mail; somebody has to read it")
    for what in found:
        yield from _checked(Request(what, who, why, since), label, bad)


def _header(message: EmailMessage, name: str) -> str:
    """Read a header; the parser stumbles over some that nobody should send."""
    try:
        return str(message[name] or "")
    except (ValueError, IndexError, AttributeError, TypeError):
        return ""


def _text(message: EmailMessage) -> str:
    """Give the text of a mail, all its plain parts; what has another charset than it says is read as it can be."""
    parts = [part for part in message.walk() if part.get_content_type() == "text/plain"]
    bodies = (part.get_payload(decode=True) for part in parts)
    return "\n".join(body.decode("utf-8", "replace") for body in bodies if isinstance(body, bytes))


def _forms(place: Path, today: str, bad: Callable[[str], None]) -> Iterator[Request]:
    with place.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_MAIL), b""), 1):
            if not line.strip():
                continue
            try:
                fields = parse_qs(line.decode("utf-8", "replace").strip(), max_num_fields=10)
            except ValueError as error:
                bad(f"{place}:{number}: {error}")
                continue
            said = {name: _said(values[0]) for name, values in fields.items()}
            request = Request(
                said.get("what", ""), said.get("who", ""), said.get("why", ""), _day(said.get("since", ""), today)
            )
            yield from _checked(request, f"{place}:{number}", bad)


def _checked(request: Request, label: str, bad: Callable[[str], None]) -> Iterator[Request]:
    """Let a request pass whose line the survey will understand."""
    try:
        entry = parse_entry(request.line(), label, with_as_map=True)
    except ValueError as error:
        bad(f"{label}: {error}")
        return
    if entry is None:
        bad(f"{label}: says not what to leave alone")
        return
    yield request


def _day(text: str, today: str) -> str:
    try:
        return datetime.fromisoformat(text).date().isoformat()
    except ValueError:
        return today


def _said(text: str) -> str:
    """Make a stranger's words fit behind ``#`` on one line."""
    words = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(words.split())[:MAX_SAID]
