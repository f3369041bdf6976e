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


class _FetchSpider(Spider):
    name = "fetch"
    url = ""

    async def start(self) -> AsyncIterator[Any]:
        yield Request(self.url, dont_filter=True, meta={"handle_httpstatus_all": True})

    def parse(self, response: Response, **_: Any) -> None:
        sys.stdout.buffer.write(response.body + b"\n")


class Command(fetch.Command):
    """Scrapy's own command takes web addresses only."""

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Print the transcript of one probe, or the page."""
        if len(args) != 1 or not args[0].startswith("smtp://"):
            super().run(args, opts)
            return
        assert self.crawler_process is not None  # noqa: S101 - scrapy sets it before
        self.crawler_process.crawl(_FetchSpider, url=args[0])
        self.crawler_process.start()
        if self.crawler_process.bootstrap_failed:
            self.exitcode = 1
