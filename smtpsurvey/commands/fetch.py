"""``scrapy fetch``, which takes ``smtp://host[:port]`` too."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from scrapy import Request, Spider
from scrapy.commands import fetch

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from scrapy.http import Response
    from twisted.python.failure import Failure


class _FetchSpider(Spider):
    name = "fetch"
    failures: list[str]
    url: str

    async def start(self) -> AsyncIterator[Any]:
        yield Request(self.url, dont_filter=True, errback=self.failed)

    def parse(self, response: Response, **_: Any) -> None:
        sys.stdout.buffer.write(response.body + b"\n")

    def failed(self, failure: Failure) -> None:
        self.failures.append(str(failure.value))


class Command(fetch.Command):
    """Scrapy's own command takes web addresses only."""

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Print the transcript of one probe, or the page."""
        if len(args) != 1 or not args[0].startswith("smtp://"):
            super().run(args, opts)
            return
        assert self.crawler_process is not None  # noqa: S101 - scrapy sets it before
        failures: list[str] = []
        self.crawler_process.crawl(_FetchSpider, url=args[0], failures=failures)
        self.crawler_process.start()
        for failure in failures:
            print(f"fetch: {failure}", file=sys.stderr)
        if failures or self.crawler_process.bootstrap_failed:
            self.exitcode = 1
