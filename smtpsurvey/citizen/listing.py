"""Adds requests to the opt-out file, so that a survey that is running finds the whole new file or the whole old one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from smtpsurvey.admission.optout import parse_entry, read_optout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpsurvey.citizen.requests import Request


def add(requests: Iterable[Request], path: str) -> list[str]:
    """Append the lines of requests whose subject is not in the file yet, and give them.

    A file that is not there is made. Raises ``OptOutError`` for one that cannot be used, ``OSError`` where it
    cannot be written.
    """
    place = Path(path)
    old = place.read_bytes() if place.exists() else b""
    known = {entry.subject for entry in read_optout(path, with_as_map=True)} if old else set()
    lines = []
    for request in requests:
        entry = parse_entry(request.line(), "", with_as_map=True)
        if entry is not None and entry.subject not in known:
            known.add(entry.subject)
            lines.append(request.line())
    if lines:
        if old and not old.endswith(b"\n"):
            old += b"\n"
        part = place.with_name(f"{place.name}.part")
        part.write_bytes(old + "".join(f"{line}\n" for line in lines).encode())
        os.replace(part, place)  # noqa: PTH105 - atomic, over the old one
    return lines
