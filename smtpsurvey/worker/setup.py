"""From a crawler to a worker: the commands, and who executes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.threads import deferToThread

from smtpsurvey.dns.addresses import Hosts
from smtpsurvey.dns.setup import resolver_of
from smtpsurvey.kinds import CapabilitiesItem
from smtpsurvey.worker.capabilities import capabilities
from smtpsurvey.worker.commands import Command, Word
from smtpsurvey.worker.executor import Executor
from smtpsurvey.worker.fetching import Fetcher
from smtpsurvey.worker.lookups import Lookups
from smtpsurvey.worker.pages import Pages
from smtpsurvey.worker.probes import Ownership, Probes, Routes
from smtpsurvey.worker.results import Results, line_of, now
from smtpsurvey.worker.status import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from smtpsurvey.spider import SurveySpider
    from smtpsurvey.worker.executor import Handler


@attrs.frozen
class Worker:
    """An executor, and what has to end when it ends, in this order."""

    executor: Executor
    ends: list[Callable[[], Awaitable[None]]]


def worker_of(spider: SurveySpider, reactor: Any, folder: Path) -> Worker:
    """Put a worker together that keeps fetched files in ``folder``; raises ``SurveyError`` for impossible settings."""
    crawler, settings, processor = spider.crawler, spider.crawler.settings, spider.processor
    results = Results(spider.survey, processor.submit)
    lookups = Lookups(crawler, reactor, results)
    probes = Probes(crawler, reactor, processor, results)
    routes = Routes(crawler, probes.admit, results)
    hosts = Hosts(resolver_of(settings, reactor))
    handlers: dict[Word, Handler] = {}
    executor = Executor(reactor, handlers, spider.must_wait)
    status = Status(reactor, executor, results, str(settings.get("SMTPSURVEY_STATUS_ADDRESS")))

    async def test(command: Command) -> None:
        found = await maybe_deferred_to_future(deferToThread(capabilities, settings))
        results.submit(CapabilitiesItem(results.survey, now(), found.fit, list(found.checks), line_of(command)))

    handlers |= {
        Word.COMMAND_FETCH: Fetcher(crawler, reactor, folder).fetch,
        Word.SERVICE_THREAD: status.serve,
        Word.HEARTBEAT_THREAD: status.beat,
        Word.SMTP_PROBE: probes.probe,
        Word.DEST_AS_CHECK: Ownership(settings, results).check,
        Word.TRACEROUTE: routes.trace,
        Word.MX_LOOKUP: lookups.mx,
        Word.DNS_LOOKUP: lookups.look_up,
        Word.DNS_REVERSE: lookups.look_up,
        Word.IPV6_DNS_LOOKUP: lookups.look_up,
        Word.HTTP_FETCH: Pages(crawler, probes.admit, hosts, results).fetch,
        Word.LOG: results.log,
        Word.CAPABILITIES: test,
    }
    return Worker(executor, [executor.stop, status.end, probes.end, executor.end, routes.end, hosts.stop, lookups.end])
