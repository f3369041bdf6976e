"""``scrapy crawl``, with an exit status that tells a failed survey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.commands import crawl

from smtpsurvey.errors import FAILED

if TYPE_CHECKING:
    import argparse

    from scrapy import Spider
    from scrapy.crawler import Crawler

START_ERROR = "start_error"  # Scrapy's, when Spider.start() raised


class Command(crawl.Command):
    """Scrapy's own command; status 1 as well when the spider closed itself as failed."""

    made: Crawler | None = None

    def _create_crawler(self, spidercls: type[Spider] | str) -> Crawler:
        self.made = super()._create_crawler(spidercls)
        return self.made

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Run the spider."""
        super().run(args, opts)
        if self.made is not None and self.made.stats.get_value("finish_reason") in {FAILED, START_ERROR}:
            self.exitcode = 1
