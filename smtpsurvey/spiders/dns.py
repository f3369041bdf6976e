"""``scrapy crawl dns -a names=FILE -a types=A,AAAA``: look-ups of any type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smtpsurvey.dns.items import bad_name_item, dns_item
from smtpsurvey.dns.spider import LookupSpider
from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    from smtpsurvey.dns.lines import ListedName


class DnsSpider(LookupSpider):
    """Looks up every name of a list, one item a name and type."""

    name = "dns"
    list_argument = "names"

    def __init__(self, names: str = "", types: str = "A", **kwargs: Any) -> None:
        """Take the arguments of ``-a`` (docs/reference/commands.md)."""
        super().__init__(names, **kwargs)
        self._given = types
        self.types: list[str] = []

    def prepare(self) -> dict[str, str]:
        """Read the types."""
        self.types = list(dict.fromkeys(map(read_type, str(self._given).split(","))))
        return {"types": ",".join(self.types)}

    def estimate(self) -> int | None:
        """Give the number of look-ups."""
        names = super().estimate()
        return None if names is None else names * len(self.types)

    async def look_up(self, entry: ListedName) -> None:
        """Look up one name."""
        if self.ledger is not None:
            self.ledger.take(entry.position, len(self.types) - 1)
        for type_ in self.types:
            if entry.good:
                item = dns_item(await self.resolver.resolve(entry.name, type_), self.survey, self.source)
            else:
                item = bad_name_item(entry.name, type_, self.survey, self.source)
            self.submit(item, entry.position)


def read_type(text: str) -> str:
    """Read the mnemonic of a type (or ``TYPE65``); raises :class:`SurveyError`."""
    from dns.exception import DNSException  # noqa: PLC0415 - Scrapy imports every spider for each
    from dns.rdatatype import RdataType, from_text, is_metatype, to_text  # noqa: PLC0415 - as above

    try:
        found = from_text(text.strip())
    except (DNSException, ValueError):
        found = RdataType.NONE
    if found == RdataType.NONE or is_metatype(found):
        raise SurveyError(f"types: {text.strip()!r} is no type of record")
    return to_text(found)
