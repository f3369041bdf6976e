"""The extensions in a reply to EHLO (RFC 5321 section 4.1.1.1)."""

from __future__ import annotations

from smtpsurvey.smtp.reply import text_of

STARTTLS = "STARTTLS"


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
