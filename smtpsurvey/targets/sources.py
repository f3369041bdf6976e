"""What a source of targets is, and which there are: ``SCHEME:ARGUMENT`` to a class, imported when it is asked for.

A source is a class made as ``Source(argument, report)``. It has a ``label`` (``"zone:com.txt.gz"``, what the sources
table calls it) and ``blocks()``, which yields :class:`Block` after block, a bounded piece of what it found each, so
that memory does not grow with its input. Making one checks what can be checked at once (that the file is there).
"""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import attrs

from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from smtpsurvey.items import Target
    from smtpsurvey.kinds import ReceivedItem
    from smtpsurvey.targets.address import Span
    from smtpsurvey.targets.lines import HostName

SOURCES = {
    "list": "smtpsurvey.targets.list_source:ListSource",
    "dnsbl": "smtpsurvey.targets.dnsbl:DnsblSource",
    "received": "smtpsurvey.targets.received:ReceivedSource",
    "zone": "smtpsurvey.targets.zone:ZoneSource",
    "ptr": "smtpsurvey.targets.ptr:PtrSource",
    "boundaries": "smtpsurvey.targets.boundaries:BoundariesSource",
    "random": "smtpsurvey.targets.random_addresses:RandomSource",
    "domains": "smtpsurvey.targets.domains:DomainsSource",
}
"""Scheme to ``module:class``."""

TOLD = 1000
"""Bad lines shown one by one; the rest is counted."""


@attrs.frozen
class ZoneSize:
    """How many domains are registered under a top-level domain (``com``) on a date (``YYYY-MM-DD``)."""

    zone: str
    date: str
    domains: int


@attrs.define(eq=False)
class Block:
    """A piece of what a source found; any of these, the rest left out.

    ``v4``: IPv4 addresses as numbers in host byte order, in any order, repeats allowed (a million or so at most).
    ``spans``: CIDRs and ranges of either family, not expanded. ``targets``: what has a name, tag, port or an IPv6
    address, and host names to look up. ``domains``: registered domains, lower-case A-labels without the last dot.
    ``domains_file``: a Parquet file in ``options.work`` with one text column ``domain`` of such names, each once, for
    a source that makes them by the million; the mill reads it after the source has ended. ``received`` and
    ``zone_sizes``: what is no target and goes to files of its own.
    """

    v4: NDArray[np.uint32] | None = None
    spans: list[Span] = attrs.field(factory=list)
    targets: list[Target | HostName] = attrs.field(factory=list)
    domains: list[str] = attrs.field(factory=list)
    domains_file: Path | None = None
    received: list[ReceivedItem] = attrs.field(factory=list)
    zone_sizes: list[ZoneSize] = attrs.field(factory=list)


@attrs.frozen
class Options:
    """What the command says to all sources.

    ``work`` is a folder for files of their own, removed at the end. ``survey`` is the label of ``--survey`` (``""``:
    none), ``seed`` that of the permutations, ``as_map`` the path of SMTPSURVEY_AS_MAP, ``allow`` the CIDRs that are
    targets although reserved.
    """

    work: Path
    seed: int = 0
    survey: str = ""
    as_map: str | None = None
    allow: tuple[str, ...] = ()


class Report:
    """Where sources say what they met; :attr:`counts` and :attr:`bad_lines` add up over all of them."""

    def __init__(self, options: Options, tell: Callable[[str], object]) -> None:
        """``tell`` gets the first 1,000 bad lines, each as ``FILE:LINE: reason``."""
        self.options = options
        self.counts: Counter[str] = Counter()
        self.bad_lines = 0
        self.broken: list[str] = []
        self._tell = tell

    def bad(self, file: str, line: int, reason: str) -> None:
        """Tell and count a line (from 1) that is not understood; the source goes on behind it."""
        self.bad_lines += 1
        if self.bad_lines <= TOLD:
            self._tell(f"{file}:{line}: {reason}")

    def count(self, name: str, number: int = 1) -> None:
        """Count something else worth a line in the summary, like ``"messages read"``."""
        self.counts[name] += number

    def broke(self, reason: str) -> None:
        """Tell in one line (``FILE: the archive is truncated``) that an input ended early.

        What came before it is kept and the other sources are read, but the command ends with status 1.
        """
        self.broken.append(reason)
        self._tell(reason)


class Source(Protocol):
    """What :data:`SOURCES` names."""

    label: str

    def __init__(self, argument: str, report: Report) -> None:
        """Take what follows ``SCHEME:``; raises :class:`~smtpsurvey.errors.SurveyError` in one line."""

    def blocks(self) -> Iterator[Block]:
        """Yield what it found. Raises :class:`~smtpsurvey.errors.SurveyError` when nothing can be read at all."""


def open_source(text: str, report: Report) -> Source:
    """Make the source that ``SCHEME:ARGUMENT`` asks for; raises :class:`~smtpsurvey.errors.SurveyError`."""
    scheme, colon, argument = text.partition(":")
    if scheme not in SOURCES or not colon or not argument:
        raise SurveyError(f"{text!r} is no source; sources are {', '.join(f'{name}:…' for name in SOURCES)}")
    module, _, name = SOURCES[scheme].partition(":")
    made: Source = getattr(import_module(module), name)(argument, report)
    return made
