"""How columns and cells read to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpsurvey.report.text import shown

if TYPE_CHECKING:
    from smtpsurvey.analysis.table import Cell

_HEADINGS = {
    "asn": "AS",
    "starttls": "STARTTLS",
    "matches_name": "Fits the name",
    "share_of_tls": "Share of TLS",
    "since": "Since survey",
    "asns": "In AS",
    "ases": "ASes",
}
_UNKNOWN = {
    "product": "not identified",
    "vendor": "not identified",
    "version": "not told",
    "family": "not told",
    "starttls": "not measured",
    "source": "no source",
    "reason": "—",
    "trust_error": "—",
    "matches_name": "no name to fit",
    "error": "broke off before the handshake",
    "key": "not readable",
    "weakness": "none found",
}
_COUNTS = frozenset(("hosts", "targets", "contacted", "recorded", "keys", "certificates", "names", "issuing", "ases"))
_SMALL = 0.0001


def heading(column: str) -> str:
    """Give the heading of a column."""
    return _HEADINGS.get(column) or column.replace("_", " ").capitalize()


def is_number(column: str) -> bool:
    """Tell whether a column holds counts or shares."""
    return column in _COUNTS or is_share(column)


def is_share(column: str) -> bool:
    """Tell whether a column holds shares."""
    return column.startswith("share_of_")


def words(column: str, value: Cell) -> str:
    """Write one cell for people: counts with separators, shares in percent, wire text visible and cut."""
    if value is None:
        return "—" if is_share(column) else _UNKNOWN.get(column, "unknown")
    if is_share(column):
        return percent(float(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column == "asn":
        return f"AS{value}"
    if column == "started":
        return moment(str(value))
    return f"{value:,}" if is_number(column) else shown(str(value))


def percent(share: float) -> str:
    """Write a share; a small one never reads as none."""
    if 0 < share < _SMALL:
        return "< 0.01 %"
    return f"{100 * share:.2f} %"


def moment(time: str) -> str:
    """Write a time of the store (ISO 8601 in UTC) to the minute."""
    return shown(time[:16].replace("T", " "))
