"""How many domains share an address or an AS, as Shue, Kalafut and Gupta asked.

"The Web is Smaller than it Seems", Internet Measurement Conference 2007.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.analysis.table import Row, Table, share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BOUNDS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000, 1_000_000)
"""Where the distributions are read; the paper asks for 10, 100 and 10,000."""


class Hosting(NamedTuple):
    """A distribution: ``mail`` or ``web``, per ``address`` or ``as``, as places by the domains there."""

    service: str
    per: str
    sizes: Mapping[int, int]


def cohosting(hostings: Sequence[Hosting]) -> Table:
    """Places (``hosts``) with so many domains at least, and the domains that are there.

    One minus ``share_of_hosts`` is the distribution function of domains per place just below ``at_least``.
    """
    rows: list[Row] = []
    for service, per, sizes in hostings:
        places = sum(sizes.values())
        domains = sum(size * count for size, count in sizes.items())
        for bound in BOUNDS:
            large = {size: count for size, count in sizes.items() if size >= bound}
            if not large:
                break
            held = sum(size * count for size, count in large.items())
            count = sum(large.values())
            rows.append((service, per, bound, count, share(count, places), held, share(held, domains)))
    measures = ("hosts", "share_of_hosts", "domains", "share_of_domains")
    return Table("cohosting", ("service", "per", "at_least"), measures, tuple(rows))
