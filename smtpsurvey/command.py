"""What our own ``scrapy`` commands have in common."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

from scrapy.commands import ScrapyCommand

from smtpsurvey.defaults import apply_defaults

if TYPE_CHECKING:
    import argparse

    from scrapy.settings import Settings


class SurveyCommand(ScrapyCommand):
    """A command that needs no crawler, and no log: it prints, and says in one line what is wrong.

    Scrapy imports the modules of all commands for each, a crawl included, so what only one of them
    needs is imported where it is used.
    """

    requires_crawler_process = False
    default_settings: ClassVar[dict[str, Any]] = {"LOG_ENABLED": False}

    def process_options(self, args: list[str], opts: argparse.Namespace) -> None:
        """Read ``-s``, and fill in our defaults, which the add-on does for crawls."""
        super().process_options(args, opts)
        apply_defaults(self.given)

    @property
    def given(self) -> Settings:
        """The settings, which Scrapy puts there before anything runs."""
        assert self.settings is not None  # noqa: S101 - see above
        return self.settings

    def databases(self) -> list[str]:
        """Give the URLs of SMTPSURVEY_SHARDS; empty when there is to be no database."""
        return [str(url) for url in self.given.getlist("SMTPSURVEY_SHARDS") if str(url).strip()]

    def fail(self, reason: object) -> None:
        """Say what is wrong, and end with status 1."""
        name = type(self).__module__.rpartition(".")[2]
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(reason))
        print(f"{name}: {shown}", file=sys.stderr)
        self.exitcode = 1
