"""What earlier surveys published: counts of hosts, and of registered domains in .com.

Sources: D. J. Bernstein, "Internet host SMTP server survey" (cr.yp.to/surveys.html), 1996-2001; Credentia's SMTP
surveys, 2002-2003; MailChannels' survey of corporate domains, 2007; the exhaustive surveys of Still and McCreath,
2008-2009, with the zone sizes of their rounds.
"""

from __future__ import annotations

from typing import NamedTuple

from smtpsurvey.analysis.table import Row, Table, share


class Published(NamedTuple):
    """One survey: when (ISO 8601, to the month where no day was given), by whom, and how.

    ``sample`` counts what was asked, ``responses`` what answered.
    """

    date: str
    surveyor: str
    sample: int
    method: str
    responses: int


BERNSTEIN, CREDENTIA, EXHAUSTIVE = "Bernstein", "Credentia", "Still/McCreath"

SURVEYS = (
    Published("1996-11-27", BERNSTEIN, 500_000, "selective random", 25_121),
    Published("1997-08-14", BERNSTEIN, 200_000, "selective random", 8_056),
    Published("1998-05-11", BERNSTEIN, 20_310, "MX walk", 17_592),
    Published("2000-04-22", BERNSTEIN, 12_595, "selective random", 10_087),
    Published("2000-10-25", BERNSTEIN, 25_777, "random", 859),
    Published("2001-09-27", BERNSTEIN, 39_206, "random", 937),
    Published("2002-12-21", CREDENTIA, 4_096, "random", 1_837),
    Published("2003-01-21", CREDENTIA, 30_000, "random", 17_540),
    Published("2003-04-21", CREDENTIA, 37_563, "random", 20_410),
    Published("2007-05-21", "MailChannels", 400_000, "corporate domain names", 254_400),
    Published("2008-01", EXHAUSTIVE, 46_136_113, "exhaustive", 1_973_748),
    Published("2008-04", EXHAUSTIVE, 92_286_998, "exhaustive", 1_609_111),
    Published("2008-07", EXHAUSTIVE, 97_545_668, "exhaustive", 1_579_507),
    Published("2008-10", EXHAUSTIVE, 109_661_889, "exhaustive", 1_801_081),
    Published("2009-01", EXHAUSTIVE, 110_397_428, "exhaustive", 1_916_719),
    Published("2009-04", EXHAUSTIVE, 110_706_130, "exhaustive", 1_925_760),
    Published("2009-10", EXHAUSTIVE, 111_209_212, "exhaustive", 1_800_573),
)
"""In order of their dates."""

ZONES = (
    ("com", "2007-12-19", 71_545_277),
    ("com", "2008-03-29", 74_996_409),
    ("com", "2008-07-14", 76_312_322),
    ("com", "2008-09-29", 77_661_007),
    ("com", "2009-01-01", 78_701_644),
    ("com", "2009-04-01", 80_324_644),
    ("com", "2009-10-02", 82_259_663),
)
"""Zone, date and registered domains, from the table of Still and McCreath."""


def surveys(*own: Published) -> Table:
    """Put surveys of our own beside those published."""
    rows: list[Row] = [
        (each.date, each.surveyor, each.method, each.responses, each.sample, share(each.responses, each.sample))
        for each in sorted((*SURVEYS, *own))
    ]
    measures = ("hosts", "sample", "share_of_sample")
    return Table("surveys", ("date", "surveyor", "method"), measures, tuple(rows))


def zone_sizes(*own: tuple[str, str, int]) -> Table:
    """Put sizes of zones that we counted (zone, date, domains) beside those published, by zone and date.

    The last column says who counted; where both did on the same day, ours stands.
    """
    counted = {(zone, date): (domains, "published") for zone, date, domains in ZONES}
    counted |= {(zone, date): (domains, "counted") for zone, date, domains in own}
    rows = tuple((zone, date, who, domains) for (zone, date), (domains, who) in sorted(counted.items()))
    return Table("zone_sizes", ("zone", "date", "source"), ("domains",), rows)
