"""A pipeline for smtpsurvey: never contacts targets with certain tags, and counts servers without STARTTLS."""

from scrapy.exceptions import NotConfigured

from smtpsurvey.admission import Exclude
from smtpsurvey.items import SmtpItem
from smtpsurvey.outcomes import StartTls


class CourtesyPipeline:
    """Excludes targets by tag, and counts the servers without STARTTLS."""

    def __init__(self, tags, stats):
        self.tags = tags
        self.stats = stats

    @classmethod
    def from_crawler(cls, crawler):
        tags = crawler.settings.getlist("COURTESY_TAGS")
        if not tags:
            raise NotConfigured("COURTESY_TAGS is empty")
        return cls(frozenset(tags), crawler.stats)

    def admit(self, target):
        if target.tag in self.tags:
            raise Exclude("courtesy")

    def process_item(self, item):
        if isinstance(item, SmtpItem) and item.starttls == StartTls.NOT_OFFERED:
            self.stats.inc_value("courtesy/without_starttls")
        return item
