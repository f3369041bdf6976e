"""The extensions in a reply to EHLO (RFC 5321 section 4.1.1.1)."""

from __future__ import annotations

import re

from smtpsurvey.smtp.reply import text_of

STARTTLS = "STARTTLS"
# What Cisco's PIX and ASA write over keywords that they do not let through: 250-XXXXXXXA, 250-XXXXXXXX.
_MASKED = re.compile(rb"^[0-9]{3}[ -]X{3,}[A-Z]?(?:[ \r]|$)", re.MULTILINE)


def extensions(lines: tuple[bytes, ...]) -> dict[str, str]:
    """Read the lines of a reply to EHLO: keyword (upper case) to parameters, in the order sent.

    The first line is the server's name and no extension. A keyword that is sent twice keeps its
    place, and parameters that differ are joined with a blank.
    """
    found: dict[str, str] = {}
    for line in lines[1:]:
        keyword, _, parameters = text_of(line).strip().partition(" ")
        if not keyword:
            continue
        keyword = keyword.upper()
        known = found.get(keyword)
        if not known:
            found[keyword] = parameters
        elif parameters and parameters != known:
            found[keyword] = f"{known} {parameters}"
    return found


def masked(reply: bytes) -> bool:
    """Tell whether a middlebox wrote over a keyword of a reply to EHLO (its bytes as they came)."""
    return b"XXX" in reply and _MASKED.search(reply, reply.index(b"\n") + 1) is not None
