"""What the spiders that look up names have in common: a list, a resolver, the driver, items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred

from smtpsurvey.dns.lines import ListedName, NameLines, shard_of_name
from smtpsurvey.dns.lookups import Lookups
from smtpsurvey.errors import SurveyError
from smtpsurvey.probe.feed import ListFeed
from smtpsurvey.spider import SurveySpider, read_shard, read_switch, readable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from smtpsurvey.dns.exchanges import Exchanges
    from smtpsurvey.dns.resolver import Resolver
    from smtpsurvey.items import Target
    from smtpsurvey.kinds import DnsItem, MtaStsItem, MxItem
    from smtpsurvey.probe.feed import Lines
    from smtpsurvey.probe.ledger import Ledger


class LookupSpider(SurveySpider):
    """Looks up every entry of a list; a subclass says what with :meth:`look_up`."""

    words: ClassVar[tuple[str, str]] = ("names", "ok")
    list_argument: ClassVar[str]
    """The argument of ``-a`` that names the list."""

    resolver: Resolver
    ledger: Ledger | None = None
    exchanges: Exchanges | None = None  # where a subclass needs them

    def __init__(
        self,
        path: str,
        survey: str | None = None,
        source: str | None = None,
        strict: str | int = 0,
        shard: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the list's ``path`` and arguments of ``-a``; they are checked when the survey starts."""
        self.path = path
        super().__init__(survey, **kwargs)
        self.source = readable(source or ("stdin" if self.path == "-" else Path(self.path).name))
        self._strict = strict
        self._shard = shard
        self._feed: ListFeed | None = None
        self._lookups: Lookups[Any] | None = None

    def prepare(self) -> dict[str, str]:
        """Check and take up the arguments of the subclass; give those that another run of the job must have too."""
        return {}

    def begin(self) -> None:
        """Get ready, when the resolver is."""

    def lines_of(self, on_bad: Callable[[int, str], object]) -> Lines:
        """Make the reader of the list: names, one a line, unless a subclass has another."""
        return NameLines(self.path, on_bad)

    def look_up(self, entry: Any) -> Coroutine[Any, Any, None]:
        """Look up one entry, and :meth:`submit` its items: one, or as many more as were taken in the ledger."""
        raise NotImplementedError

    def submit(self, item: DnsItem | MxItem | MtaStsItem, position: int) -> None:
        """Hand a finished item to the pipelines."""
        item.put(position)
        self.processor.submit(item)

    async def survey_all(self) -> None:
        """Look up everything."""
        from twisted.internet import reactor  # noqa: PLC0415 - Scrapy installs it first

        from smtpsurvey.dns.setup import resolver_of  # noqa: PLC0415 - Scrapy imports every spider for each

        if not self.path:
            raise SurveyError(f"nothing to look up: give -a {self.list_argument}=FILE, or - for standard input")
        processor, settings, stats = self.take_processor(), self.crawler.settings, self.crawler.stats
        strict, shard = read_switch("strict", self._strict), read_shard(self._shard)
        arguments = self.prepare()
        self.resolver = resolver_of(settings, reactor, stats)
        self._feed = ListFeed(self.path, self.lines_of, stats, strict=strict)
        self.ledger = self.take_up(self.list_argument, self.path, arguments | {"shard": str(self._shard)})
        processor.before_close.append(self._end)
        await maybe_deferred_to_future(self.resolver.start())
        self.begin()
        self._lookups = Lookups(reactor, self._begin, self.must_wait)
        await self._feed.run(self._lookups, lambda entries: self._mine(entries, shard))

    def estimate(self) -> int | None:
        """Give the number of entries of the list."""
        return self._feed.estimate() if self._feed is not None else None

    @property
    def in_flight(self) -> int:
        """Entries begun and not ended."""
        return self._lookups.in_flight if self._lookups is not None else 0

    def _mine(self, entries: Iterator[Any], shard: tuple[int, int] | None) -> Iterator[Any]:
        """Leave out what is done, or another shard's."""
        ledger = self.ledger
        for entry in entries:
            if ledger is not None and ledger.is_done(entry.position):
                continue
            if shard is None or shard_of_name(_key(entry), shard[1]) == shard[0]:
                if ledger is not None:
                    ledger.take(entry.position)
                yield entry

    def _begin(self, entry: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(self.look_up(entry))

    async def _end(self) -> None:
        if self._lookups is not None:
            await self._lookups.end()
        await maybe_deferred_to_future(self.resolver.stop())
        if self.exchanges is not None:
            self.exchanges.tell(self.crawler.stats)


def _key(entry: ListedName | Target) -> str:
    return entry.name if isinstance(entry, ListedName) else entry.ip
