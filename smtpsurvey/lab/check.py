"""A survey's feed against the truth of the lab."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from smtpsurvey.lab import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

Record = dict[str, Any]
Key = tuple[str, int]

# Where a fact of the truth stands in an item of the feed.
FACTS = {
    "outcome": ("outcome",),
    "greeting_code": ("greeting", "code"),
    "greeting": ("greeting", "text"),
    "starttls": ("starttls",),
    "interrupted": ("interrupted",),
    "tls_version": ("tls", "version"),
    "tls_error": ("tls", "error"),
    "certificate_sha256": ("tls", "certificate", "sha256"),
    "stray_plaintext": ("tls", "stray_plaintext"),
    "matches_name": ("tls", "matches_name"),
}
# What the wire says of a greeting that never became complete is the survey's affair.
_WHOLE_GREETING = ("greeting_code", "greeting")
_DEAD = ("refused", "excluded")


class RecordsError(LabError):
    """A file of JSON lines that cannot be read; the message names file, line and reason."""


@attrs.frozen
class Mismatch:
    """One fact that a survey got wrong; ``got`` comes from the wire."""

    ip: str
    field: str
    expected: object
    got: object


@attrs.define
class Comparison:
    """What became of a comparison. ``points`` is the largest error of a product's share, in per cent points."""

    live: int = 0
    found: int = 0
    points: float = 0.0
    hidden_right: int = 0
    hidden_wrong: int = 0
    hidden: int = 0
    mismatches: list[Mismatch] = attrs.field(factory=list)

    @property
    def good(self) -> bool:
        """Whether the survey found everything, and nothing else."""
        return not self.mismatches

    def summary(self) -> str:
        """Say it in one line."""
        line = f"{self.found} of {self.live} live servers found, shares within {self.points:.2f} points"
        if self.hidden:
            line += f"; of {self.hidden} hidden {self.hidden_right} named rightly, {self.hidden_wrong} wrongly"
        return line


def read_records(file: Path, *needed: str) -> Iterator[Record]:
    """Read JSON lines, objects that have the ``needed`` keys. Raises :class:`RecordsError`."""
    number = 0
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                record = msgspec.json.decode(line, type=Record)
                for key in needed:
                    if key not in record:
                        raise RecordsError(f"{file}: line {number}: no {key!r}")
                yield record
    except OSError as error:
        raise RecordsError(f"{file}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise RecordsError(f"{file}: line {number}: {error}") from error


def compare(truth: Iterable[Record], feed: Iterable[Record]) -> Comparison:
    """Compare the items of a feed with the truth: each live host once and right, no dead host reported alive."""
    hosts = {_key(record): record for record in truth}
    result = Comparison(live=len(hosts))
    seen: Counter[Key] = Counter()
    shares_true: Counter[str] = Counter(host["product"] for host in hosts.values() if host["named"] or host["hidden"])
    shares_found: Counter[str] = Counter()
    for item in feed:
        key = _key(item)
        host = hosts.get(key)
        if host is None:
            if item.get("outcome") not in _DEAD:
                result.mismatches.append(Mismatch(key[0], "outcome", "refused", item.get("outcome")))
            continue
        seen[key] += 1
        if seen[key] == 1:
            result.mismatches += _wrong_facts(host, item)
            _compare_software(result, host, item.get("software") or {})
            if (host["named"] or host["hidden"]) and item.get("software"):
                shares_found[str(item["software"].get("product"))] += 1
    result.found = len(seen)
    for key in hosts:
        if seen[key] != 1:
            result.mismatches.append(Mismatch(key[0], "items", 1, seen[key]))
    result.points = _largest_error(shares_true, shares_found)
    return result


def _key(record: Record) -> Key:
    return (str(record["ip"]), int(record["port"]))


def _wrong_facts(host: Record, item: Record) -> Iterator[Mismatch]:
    for field, path in FACTS.items():
        if field not in host or (host["outcome"] != "ok" and field in _WHOLE_GREETING):
            continue
        got: Any = item
        for name in path:
            got = got.get(name) if isinstance(got, dict) else None
        if got != host[field]:
            yield Mismatch(host["ip"], field, host[field], got)


def _compare_software(result: Comparison, host: Record, software: Record) -> None:
    """Judge the verdict: it must be right where the name is shown, and is only counted where it is hidden."""
    right = software.get("vendor") == host["vendor"] and software.get("product") == host["product"]
    if host["hidden"]:
        result.hidden += 1
        result.hidden_right += right
        result.hidden_wrong += bool(software) and not right
    elif host["named"]:
        if not right:
            expected = f"{host['vendor']} {host['product']}"
            got = f"{software.get('vendor')} {software.get('product')}" if software else None
            result.mismatches.append(Mismatch(host["ip"], "software", expected, got))
        elif host["shows_version"] and software.get("version") != host["version"]:
            result.mismatches.append(Mismatch(host["ip"], "version", host["version"], software.get("version")))


def _largest_error(true: Mapping[str, int], found: Mapping[str, int]) -> float:
    """Give the largest difference of a product's share among those with a name, in per cent points."""
    all_true, all_found = sum(true.values()) or 1, sum(found.values()) or 1
    return max(
        (100 * abs(true.get(name, 0) / all_true - found.get(name, 0) / all_found) for name in {*true, *found}),
        default=0.0,
    )
