"""``scrapy crawl smtp -a targets=FILE`` or ``-a domains=FILE``: the survey itself."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred

from smtpsurvey.admission.gate import Gate
from smtpsurvey.dns.addresses import Hosts
from smtpsurvey.dns.exchanges import Exchanges
from smtpsurvey.dns.lines import NameLines
from smtpsurvey.dns.mx import MailExchanges
from smtpsurvey.dns.tlsa import TlsaRecords
from smtpsurvey.errors import SurveyError
from smtpsurvey.items import DEFAULT_PORT
from smtpsurvey.probe.connections import Connections
from smtpsurvey.probe.dane import DaneCheck
from smtpsurvey.probe.domains import DomainEntries
from smtpsurvey.probe.entries import TargetEntries, checked_name
from smtpsurvey.probe.feed import ListFeed
from smtpsurvey.probe.handshakes import Handshakes
from smtpsurvey.probe.prober import Prober
from smtpsurvey.probe.recorder import Recorder
from smtpsurvey.probe.setup import connections_allowed, identity_of, probes_of
from smtpsurvey.spider import SurveySpider, read_shard, read_switch, readable
from smtpsurvey.targets.lines import TargetLines

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpsurvey.dns.resolver import Resolver
    from smtpsurvey.items import Observation, Target
    from smtpsurvey.probe.ledger import Ledger

MAX_DIGITS = 5  # of a port


@attrs.frozen
class ListOptions:
    """Which list, and how to read it. ``shard`` is (index from 0, count); ``domains``: it does not hold targets."""

    path: str
    source: str
    port: int
    strict: bool = False
    shard: tuple[int, int] | None = None
    domains: bool = False


class SmtpSpider(SurveySpider):
    """Probes every target of a list once, or every exchange of a list of domains."""

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
        domains: str = "",
        sni: str | int = 1,
        connections: str | int = 1,
        dane: str | int = 0,
        **kwargs: Any,
    ) -> None:
        """Take the arguments of ``-a`` (docs/usage/survey.md); they are checked when the survey starts."""
        super().__init__(survey, **kwargs)
        self.feed: ListFeed | None = None
        self.prober: Prober | None = None
        self._targets, self._domains = targets, domains
        path = targets or domains
        self._source = readable(source or ("stdin" if path == "-" else Path(path).name))
        self._given = {"port": str(port), "tls": str(tls), "record": record, "strict": str(strict), "shard": shard}
        self._given |= {"sni": str(sni), "connections": str(connections), "dane": str(dane)}
        self._dane: DaneCheck | None = None

    def estimate(self) -> int | None:
        """Give the number of targets, or domains, in the list."""
        return self.feed.estimate() if self.feed is not None else None

    @property
    def in_flight(self) -> int:
        """Connections at the moment."""
        return self.prober.in_flight if self.prober is not None else 0

    def must_wait(self) -> bool:
        """Say whether nothing new may be begun: also when too many observations wait for DNS."""
        return super().must_wait() or (self._dane is not None and self._dane.must_wait)

    async def survey_all(self) -> None:
        """Run the survey."""
        from twisted.internet import reactor  # noqa: PLC0415 - Scrapy installs it first

        crawler, settings = self.crawler, self.crawler.settings
        processor, options = self.take_processor(), self._options()
        identity, hooks = identity_of(settings), processor.admit_hooks
        handshakes = Handshakes.read(**{name: str(self._given[name]) for name in ("tls", "sni", "connections")})
        probes = probes_of(settings, reactor, handshakes)
        same = ("port", "tls", "record", "shard", "sni", "connections", "dane")
        arguments = {name: str(self._given[name]) for name in same}
        ledger = self.take_up("domains" if options.domains else "targets", options.path, arguments)
        resolver = self._resolver()
        connections = Connections(self._recorder(resolver, ledger), self._again, probes, handshakes.second)
        prober = self.prober = Prober(
            reactor,
            probes[0],
            Gate(hooks if identity.complete else [identity.admit, *hooks]),
            connections,
            concurrency=connections_allowed(settings),
            hold=self.must_wait,
            choose=connections.probe,
        )
        processor.before_close += [prober.end, connections.end]
        if self._dane is not None:
            processor.before_close.append(self._dane.end)
        if options.domains:
            await self._survey_domains(prober, options, ledger, resolver, identity.check)
        else:
            hosts = Hosts(resolver)
            processor.before_close.append(hosts.stop)
            if self._dane is not None:
                await maybe_deferred_to_future(Deferred.fromCoroutine(hosts.start()))
            entries = TargetEntries(options.path, hosts, crawler.stats, ledger, options.shard)
            lines_of = partial(TargetLines, options.path, options.source, options.port)
            self.feed = ListFeed(options.path, lines_of, crawler.stats, strict=options.strict)
            await self.feed.run(prober, entries, lambda entry: identity.check(checked_name(entry)))

    def _recorder(self, resolver: Resolver, ledger: Ledger | None) -> Callable[[Observation], None]:
        recorder = Recorder(self.survey, self.processor, self.crawler.stats, ledger, everything=self._everything())
        if not read_switch("dane", self._given["dane"]):
            return recorder
        if self._given["tls"] == "0":
            raise SurveyError("dane=1 compares what TLS shows: it needs tls=1 or tls=legacy")
        self._dane = DaneCheck(TlsaRecords(resolver), recorder)
        return self._dane

    def _again(self, target: Target) -> None:
        assert self.prober is not None  # noqa: S101 - it has seen the target
        self.prober.add(target)

    async def _survey_domains(
        self,
        prober: Prober,
        options: ListOptions,
        ledger: Ledger | None,
        resolver: Resolver,
        check: Callable[[str], object],
    ) -> None:
        stats, processor = self.crawler.stats, self.processor
        exchanges = Exchanges.of(self.crawler.settings, resolver)
        mail = MailExchanges(resolver, exchanges, self.survey, options.source)
        entries = DomainEntries(mail, processor.submit, options.port, ledger, options.shard)

        async def end() -> None:
            entries.stop()
            await maybe_deferred_to_future(resolver.stop())
            exchanges.tell(stats)

        processor.before_close.append(end)
        self.feed = ListFeed(options.path, partial(NameLines, options.path), stats, strict=options.strict)
        await maybe_deferred_to_future(resolver.start())
        await self.feed.run(prober, entries, lambda entry: check(entry.name))

    def _resolver(self) -> Resolver:
        from twisted.internet import reactor  # noqa: PLC0415 - Scrapy installs it first

        from smtpsurvey.dns.setup import resolver_of  # noqa: PLC0415 - Scrapy imports every spider for each

        return resolver_of(self.crawler.settings, reactor, self.crawler.stats)

    def _options(self) -> ListOptions:
        if bool(self._targets) == bool(self._domains):
            fault = "both targets and domains" if self._targets else "no targets"
            raise SurveyError(f"{fault}: give -a targets=FILE, or - for standard input, or -a domains=FILE")
        port = self._given["port"]
        if not (port and port.isdecimal() and len(port) <= MAX_DIGITS and 0 < int(port) < 1 << 16):
            raise SurveyError(f"port={port!r} is no port (1 to 65535)")
        strict, shard = read_switch("strict", self._given["strict"]), read_shard(self._given["shard"])
        path = self._targets or self._domains
        return ListOptions(path, self._source, int(port), strict, shard, bool(self._domains))

    def _everything(self) -> bool:
        record = self._given["record"]
        if record not in ("accepted", "all"):
            raise SurveyError(f"record={record!r} is neither accepted nor all")
        return record == "all"
