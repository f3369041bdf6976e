"""Parked domains: registered, but with nothing behind them but a landlord's page or a redirect to it.

What a top-level page answered is compared with what parking services do; name servers and exchanges of such services
count as well. Counts of a sample give the estimate for its zone.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from html.parser import HTMLParser
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from smtpsurvey.analysis.sampling import wilson
from smtpsurvey.analysis.table import Row, Table, ranked, regroup, share

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

MAX_LICENCES = 10  # of a page
MAX_HREF = 200  # characters of a licence's address
_SHORT = re.compile(r"/[A-Za-z0-9?=&_-]{1,24}/?")
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


class Page(NamedTuple):
    """What is known of a domain: its page, and the names of its name servers and exchanges, in lower case.

    ``status`` and ``location`` are those of the answer, ``None`` where there was none; ``body`` may be cut short.
    """

    domain: str
    status: int | None
    location: str | None
    body: str
    name_servers: tuple[str, ...] = ()
    exchanges: tuple[str, ...] = ()


class Parking(NamedTuple):
    """Who parks a domain (``None`` where the sign tells no name), and what tells it."""

    service: str | None
    evidence: str


@cache
def services() -> Mapping[str, Mapping[str, str]]:
    """Give the services by the names of their hosts, name servers and exchanges (data/parking.toml)."""
    data = tomllib.loads((files(__package__) / "data" / "parking.toml").read_text("utf-8"))
    return {
        kind: {name: service["name"] for service in data["services"] for name in service.get(kind, ())}
        for kind in ("hosts", "name_servers", "exchanges")
    }


def parking(page: Page) -> Parking | None:
    """Tell whether a domain is parked, and by which sign; ``None`` if none says so.

    In order: a redirect to the same domain plus one short identifier, as GoDaddy's parking did in 2008; a redirect to
    a parking host; a frame or script of such a host on the page; name servers, then exchanges of such a service.
    """
    if page.status in _REDIRECTS and page.location:
        target = _split(page.location)
        host = target[0]
        if host in {"", page.domain, f"www.{page.domain}"} and page.status == 302 and _SHORT.fullmatch(target[1]):  # noqa: PLR2004
            return Parking(None, "redirect_to_identifier")
        service = _service("hosts", host)
        if service is not None:
            return Parking(service, "redirect_to_host")
    for host in _loaded(page.body):
        service = _service("hosts", host)
        if service is not None:
            return Parking(service, "page")
    for kind, names in (("name_servers", page.name_servers), ("exchanges", page.exchanges)):
        for name in names:
            service = _service(kind, name)
            if service is not None:
                return Parking(service, kind)
    return None


def licences(body: str) -> list[str]:
    """Give the addresses of the licences that a page names with ``rel=license``, each once, ten at most."""
    return list(dict.fromkeys(_read(body).licences))[:MAX_LICENCES]


def parked(found: Counter[Parking | None], zones: Mapping[str, tuple[int, int, int]]) -> Table:
    """Parked domains (``hosts``) by sign and service; then, for each zone, the estimate for all of it.

    ``zones`` gives for each zone its size, and how many of a random sample of it were fetched, and found parked. Its
    rows have the interval of the total at 95 %.
    """
    whole = found.total()
    signs = {key: hosts for key, hosts in found.items() if key is not None}
    rows: list[Row] = [
        ("sign", evidence, service, hosts, share(hosts, whole), None, None)
        for (evidence, service), hosts in ranked(regroup(signs, lambda each: (each.evidence, each.service)))
    ]
    rows.append(("all", None, None, sum(signs.values()), share(sum(signs.values()), whole), None, None))
    for zone, (size, fetched, hits) in sorted(zones.items()):
        interval = wilson(hits, fetched)
        if interval is not None:
            total = interval.times(size)
            rows.append(
                ("zone", zone, None, *(round(value) for value in total[:1]), interval.estimate, *map(round, total[1:]))
            )
    labels = ("row", "evidence", "service")
    return Table("parked", labels, ("hosts", "share_of_fetched", "low", "high"), tuple(rows))


def licence_table(pages: Counter[str], fetched: int) -> Table:
    """Pages (``hosts``) by the licence they name."""
    rows = tuple((licence, hosts, share(hosts, fetched)) for licence, hosts in ranked(pages))
    return Table("licences", ("licence",), ("hosts", "share_of_fetched"), rows)


def _service(kind: str, name: str) -> str | None:
    table = services()[kind]
    name = name.lower().rstrip(".")
    while name:
        if name in table:
            return table[name]
        name = name.partition(".")[2]
    return None


def _split(location: str) -> tuple[str, str]:
    """Give host and path with query of an address; nothing for what is none."""
    try:
        parts = urlsplit(location.strip())
        return (parts.hostname or "").lower(), parts.path + (f"?{parts.query}" if parts.query else "")
    except ValueError:
        return "", ""


class _Page(HTMLParser):
    """Collects what a page loads, and which licences it names."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.loaded: list[str] = []
        self.licences: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in {"iframe", "frame", "script"} and (source := given.get("src")):
            self.loaded.append(source)
        if tag in {"a", "link", "area"} and "license" in (given.get("rel") or "").lower().split():
            href = (given.get("href") or "").strip()[:MAX_HREF]
            if href:
                self.licences.append(href)


def _read(body: str) -> _Page:
    page = _Page()
    page.feed(body)
    page.close()
    return page


def _loaded(body: str) -> list[str]:
    return [host for source in _read(body).loaded if (host := _split(source)[0])]
