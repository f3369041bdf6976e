"""What a domain publishes about TLS for its mail: records, policy, and whether it covers the exchanges."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from smtpsurvey.dns.addresses import values
from smtpsurvey.items import iso_time
from smtpsurvey.kinds import MtaStsItem
from smtpsurvey.outcomes import DnsOutcome, MtaSts, TlsRpt
from smtpsurvey.policy import PolicyError
from smtpsurvey.policy.records import STS, TLSRPT, of_version, policy_id, report_targets

if TYPE_CHECKING:
    from smtpsurvey.dns.lines import ListedName
    from smtpsurvey.dns.mx import MailExchanges
    from smtpsurvey.dns.resolver import Resolver
    from smtpsurvey.policy.fetch import Policies
    from smtpsurvey.policy.policy import Policy

_NO_RECORD = frozenset((DnsOutcome.NXDOMAIN, DnsOutcome.NO_DATA, DnsOutcome.BAD_NAME))


class DomainPolicies:
    """Looks up domains for one survey."""

    def __init__(
        self, resolver: Resolver, policies: Policies, mail: MailExchanges, survey: str, source: str | None
    ) -> None:
        """Look up records with ``resolver``, exchanges with ``mail``; the rest goes into the items."""
        self._resolver = resolver
        self._policies = policies
        self._mail = mail
        self._survey = survey
        self._source = source

    async def look_up(self, entry: ListedName) -> MtaStsItem:
        """Find out what a domain publishes. The policy is fetched where there is a record."""
        item = MtaStsItem(self._survey, iso_time(time.time()), entry.name, MtaSts.BAD_NAME, source=self._source)
        if not entry.good:
            return item
        try:
            item.id = await self._id(entry.name)
            policy = await self._policies.fetch(entry.name, self._source)
        except PolicyError as error:
            item.outcome, item.reason = error.outcome, error.reason
        else:
            await self._fill(item, policy, entry)
        item.tlsrpt, item.reports = await self._reports(entry.name)
        return item

    async def _fill(self, item: MtaStsItem, policy: Policy, entry: ListedName) -> None:
        item.outcome = MtaSts.OK
        item.mode, item.max_age, item.patterns = policy.mode, policy.max_age, list(policy.patterns)
        found = (await self._mail.look_up(entry)).exchanges
        if found:
            item.exchanges = {exchange.name: policy.covers(exchange.name) for exchange in found}
            item.covered = all(item.exchanges.values())

    async def _id(self, domain: str) -> str:
        texts = await self._texts(f"_mta-sts.{domain}", STS)
        if texts is None:
            raise PolicyError(MtaSts.NO_ANSWER)
        if not texts:
            raise PolicyError(MtaSts.NONE)
        found = policy_id(texts[0])
        if len(texts) > 1 or found is None:
            raise PolicyError(MtaSts.BAD_RECORD, "several records" if len(texts) > 1 else None)
        return found

    async def _reports(self, domain: str) -> tuple[TlsRpt, list[str] | None]:
        texts = await self._texts(f"_smtp._tls.{domain}", TLSRPT)
        if texts is None:
            return TlsRpt.NO_ANSWER, None
        if not texts:
            return TlsRpt.NONE, None
        targets = report_targets(texts[0]) if len(texts) == 1 else None
        return (TlsRpt.BAD_RECORD, None) if targets is None else (TlsRpt.OK, targets)

    async def _texts(self, name: str, version: str) -> list[str] | None:
        """Give the records of a version; ``None`` where DNS did not say."""
        answer = await self._resolver.resolve(name, "TXT")
        if answer.outcome in _NO_RECORD:
            return []
        return of_version(version, values(answer)) if answer.outcome is DnsOutcome.OK else None
