"""``scrapy asmap build`` and ``scrapy asmap lookup``: make an AS map, and ask it."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING

from scrapy.exceptions import UsageError

from smtpsurvey.admission import AdmissionError
from smtpsurvey.command import SurveyCommand

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from smtpsurvey.admission.asmap import Origin

TOLD = 100  # bad lines shown one by one; the rest is counted


class Command(SurveyCommand):
    """Builds AS maps from routing tables and the RIRs' files, and looks addresses up."""

    def syntax(self) -> str:
        """Return the arguments."""
        return "build IN... --out FILE | lookup ADDRESS... [--map FILE]"

    def short_desc(self) -> str:
        """Return what the list of commands says."""
        return "Build an AS map, or look addresses up in one"

    def long_desc(self) -> str:
        """Return what the help page says."""
        return (
            "build: read routing tables (MRT RIB, CAIDA pfx2as, pyasn .dat) and delegated-extended files of the RIRs, "
            "plain, gzip or bzip2, and write one MMDB file for SMTPSURVEY_AS_MAP. lookup: print, tab-separated, "
            "address, announced prefix, AS (all of a multi-origin prefix, AS sets in braces), country, whether "
            "the address is opted out (SMTPSURVEY_OPTOUT) or reserved, and its holder where the map knows it."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add --out and --map."""
        super().add_options(parser)
        parser.add_argument("--out", metavar="FILE", help="the map to write")
        parser.add_argument("--map", metavar="FILE", help="the map to ask (default: SMTPSURVEY_AS_MAP)")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Build or look up."""
        for arg in args:
            if arg.startswith("-"):
                raise UsageError(f"unknown option {arg}")
        try:
            match args:
                case ["build", _, *_]:
                    self._build(args[1:], opts.out)
                case ["lookup", _, *_]:
                    self._lookup(args[1:], opts.map)
                case _:
                    raise UsageError("say 'build IN... --out FILE' or 'lookup ADDRESS...'")
        except AdmissionError as error:
            self.fail(error)

    def _build(self, paths: list[str], out: str | None) -> None:
        if not out:
            raise UsageError("build needs --out FILE")
        from smtpsurvey.admission.asmap_build import read_all, write_map

        bad = 0

        def tell(line: str) -> None:
            nonlocal bad
            bad += 1
            if bad <= TOLD:
                print(line, file=sys.stderr)

        tables = read_all(paths, tell)
        if bad > TOLD:
            print(f"... and {bad - TOLD} more bad lines", file=sys.stderr)
        if not tables.announced:
            self.fail(f"no announced prefix in {', '.join(paths)} ({bad} bad lines); {out} not written")
            return
        built = write_map(tables.announced, out, tables.held)
        print(f"{out}: {built.prefixes} prefixes of {built.ases} ASes, {bad} bad lines, {built.size / 1e6:.1f} MB")

    def _lookup(self, addresses: Iterable[str], path: str | None) -> None:
        from smtpsurvey.admission.asmap import AsMap
        from smtpsurvey.admission.exclusions import Exclusions, networks_of
        from smtpsurvey.admission.optout import read_optout
        from smtpsurvey.admission.reserved import SPECIAL_PURPOSE

        settings = self.given
        path = path or settings.get("SMTPSURVEY_AS_MAP")
        if not path:
            raise UsageError("lookup needs --map FILE or the setting SMTPSURVEY_AS_MAP")
        as_map = AsMap(path)
        optout = settings.get("SMTPSURVEY_OPTOUT")
        opted_out = Exclusions((), (), read_optout(optout, with_as_map=True) if optout else ())
        reserved = Exclusions(SPECIAL_PURPOSE, networks_of("SMTPSURVEY_ALLOW", settings.getlist("SMTPSURVEY_ALLOW")))
        for text in addresses:
            try:
                ip = str(ip_address(text))
                found, details = as_map.lookup(ip), as_map.details(ip)
                out = opted_out.of_target(ip, None) or opted_out.of_origins(found.origins)
                special = reserved.of_target(ip, None)
            except (ValueError, OSError):
                self.fail(f"{text!r} is no IPv4 or IPv6 address")
                continue
            print(
                ip,
                found.prefix or "-",
                ",".join(map(_origin, details.origins)) or "-",
                found.country or "-",
                f"opted out: {out or 'no'}",
                f"reserved: {special or 'no'}",
                *([f"holder: {details.holder}"] if details.holder else []),
                sep="\t",
            )


def _origin(origin: Origin) -> str:
    return f"AS{origin}" if isinstance(origin, int) else f"{{{','.join(f'AS{asn}' for asn in origin)}}}"
