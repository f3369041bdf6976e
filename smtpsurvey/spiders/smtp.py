"""``scrapy crawl smtp -a targets=FILE``: the survey itself."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrapy import Spider
from scrapy.exceptions import CloseSpider

from smtpsurvey.admission.gate import Gate
from smtpsurvey.errors import FAILED, SurveyError
from smtpsurvey.extensions.checkpoint import CheckpointExtension, fingerprint
from smtpsurvey.items import DEFAULT_PORT
from smtpsurvey.probe.feed import ListFeed, ListOptions
from smtpsurvey.probe.prober import Prober
from smtpsurvey.probe.recorder import Recorder
from smtpsurvey.probe.setup import connections_allowed, identity_of, probe_of, resolver_of
from smtpsurvey.processor import SurveyItemProcessor
from smtpsurvey.smtp.reply import text_of
from smtpsurvey.targets.shard import parse_shard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smtpsurvey.probe.ledger import Ledger

MAX_WAITING = 20_000  # items that may wait in a pipeline (the store) before nothing new is begun
MAX_DIGITS = 5  # of a port
_SWITCH = {"0": False, "1": True}


class SmtpSpider(Spider):
    """Probes every target of a list once."""

    name = "smtp"

    def __init__(  # noqa: PLR0917 - Scrapy's spider arguments are constructor parameters
        self,
        targets: str = "",
        survey: str | None = None,
        port: str | int = DEFAULT_PORT,
        tls: str | int = 1,
        record: str = "accepted",
        source: str | None = None,
        strict: str | int = 0,
        shard: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the arguments of ``-a`` (docs/usage/survey.md); they are checked when the survey starts."""
        super().__init__(**kwargs)
        self.survey = _readable(survey) if survey else time.strftime("%Y-%m", time.gmtime())
        self.feed: ListFeed | None = None
        self.prober: Prober | None = None
        self._targets = targets
        self._source = _readable(source or ("stdin" if targets == "-" else Path(targets).name))
        self._given = {"port": str(port), "tls": str(tls), "record": record, "strict": str(strict), "shard": shard}

    async def start(self) -> AsyncIterator[Any]:
        """Run the survey; items go straight to the pipelines, so nothing is ever yielded."""
        try:
            await self._run()
        except SurveyError as error:
            self.logger.error("%s", error)  # noqa: TRY400 - one line says it
            raise CloseSpider(FAILED) from None
        return
        yield  # what makes this an asynchronous iterator

    async def _run(self) -> None:
        from twisted.internet import reactor  # noqa: PLC0415 - Scrapy installs it first

        crawler, settings, engine = self.crawler, self.crawler.settings, self.crawler.engine
        processor = engine.scraper.itemproc
        if not isinstance(processor, SurveyItemProcessor):
            raise SurveyError("ITEM_PROCESSOR must be smtpsurvey.processor.SurveyItemProcessor")
        if processor.failure is not None:
            raise SurveyError(processor.failure)
        options = self._options()
        identity, hooks = identity_of(settings), processor.admit_hooks
        ledger = self._take_up(options)
        prober = self.prober = Prober(
            reactor,
            probe_of(settings, reactor, starttls=self._switch("tls")),
            Gate(hooks if identity.complete else [identity.admit, *hooks]),
            Recorder(self.survey, processor, crawler.stats, ledger, everything=self._everything()),
            concurrency=connections_allowed(settings),
            hold=lambda: engine.paused or processor.waiting > MAX_WAITING,
        )
        processor.before_close.append(prober.end)
        self.feed = ListFeed(options, resolver_of(settings), crawler.stats, ledger)
        await self.feed.run(prober, identity.check)

    def _take_up(self, options: ListOptions) -> Ledger | None:
        """Open the checkpoint, where there is a JOBDIR."""
        checkpoint = self.crawler.get_extension(CheckpointExtension)
        if checkpoint is None:
            return None
        if options.path == "-":
            raise SurveyError("JOBDIR: a survey of standard input cannot be taken up again; give a file")
        job = {"survey": self.survey, "targets": options.path, "port": str(options.port)}
        job |= {name: str(self._given[name]) for name in ("tls", "record", "shard")}
        try:
            job["content of the targets file"] = fingerprint(options.path)
        except OSError as error:
            raise SurveyError(f"{options.path}: {error.strerror}") from None
        return checkpoint.open(job)

    def _options(self) -> ListOptions:
        if not self._targets:
            raise SurveyError("no targets: give -a targets=FILE, or - for standard input")
        port = self._given["port"]
        if not (port and port.isdecimal() and len(port) <= MAX_DIGITS and 0 < int(port) < 1 << 16):
            raise SurveyError(f"port={port!r} is no port (1 to 65535)")
        shard = None
        if self._given["shard"] is not None:
            try:
                shard = parse_shard(self._given["shard"])
            except ValueError as error:
                raise SurveyError(str(error)) from None
        return ListOptions(self._targets, self._source, int(port), self._switch("strict"), shard)

    def _switch(self, name: str) -> bool:
        given = self._given[name]
        if given not in _SWITCH:
            raise SurveyError(f"{name}={given!r} is neither 0 nor 1")
        return _SWITCH[given]

    def _everything(self) -> bool:
        record = self._given["record"]
        if record not in ("accepted", "all"):
            raise SurveyError(f"record={record!r} is neither accepted nor all")
        return record == "all"


def _readable(label: str) -> str:
    r"""Show the bytes of a command line that are no UTF-8 as ``\xNN``, as in texts from the wire."""
    return text_of(os.fsencode(label))
