"""What an AS map is made of: pyasn ``.dat``, CAIDA pfx2as and delegated-extended lines, and MRT routing tables."""

from __future__ import annotations

import bz2
import gzip
import zlib
from functools import partial
from io import BufferedReader
from ipaddress import ip_network
from typing import TYPE_CHECKING

from smtpsurvey.admission import MAX_ASN, AdmissionError
from smtpsurvey.admission.asmap import check_mappable
from smtpsurvey.admission.delegated import Allocation, read_row
from smtpsurvey.admission.mrt import HEAD, is_mrt, read_rib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from smtpsurvey.admission.asmap import Origin, Origins
    from smtpsurvey.admission.ranges import Network

    Announced = tuple[Network, Origins]
    Read = Callable[[BinaryIO, Callable[[int, str], None]], Iterator[tuple[int, Announced | Allocation]]]

MAX_LINE = 65536  # bytes; the longest AS sets of the real table have some hundred
GZIP_MAGIC, BZIP2_MAGIC = b"\x1f\x8b", b"BZh"


def read_table(path: str, bad: Callable[[str], None]) -> Iterator[Announced | Allocation]:
    """Yield ``(prefix, origins)``, the most frequent origin first, or allocations, whichever a file holds.

    Its content tells what it is, not its name: plain, gzip or bzip2; an MRT routing table or lines: pyasn's
    (``1.0.0.0/24<TAB>15169``, ``;`` comments), CAIDA's (``1.0.0.0<TAB>24<TAB>13335``; ``_`` joins the origins of a
    multi-origin prefix, ``,`` an AS set), rows of a delegated-extended file. ``bad`` is called with one line of text,
    ``FILE:LINE: reason``, for each line that is none of these (of MRT: each record, counted from 1 as well). Raises
    AdmissionError when the file cannot be opened or read.
    """
    number = 0

    def bad_at(line: int, reason: str) -> None:
        bad(f"{path}:{line}: {reason}")

    try:
        with open(path, "rb") as raw:  # noqa: PTH123 -- an argument of the command line
            file = _unpacked(raw)
            read: Read = read_rib if is_mrt(file.peek(HEAD)) else _read_lines
            for number, found in read(file, bad_at):  # noqa: B007 -- told where an archive breaks off
                yield found
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        bad_at(number + 1, f"broken archive, the rest is lost: {error}")
    except OSError as error:
        if error.errno is None:  # what bz2 raises for broken data
            bad_at(number + 1, f"broken archive, the rest is lost: {error}")
            return
        raise AdmissionError(f"{path}: {error.strerror}") from None


def _unpacked(raw: BufferedReader) -> BufferedReader:
    head = raw.peek(len(BZIP2_MAGIC))
    if head.startswith(GZIP_MAGIC):
        return BufferedReader(gzip.GzipFile(fileobj=raw))
    if head.startswith(BZIP2_MAGIC):
        return BufferedReader(bz2.BZ2File(raw))
    return raw


def _read_lines(file: BinaryIO, bad: Callable[[int, str], None]) -> Iterator[tuple[int, Announced | Allocation]]:
    for number, line in enumerate(_lines(file), 1):
        try:
            found = _parse(line)
        except ValueError as error:
            bad(number, str(error))
        else:
            if found is not None:
                yield number, found


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines of MAX_LINE + 1 bytes at most; what goes beyond is skipped."""
    read = partial(file.readline, MAX_LINE + 1)
    for line in iter(read, b""):
        yield line
        rest = line
        while len(rest) > MAX_LINE and not rest.endswith(b"\n"):
            rest = read()


def _parse(raw: bytes) -> Announced | Allocation | None:
    if len(raw) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE} bytes")
    text = raw.decode("ascii", "backslashreplace").strip()
    if not text or text[0] in ";#":
        return None
    if "|" in text:
        allocation = read_row(text)
        for network in allocation.networks() if allocation else ():
            check_mappable(network)
        return allocation
    match text.split():
        case [prefix, origins] if "/" in prefix:
            pass
        case [address, length, origins] if length.isdecimal():
            prefix = f"{address}/{length}"
        case _:
            raise ValueError(f"{text[:80]!r} is neither PREFIX AS (pyasn) nor ADDRESS LENGTH AS (CAIDA pfx2as)")
    network = ip_network(prefix)
    check_mappable(network)
    return network, _origins(origins)


def _origins(text: str) -> Origins:
    return tuple(dict.fromkeys(map(_origin, text.split("_"))))


def _origin(text: str) -> Origin:
    members = tuple(dict.fromkeys(map(_asn, text.split(","))))
    return members if len(members) > 1 else members[0]


def _asn(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) <= len(str(MAX_ASN)) and 0 < int(word) <= MAX_ASN):
        raise ValueError(f"{word[:80]!r} is no AS number (1 to {MAX_ASN})")
    return int(word)
