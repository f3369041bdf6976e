"""The opt-out file: who asked not to be probed.

One entry a line, with free text behind ``#``::

    AS64500            # mail of 2026-11-02, ticket 17
    192.0.2.0/24       # CIDR, IPv4 or IPv6
    198.51.100.7       # address
    example.org        # this name and every name below it

A list that cannot be read to its last line is not used at all: an opt-out lost to a typo would be
a promise broken without anyone knowing.
"""

from __future__ import annotations

import logging
import os
import re
from functools import partial
from ipaddress import ip_address, ip_network

import idna

from smtpsurvey.admission import MAX_ASN, AdmissionError
from smtpsurvey.admission.exclusions import Exclusion
from smtpsurvey.outcomes import Reason

logger = logging.getLogger(__name__)

MAX_LINE = 4096  # characters
CHECK_INTERVAL = 1.0  # seconds between looks at the file

_ASN = re.compile(r"as(\d{1,10})", re.IGNORECASE | re.ASCII)
_DOMAIN = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z][a-z0-9-]{0,61}[a-z0-9]")


class OptOutError(AdmissionError):
    """The opt-out file cannot be used; the message names file, line and reason."""


def read_optout(path: str, *, with_as_map: bool) -> tuple[Exclusion, ...]:
    """Read the whole file; raises OptOutError at the first line that is not understood.

    ``with_as_map`` says whether lines like ``AS64500`` can be honoured.
    """
    entries = []
    try:
        # Free text may be in any charset; an entry with a replacement character in it is refused as a name.
        with open(path, encoding="utf-8-sig", errors="replace") as file:  # noqa: PTH123 -- a setting, plain text
            for number, line in enumerate(iter(partial(file.readline, MAX_LINE + 1), ""), 1):
                try:
                    entry = parse_entry(line, f"{path}:{number}", with_as_map=with_as_map)
                except ValueError as error:
                    raise OptOutError(f"{path}:{number}: {error}") from None
                if entry is not None:
                    entries.append(entry)
    except OSError as error:
        raise OptOutError(f"{path}: {error.strerror or error}") from None
    return tuple(entries)


def parse_entry(line: str, source: str, *, with_as_map: bool) -> Exclusion | None:
    """Read one line; ``None`` for one without an entry. Raises ValueError with the reason.

    ``source`` is what the entry says it comes from.
    """
    if len(line) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE} characters")
    text, _, why = line.partition("#")
    text = text.strip()
    why = "".join(char if char.isprintable() else " " for char in why).strip()  # it is shown on terminals
    if not text:
        return None
    if len(text.split()) > 1:
        raise ValueError(f"{text[:80]!r}: more than one entry; free text goes behind '#'")
    if match := _ASN.fullmatch(text):
        asn = int(match[1])
        if not 0 < asn <= MAX_ASN:
            raise ValueError(f"{text!r} is no AS number (1 to {MAX_ASN})")
        if not with_as_map:
            raise ValueError(f"{text!r} cannot be honoured without an AS map (SMTPSURVEY_AS_MAP)")
        return Exclusion(asn, Reason.AS, why, source)
    if "/" in text:
        return Exclusion(ip_network(text), Reason.OPT_OUT, why, source)
    if ":" in text or not text.strip("0123456789."):
        return Exclusion(ip_network(ip_address(text)), Reason.OPT_OUT, why, source)
    return Exclusion(_domain(text), Reason.OPT_OUT, why, source)


def _domain(text: str) -> str:
    try:
        name = (text if text.isascii() else idna.encode(text, uts46=True).decode("ascii")).lower()
    except idna.IDNAError as error:
        raise ValueError(f"{text[:80]!r} is no domain: {error}") from None
    bare = name.removesuffix(".")
    if not _DOMAIN.fullmatch(bare):
        raise ValueError(f"{text[:80]!r} is no AS, CIDR, address or domain (a domain covers every name below it)")
    if "." not in name:
        raise ValueError(f"{text[:80]!r} is one label alone; if a top-level domain is meant, end it with a dot")
    return bare


class OptOutFile:
    """The opt-out file of a crawl that is running: read again whenever it changes.

    A change that cannot be read, or a file that vanished, keeps the ``entries`` there were and logs
    one error; the next change is tried again.
    """

    def __init__(self, path: str, *, with_as_map: bool) -> None:
        """Read the file; raises OptOutError."""
        self._path = path
        self._with_as_map = with_as_map
        self._seen = self._stat()
        self._next_look = float("-inf")
        self.entries = read_optout(path, with_as_map=with_as_map)

    def changed(self, now: float) -> bool:
        """Look at the file, once in CHECK_INTERVAL at most; say whether there are new ``entries``.

        ``now`` is in seconds, of any clock that only goes forward.
        """
        if now < self._next_look:
            return False
        self._next_look = now + CHECK_INTERVAL
        seen = self._stat()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self.entries = read_optout(self._path, with_as_map=self._with_as_map)
        except OptOutError as error:
            logger.error("opt-out file not reloaded, the earlier list stays: %s", error)  # noqa: TRY400 -- one line
            return False
        logger.info("opt-out file reloaded: %s (%d entries)", self._path, len(self.entries))
        return True

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 -- twice as cheap as through a Path, once a second
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
