"""``scrapy citizen``: the page for the host that probes, opt-outs as they come in, and a look before the start."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from scrapy.exceptions import UsageError

from smtpsurvey.command import SurveyCommand
from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    import argparse

    from smtpsurvey.citizen.requests import Request


class Command(SurveyCommand):
    """Helps a surveyor to be a good citizen."""

    def syntax(self) -> str:
        """Return the arguments."""
        return "page --range CIDR [--mail ADDRESS] | optout FILE... [--append FILE] | check [--address ADDRESS]"

    def short_desc(self) -> str:
        """Return what the list of commands says."""
        return "Write the page of a survey, take in opt-outs, check identity and rates"

    def long_desc(self) -> str:
        """Return what the help page says."""
        return (
            "page: write the web page of the host that probes, from SMTPSURVEY_HELO, SMTPSURVEY_CONTACT and rates. "
            "optout: read requests (a mail, an mbox, a Maildir, or forms) and print lines for SMTPSURVEY_OPTOUT, or "
            "append to it those that are new. check: is the identity real, is the page reachable, are the rates sane? "
            "The exit status is 1 if not."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add our options."""
        super().add_options(parser)
        group = parser.add_argument_group("citizen")
        group.add_argument("--range", metavar="CIDR", action="append", default=[], help="a range we probe from (page)")
        group.add_argument("--mail", metavar="ADDRESS", help="where opt-outs are sent (page; default: the contact)")
        group.add_argument("--form", metavar="URL", help="what takes the opt-out form (page; default: no form)")
        group.add_argument("--out", metavar="FILE", help="where to write the page (default: standard output)")
        group.add_argument("--append", metavar="FILE", help="the opt-out file to add to (optout)")
        group.add_argument(
            "--address", metavar="ADDRESS", action="append", default=[], help="an address we probe from (check)"
        )

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Do one of the three."""
        try:
            match args:
                case ["page"]:
                    self._page(opts)
                case ["optout", _, *_]:
                    self._optout(args[1:], opts.append)
                case ["check"]:
                    self._check(opts.address)
                case _:
                    raise UsageError("say 'page', 'optout FILE...' or 'check'")
        except SurveyError as error:
            self.fail(error)
        except OSError as error:
            self.fail(f"{error.filename}: {error.strerror}")

    def _page(self, opts: argparse.Namespace) -> None:
        from pathlib import Path

        from smtpsurvey.admission.exclusions import networks_of
        from smtpsurvey.citizen.page import Notice, page
        from smtpsurvey.probe.setup import identity_of

        identity = identity_of(self.given)
        if not identity.complete:
            raise SurveyError("SMTPSURVEY_HELO and SMTPSURVEY_CONTACT say who we are; set both")
        if not opts.range:
            raise UsageError("page needs --range CIDR: those who find us in a log look for it")
        contact = str(self.given["SMTPSURVEY_CONTACT"])
        if opts.form and not opts.form.startswith(("http://", "https://")):
            raise UsageError("--form is the URL of a program that takes forms")
        if not opts.mail and "@" not in contact:
            raise UsageError("page needs --mail ADDRESS for opt-outs, as the contact is no mail address")
        rates = [
            self.given.getfloat(name) for name in ("SMTPSURVEY_RATE", "SMTPSURVEY_PREFIX_RATE", "SMTPSURVEY_AS_RATE")
        ]
        ranges = [str(network) for network in networks_of("--range", opts.range)]
        notice = Notice(identity.helo, contact, opts.mail or contact, ranges, (rates[0], rates[1], rates[2]), opts.form)
        if opts.out:
            Path(opts.out).write_text(page(notice), "utf-8")
        else:
            sys.stdout.write(page(notice))

    def _optout(self, paths: list[str], append: str | None) -> None:
        from smtpsurvey.citizen.listing import add
        from smtpsurvey.citizen.requests import read_requests

        def tell(line: str) -> None:
            print("".join(c if c.isprintable() else " " for c in line), file=sys.stderr)

        today = time.strftime("%Y-%m-%d", time.gmtime())
        requests: list[Request] = []
        for path in paths:
            requests += read_requests(path, today, tell)
        if append is None:
            for request in requests:
                print(request.line())
            return
        for line in add(requests, append):
            print(line)

    def _check(self, addresses: list[str]) -> None:
        from ipaddress import ip_address

        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from smtpsurvey.citizen.check import Names, check
        from smtpsurvey.dns.servers import read_servers
        from smtpsurvey.report.text import visible

        try:
            given = [str(ip_address(address)) for address in addresses]
        except ValueError as error:
            raise UsageError(f"--address: {error}") from None
        servers = read_servers(map(str, self.given.getlist("SMTPSURVEY_DNS_SERVERS")))
        table = Table("", "Checked", "Found", box=None, pad_edge=False)
        for finding in check(self.given, given, Names(servers)):
            table.add_row("ok" if finding.good else "BAD", Text(visible(finding.what)), Text(visible(finding.says)))
            self.exitcode |= not finding.good
        Console(highlight=False).print(table)
