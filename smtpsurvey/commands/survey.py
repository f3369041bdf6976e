"""``scrapy survey``: a whole survey in one command, in as many processes as there are cores."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text
from scrapy.exceptions import UsageError
from scrapy.utils.conf import arglist_to_dict

from smtpsurvey.command import SurveyCommand
from smtpsurvey.extensions.manifest import Manifest, read_manifest
from smtpsurvey.extensions.progress import Meter
from smtpsurvey.extensions.summary import Counts

if TYPE_CHECKING:
    import argparse

RATES = ("SMTPSURVEY_RATE", "SMTPSURVEY_PREFIX_RATE", "SMTPSURVEY_AS_RATE")
LOOK_EVERY = 0.5  # seconds
LAB_HOSTS = 60_000
LAB_PORT = 2525
# The lab is ours alone: no manners, and no patience for its silent hosts.
LAB_SETTINGS = {
    "SMTPSURVEY_ALLOW": "127.0.0.0/8",
    "SMTPSURVEY_RATE": "1000000",
    "SMTPSURVEY_PREFIX_RATE": "1000000",
    "SMTPSURVEY_AS_RATE": "1000000",
    "SMTPSURVEY_TIMEOUTS": '{"connect": 2, "greeting": 4, "reply": 3, "tls": 3, "total": 12}',
}


class Command(SurveyCommand):
    """Run ``scrapy crawl smtp``, then the report; without targets, on the lab."""

    requires_project = True

    def syntax(self) -> str:
        """Arguments."""
        return "[-a targets=FILE] [-a NAME=VALUE …] [-s NAME=VALUE …] [-O FILE] [--procs N]"

    def short_desc(self) -> str:
        """One line for ``scrapy -h``."""
        return "Survey a list of targets, or the lab, from start to report"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add our options."""
        super().add_options(parser)
        add = parser.add_argument
        add("-a", dest="spargs", action="append", default=[], metavar="NAME=VALUE", help="argument of the smtp spider")
        add("-O", "--output", metavar="FILE", help="feed in JSON lines, overwritten")
        add(
            "--procs", type=int, default=1, metavar="N", help="processes, each with its part of the targets (default 1)"
        )
        add("--dir", default="run", metavar="DIR", help="folder for manifests, logs and the lab (default run)")
        add("--report", default="report", metavar="DIR", help="folder of the report (default report)")
        add("--port", type=int, default=LAB_PORT, metavar="N", help="port of the lab's servers (default %(default)s)")
        add("--hosts", type=int, default=LAB_HOSTS, metavar="N", help="addresses of the lab (default %(default)s)")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Survey, check (the lab), report."""
        if args or opts.procs < 1:
            raise UsageError
        try:
            arguments = arglist_to_dict(opts.spargs)
        except ValueError:
            raise UsageError("Invalid -a value, use -a NAME=VALUE", print_help=False) from None
        folder = Path(opts.dir)
        folder.mkdir(parents=True, exist_ok=True)
        settings = [part for value in opts.set for part in ("-s", value)]
        if "targets" in arguments:
            settings += self._divided(opts.procs)
            self.exitcode = survey(arguments, settings, folder, opts.output, opts.procs)
            labels = [arguments["survey"]] if "survey" in arguments else []
        else:
            self.exitcode = self._lab(arguments, settings, folder, opts)
            labels = ["lab"]
        if self.exitcode == 0 and self.databases():
            label = labels[0] if labels else read_manifests(folder, opts.procs)[0].survey
            self.exitcode = scrapy("report", "--survey", label, "--out", opts.report, *settings)

    def _divided(self, procs: int) -> list[str]:
        """Give each process its part of the rates, so that together they keep to them."""
        parts = []
        for name in RATES:
            try:
                parts += ["-s", f"{name}={float(self.given[name]) / procs:g}"]
            except (TypeError, ValueError):
                parts += ["-s", f"{name}={self.given[name]}"]  # the crawl says what is wrong with it
        return parts if procs > 1 else []

    def _lab(self, arguments: dict[str, str], settings: list[str], folder: Path, opts: argparse.Namespace) -> int:
        """Survey the simulated Internet, and compare with its truth."""
        try:
            with socket.create_server(("", opts.port)):
                pass  # nobody else is on any address of this port, whom the lab would take for its own
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            self.fail(f"port {opts.port}: {reason}; give another with --port")
            return 1
        targets, truth, authority, feed = (
            str(folder / name) for name in ("targets.csv", "truth.jsonl", "ca.pem", "feed.jsonl")
        )
        files = ("--targets", targets, "--truth", truth, "--ca", authority)
        serve = ("lab", "--hosts", str(opts.hosts), "--port", str(opts.port), *files)
        lab = subprocess.Popen(command(*serve), stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves
        assert lab.stdout is not None  # noqa: S101 - it is a pipe
        try:
            print(lab.stdout.readline().rstrip())
            if lab.poll() is not None:
                return lab.returncode or 1
            for name, value in (*LAB_SETTINGS.items(), ("SMTPSURVEY_CA_FILE", authority)):
                settings += ["-s", f"{name}={value}"]
                self.given.set(name, value, "cmdline")
            settings += self._divided(opts.procs)
            arguments |= {"targets": targets, "port": str(opts.port), "survey": "lab"}
            status = survey(arguments, settings, folder, opts.output or feed, opts.procs)
            return status or scrapy("lab", "check", "--truth", truth, "--feed", opts.output or feed)
        finally:
            lab.terminate()
            lab.wait()


def command(*args: str) -> list[str]:
    """Give the command line of another ``scrapy`` of this installation."""
    return [sys.executable, "-m", "scrapy", *args]


def scrapy(*args: str) -> int:
    """Run another ``scrapy`` and return its exit status."""
    return subprocess.run(command(*args), check=False).returncode  # noqa: S603 - ourselves


def survey(arguments: dict[str, str], settings: list[str], folder: Path, output: str | None, procs: int) -> int:
    """Crawl in ``procs`` processes; the first exit status that is not 0, or 0."""
    spider = [part for name, value in arguments.items() for part in ("-a", f"{name}={value}")]
    for manifest in folder.glob("manifest-*.json"):
        manifest.unlink()
    crawls = []
    for part in range(1, procs + 1):
        line = command("crawl", "smtp", *spider, *settings, "-s", f"SMTPSURVEY_MANIFEST={manifest_path(folder, part)}")
        if procs == 1:
            line += ["-O", f"{output}:jsonlines"] if output else []
            line += ["-L", "WARNING"]
        else:
            line += ["-O", f"{feed_part(output, part, procs)}:jsonlines"] if output else []
            line += ["-a", f"shard={part}/{procs}", "--logfile", str(folder / f"crawl-{part}.log"), "-L", "INFO"]
        crawls.append(subprocess.Popen(line))  # noqa: S603 - ourselves
    # Ctrl-C reaches the crawls too, which end in good order; we wait for them.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        wait(crawls, folder)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if procs > 1:
        if output:
            join_feeds(output, procs)
        show_sum(folder, procs)
    return next((crawl.returncode for crawl in crawls if crawl.returncode), 0)


def wait(crawls: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait for all, with one progress line for several (one alone shows its own)."""
    console = Console(stderr=True)
    meter = Meter(time.monotonic)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for crawl in crawls:
            while crawl.poll() is None:
                try:
                    crawl.wait(LOOK_EVERY)
                except subprocess.TimeoutExpired:
                    if len(crawls) > 1 and console.is_terminal:
                        manifests = read_manifests(folder, len(crawls))
                        live.update(Text(str(meter.progress(manifests))), refresh=True)


def show_sum(folder: Path, procs: int) -> None:
    """Print the tables of all parts together."""
    manifests = read_manifests(folder, procs)
    if manifests:
        counts = Counts()
        for manifest in manifests:
            counts.add(manifest.counts)
        reasons = sorted({manifest.reason or "still running" for manifest in manifests})
        Console(stderr=True).print(counts.render(manifests[0].survey, ", ".join(reasons)))


def read_manifests(folder: Path, procs: int) -> list[Manifest]:
    """Read the manifests that are there."""
    paths = [manifest_path(folder, part) for part in range(1, procs + 1)]
    return [read_manifest(path) for path in paths if path.exists()]


def manifest_path(folder: Path, part: int) -> Path:
    """Name the manifest of one process."""
    return folder / f"manifest-{part}.json"


def feed_part(output: str | None, part: int, procs: int) -> str:
    """Name the feed of one process."""
    return f"{output}.{part}-of-{procs}"


def join_feeds(output: str, procs: int) -> None:
    """Put the feeds of all processes into one, and remove them."""
    with Path(output).open("wb") as whole:
        for part in range(1, procs + 1):
            path = Path(feed_part(output, part, procs))
            if path.exists():
                with path.open("rb") as feed:
                    shutil.copyfileobj(feed, whole)
                path.unlink()
