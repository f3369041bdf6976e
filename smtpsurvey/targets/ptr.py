"""``ptr:FILE``: addresses to be looked up in reverse; the spider ``ptr`` does that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpsurvey.dns.reverse import AddressLines
from smtpsurvey.targets.list_source import ListSource, SpanLines

if TYPE_CHECKING:
    from smtpsurvey.targets.sources import Report


class PtrSource(ListSource):
    """What ``list:`` reads, except that a host name, which has no reverse name, is a bad line."""

    scheme = "ptr"

    def __init__(self, argument: str, report: Report) -> None:
        """Look whether the file (``-``: standard input) can be read; raises TargetsError."""
        super().__init__(argument, report)
        self._lines = _AddressSpanLines(argument, self._bad)


class _AddressSpanLines(AddressLines, SpanLines):
    """Lines that are addresses, of which CIDRs and ranges stay spans."""
