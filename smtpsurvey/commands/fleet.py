"""``scrapy fleet``: surveys on many scrapyd nodes."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from scrapy.exceptions import UsageError
from scrapy.utils.conf import arglist_to_dict, closest_scrapy_cfg

from smtpsurvey.command import SurveyCommand
from smtpsurvey.errors import SurveyError
from smtpsurvey.report.text import visible

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from smtpsurvey.fleet.client import NodeClient
    from smtpsurvey.fleet.records import Records, Run
    from smtpsurvey.store.shards import Shards

INTERRUPTED = 130  # what a shell makes of Ctrl-C
WIDE = 200  # columns, where there is no terminal
WATCH = 2.0  # seconds between two tables
TOLD = 10  # shards that are named


class Command(SurveyCommand):
    """Deploys to, runs on, looks at and collects from the nodes of SMTPSURVEY_FLEET."""

    requires_project = True

    def syntax(self) -> str:
        """Return the arguments."""
        return "deploy | run smtp -a targets=FILE [-a NAME=VALUE...] | status [--watch] | collect | stop"

    def short_desc(self) -> str:
        """Return what the list of commands says."""
        return "Run surveys on many hosts with scrapyd"

    def long_desc(self) -> str:
        """Return what the help page says."""
        return (
            "deploy: build the project's egg and give it to all nodes. run: split a list into shards, hand them to the "
            "nodes, follow them and import what they find; the same command goes on when it was killed. status: a "
            "table of all jobs. collect: import what is finished, without waiting. stop: end the jobs of a survey. "
            "The nodes are those of SMTPSURVEY_FLEET, credentials come from netrc or from SCRAPYD_USERNAME and "
            "SCRAPYD_PASSWORD."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add our options."""
        super().add_options(parser)
        add = parser.add_argument_group("the fleet").add_argument
        add("-a", dest="spargs", action="append", default=[], metavar="NAME=VALUE", help="run: argument of the spider")
        add("--shards", type=int, metavar="N", help="run: parts of the list (default 8 for each slot of the nodes)")
        add("--unchecked", action="store_true", help="run: use nodes without asking for their self-test")
        add("--tags", metavar="TAG,TAG...", default="", help="only nodes with one of these tags")
        add("--survey", metavar="LABEL", help="collect, stop: this survey only (default all of the fleet)")
        add("--watch", action="store_true", help="status: show it again and again")
        add("--dir", default="run", metavar="DIR", help="run, collect: folder for what is on its way (default run)")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Do one of these."""
        actions = {
            "deploy": self._deploy,
            "run": self._run,
            "status": self._status,
            "collect": self._collect,
            "stop": self._stop,
        }
        if not args or args[0] not in actions or args[1:] != (["smtp"] if args[0] == "run" else []):
            raise UsageError(f"say one of {', '.join(actions)}; run needs the spider: run smtp")
        try:
            actions[args[0]](opts)
        except SurveyError as error:
            self.fail(error)
        except KeyboardInterrupt:
            print("fleet: broken off; jobs go on, and the same command too", file=sys.stderr)
            self.exitcode = INTERRUPTED

    def _clients(self, opts: argparse.Namespace) -> list[NodeClient]:
        from smtpsurvey.fleet.client import NodeClient
        from smtpsurvey.fleet.config import read_fleet

        tags = [tag for tag in opts.tags.split(",") if tag]
        nodes = read_fleet(Path(self.given["SMTPSURVEY_FLEET"]), tags)
        return [NodeClient(node, self.given["BOT_NAME"]) for node in nodes]

    def _deploy(self, opts: argparse.Namespace) -> None:
        from smtpsurvey.fleet.egg import build_egg
        from smtpsurvey.fleet.screen import ask_all, deploy_to_all, versions_of

        clients = self._clients(opts)
        with tempfile.TemporaryDirectory(prefix="smtpsurvey-egg-") as work:
            egg = build_egg(Path(closest_scrapy_cfg()).resolve().parent, Path(work)).read_bytes()
        version = time.strftime("%Y%m%d%H%M%S", time.gmtime())
        for trouble in deploy_to_all(clients, version, egg):
            self.fail(trouble)
        _console().print(versions_of(ask_all(clients)))

    def _run(self, opts: argparse.Namespace) -> None:
        from smtpsurvey.fleet.orders import Orders
        from smtpsurvey.fleet.screen import Follower, ask_all
        from smtpsurvey.fleet.survey import FleetSurvey, arguments_of, shards_for, working_folder

        try:
            given, settings = arglist_to_dict(opts.spargs), arglist_to_dict(opts.set)
        except ValueError:
            raise UsageError("Invalid -a value, use -a NAME=VALUE", print_help=False) from None
        survey_label = label_of(given.pop("survey", "") or time.strftime("%Y-%m", time.gmtime()))
        arguments, clients = arguments_of(given), self._clients(opts)
        answers = ask_all(clients)
        for answer in answers:
            if answer.trouble:
                self._tell(f"{answer.name}: {answer.trouble}")
        slots, usual = shards_for(answers)
        with self._store() as (shards, records):
            run = records.begin(survey_label, opts.shards, usual, arguments)
            survey = FleetSurvey(shards, records, run, self._tell)
            with working_folder(Path(opts.dir), run) as folder:
                survey.register(self.given)
                targets = survey.split(given["targets"], folder / "shards")
                orders = Orders(run, settings, self.given, folder / "shards")
                orders.slots = slots
                grace = self.given.getfloat("SMTPSURVEY_FLEET_GRACE")
                controller = survey.controller(clients, orders, folder, grace, tested=not opts.unchecked)
                with Follower(controller, run, targets, self._tell) as follower:
                    controller.follow(survey.collector(), follower.show)
                if controller.given_up:
                    named = ", ".join(map(str, sorted(controller.given_up)[:TOLD]))
                    raise SurveyError(
                        f"survey {survey_label}: {len(controller.given_up)} shards failed again and again "
                        f"({named}); the logs of the nodes say why, and the same run tries again"
                    )
                survey.collector().finish()
            shutil.rmtree(folder, ignore_errors=True)
            done = sum(controller.targets.values())
        self._tell(f"survey {survey_label}: {done:,} targets in {run.shards} shards, all imported")

    def _status(self, opts: argparse.Namespace) -> None:
        from smtpsurvey.fleet.screen import ask_all, table_of

        clients = self._clients(opts)
        answers = ask_all(clients)
        if not opts.watch:
            _console().print(table_of(answers))
            self.exitcode = int(any(answer.report is None for answer in answers))
            return
        with suppress(KeyboardInterrupt), Live(table_of(answers), auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(WATCH)
                live.update(table_of(ask_all(clients)), refresh=True)

    def _collect(self, opts: argparse.Namespace) -> None:
        from smtpsurvey.fleet.survey import FleetSurvey, working_folder

        clients = self._clients(opts)
        with self._store() as (shards, records):
            for run in chosen(records, opts.survey):
                with working_folder(Path(opts.dir), run) as folder:
                    came = FleetSurvey(shards, records, run, self._tell).collect(clients, folder)
                left = run.shards - len(records.imported(run.survey))
                self._tell(f"survey {run.survey}: {came} came, {left} of {run.shards} shards are missing")

    def _stop(self, opts: argparse.Namespace) -> None:
        from smtpsurvey.fleet.screen import ask_all
        from smtpsurvey.fleet.survey import cancel_all

        clients = self._clients(opts)
        with self._store() as (_, records):
            for run in chosen(records, opts.survey):
                records.stop(run.survey)
                for trouble in cancel_all(ask_all(clients, run.run)):
                    self.fail(trouble)
                self._tell(f"survey {run.survey}: told to stop")

    @contextmanager
    def _store(self) -> Iterator[tuple[Shards, Records]]:
        from smtpsurvey.fleet.records import Records
        from smtpsurvey.store.shards import Shards

        urls = self.databases()
        if not urls:
            raise SurveyError("SMTPSURVEY_SHARDS is empty: the fleet needs a database")
        shards = Shards(urls, self.given.getint("SMTPSURVEY_TABLES_PER_SHARD"))
        try:
            shards.create()
            yield shards, Records(shards)
        finally:
            shards.dispose()

    def _tell(self, line: str) -> None:
        print(f"fleet: {visible(line)}", file=sys.stderr, flush=True)


def _console() -> Console:
    """Print tables as wide as the terminal; elsewhere a line stays a line."""
    return Console() if sys.stdout.isatty() else Console(width=WIDE)


def label_of(text: str) -> str:
    """Check a survey's label."""
    from smtpsurvey.store.checks import BadItemError, label

    try:
        return label(text)
    except BadItemError as error:
        raise SurveyError(error) from None


def chosen(records: Records, survey: str | None) -> list[Run]:
    """Give the runs that are asked for: one, or all that the store knows."""
    found = [run for run in records.runs() if survey in (None, run.survey)]
    if not found:
        raise SurveyError("the store knows no survey of the fleet" + (f" called {survey}" if survey else ""))
    return found
