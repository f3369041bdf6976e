"""Building the AS map: pyasn ``.dat`` and CAIDA pfx2as lines in, one MMDB file out."""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from functools import partial
from ipaddress import IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from mmdb_writer import MMDBWriter
from netaddr import IPNetwork, IPSet

from smtpsurvey.admission import MAX_ASN, AdmissionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from smtpsurvey.admission.ranges import Network

MAX_LINE = 65536  # bytes; the longest AS sets of the real table have some hundred
GZIP_MAGIC = b"\x1f\x8b"
IPV4_IN_MMDB = IPv6Network("::/96")  # where an MMDB file of both families keeps IPv4

Announced = dict["Network", tuple[int, ...]]


class Built(NamedTuple):
    """What went into a map: counts of prefixes, of different ASes and of bytes."""

    prefixes: int
    ases: int
    size: int


def read_announcements(path: str, bad: Callable[[str], None]) -> Iterator[tuple[Network, tuple[int, ...]]]:
    """Yield ``(prefix, origins)`` of a file, the most frequent origin first.

    The file may be gzipped, and its lines pyasn's (``1.0.0.0/24<TAB>15169``, ``;`` comments) or
    CAIDA's (``1.0.0.0<TAB>24<TAB>13335``; ``_`` joins the origins of a multi-origin prefix, ``,`` an
    AS set); the content tells, not the name. ``bad`` is called with one line of text,
    ``FILE:LINE: reason``, for each line that is neither. Raises AdmissionError when the file cannot
    be opened or read.
    """
    number = 0
    try:
        with open(path, "rb") as raw:  # noqa: PTH123 -- an argument of the command line
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            for number, line in enumerate(_lines(cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if packed else raw), 1):
                try:
                    announced = _parse(line)
                except ValueError as error:
                    bad(f"{path}:{number}: {error}")
                else:
                    if announced is not None:
                        yield announced
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        bad(f"{path}:{number + 1}: broken gzip, the rest is lost: {error}")
    except OSError as error:
        raise AdmissionError(f"{path}: {error.strerror or error}") from None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines of MAX_LINE + 1 bytes at most; what goes beyond is skipped."""
    read = partial(file.readline, MAX_LINE + 1)
    for line in iter(read, b""):
        yield line
        rest = line
        while len(rest) > MAX_LINE and not rest.endswith(b"\n"):
            rest = read()


def _parse(raw: bytes) -> tuple[Network, tuple[int, ...]] | None:
    if len(raw) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE} bytes")
    text = raw.decode("ascii", "backslashreplace").strip()
    if not text or text[0] in ";#":
        return None
    match text.split():
        case [prefix, origins] if "/" in prefix:
            pass
        case [address, length, origins] if length.isdecimal():
            prefix = f"{address}/{length}"
        case _:
            raise ValueError(f"{text[:80]!r} is neither PREFIX AS (pyasn) nor ADDRESS LENGTH AS (CAIDA pfx2as)")
    network = ip_network(prefix)
    if not network.prefixlen:
        raise ValueError(f"{prefix} is a default route")
    if isinstance(network, IPv6Network) and network.overlaps(IPV4_IN_MMDB):
        raise ValueError(f"{prefix} overlaps {IPV4_IN_MMDB}, where the map keeps IPv4")
    return network, _origins(origins)


def _origins(text: str) -> tuple[int, ...]:
    origins = []
    for word in text.replace("_", ",").split(","):
        if not (word.isascii() and word.isdecimal() and len(word) <= len(str(MAX_ASN)) and 0 < int(word) <= MAX_ASN):
            raise ValueError(f"{word[:80]!r} is no AS number (1 to {MAX_ASN})")
        origins.append(int(word))
    return tuple(dict.fromkeys(origins))


def read_all(paths: Iterable[str], bad: Callable[[str], None]) -> Announced:
    """Read several files into one table; where a prefix comes again, the later line counts."""
    announced: Announced = {}
    for path in paths:
        announced.update(read_announcements(path, bad))
    return announced


def write_map(announced: Announced, out: str) -> Built:
    """Write the table as MMDB; a lookup finds the most specific prefix.

    Records have the keys ``autonomous_system_number``, ``prefix`` and, where there are several,
    ``origins``. The file appears whole or not at all, so that a crawl that has an earlier one
    mapped goes on undisturbed. Raises AdmissionError when it cannot be written.
    """
    writer = MMDBWriter(
        6, "smtpsurvey-AS", ["en"], {"en": "Announced prefixes and their origin ASes"}, ipv4_compatible=True
    )
    # Less specific first: a later network replaces what it covers.
    for network in sorted(announced, key=lambda network: (network.prefixlen, network.version)):
        origins = announced[network]
        record = {"autonomous_system_number": origins[0], "prefix": str(network)}
        if len(origins) > 1:
            record["origins"] = list(origins)
        address = int(network.network_address)
        writer.insert_network(IPSet([IPNetwork((address, network.prefixlen), version=network.version)]), record)
    part = f"{out}.part"
    try:
        writer.to_db_file(part)
        size = os.path.getsize(part)  # noqa: PTH202 -- beside os.replace, on the same name
        os.replace(part, out)  # noqa: PTH105 -- as above
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(part).unlink()
        raise AdmissionError(f"{out}: {error.strerror or error}") from None
    return Built(len(announced), len({asn for origins in announced.values() for asn in origins}), size)
