"""What becomes of a domain when DNS, the gate or the policy host do not do as they should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from doubles.resolving import TableResolver
from OpenSSL import SSL
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    IgnoreRequest,
    ResponseDataLossError,
)
from scrapy.http import Response
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, NoRouteError
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from smtpsurvey.admission import Exclude
from smtpsurvey.admission.gate import Gate
from smtpsurvey.dns.lines import ListedName
from smtpsurvey.dns.mx import MailExchanges
from smtpsurvey.policy.domains import DomainPolicies
from smtpsurvey.policy.fetch import Policies
from smtpsurvey.policy.handler import KnownHosts

if TYPE_CHECKING:
    from scrapy import Request

    from smtpsurvey.items import Target
    from smtpsurvey.kinds import MtaStsItem

DOMAIN, HOST = "example.org", "mta-sts.example.org"
RECORD = {"_mta-sts.example.org TXT": ['"v=STSv1; id=1;"']}
TABLE = RECORD | {f"{HOST} A": ["192.0.2.1", "192.0.2.2", "192.0.2.3"], f"{HOST} AAAA": ["2001:db8::1"]}
BODY = b"version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 1\n"


class Asked:
    """A domain that was looked up: the item, what was downloaded from where, and what passed the gate."""

    def __init__(self, table: dict[str, list[str]], answer: Response | Exception | None = None) -> None:
        self.urls: list[str] = []
        self.connected: list[list[str]] = []
        self.targets: list[Target] = []
        self.excluded: set[str] = set()
        self._answer = answer or Response(f"https://{HOST}/", headers={"Content-Type": "text/plain"}, body=BODY)
        self._hosts = KnownHosts()
        self._resolver: Any = TableResolver(table)

    def look_up(self) -> MtaStsItem:
        policies = Policies(self._resolver, Gate([self._admit]), self._hosts, self._download)
        mail = MailExchanges(self._resolver, None, "now", "list")
        domains = DomainPolicies(self._resolver, policies, mail, "now", "list")
        found: list[MtaStsItem] = []
        Deferred.fromCoroutine(domains.look_up(ListedName(DOMAIN, 0))).addCallback(found.append)
        (item,) = found
        assert self._hosts.addresses == {}
        return item

    def _admit(self, target: Target) -> None:
        self.targets.append(target)
        if target.ip in self.excluded:
            raise Exclude("opt-out")

    def _download(self, request: Request) -> Deferred[Response]:
        self.urls.append(request.url)
        self.connected.append(self._hosts.addresses[HOST])
        return fail(self._answer) if isinstance(self._answer, Exception) else succeed(self._answer)


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def test_the_policy_comes_from_the_first_two_addresses_of_its_host() -> None:
    asked = Asked(TABLE)
    item = asked.look_up()
    assert (item.outcome, item.patterns, item.source) == ("ok", ["mx.example.org"], "list")
    assert asked.urls == [f"https://{HOST}/.well-known/mta-sts.txt"]
    assert asked.connected == [["192.0.2.1", "192.0.2.2"]]
    assert {(target.name, target.port, target.source) for target in asked.targets} == {(HOST, 443, "list")}


def test_addresses_that_are_excluded_are_passed_over() -> None:
    asked = Asked(TABLE)
    asked.excluded = {"192.0.2.1", "192.0.2.3"}
    assert asked.look_up().outcome == "ok"
    assert asked.connected == [["192.0.2.2", "2001:db8::1"]]


def test_a_host_with_no_other_address_is_not_asked() -> None:
    asked = Asked(TABLE)
    asked.excluded = {"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"}
    item = asked.look_up()
    assert (item.outcome, item.reason, asked.urls) == ("excluded", "opt-out", [])


@pytest.mark.parametrize(
    ("table", "outcome", "reason", "tlsrpt"),
    [
        ({"_mta-sts.example.org TXT": ["servfail"]}, "no_answer", None, "none"),
        (
            {"_mta-sts.example.org TXT": ["timeout"], "_smtp._tls.example.org TXT": ["timeout"]},
            "no_answer",
            None,
            "no_answer",
        ),
        (RECORD | {f"{HOST} A": ["servfail"]}, "no_answer", "servfail", "none"),
        (RECORD | {f"{HOST} TXT": ["x"]}, "no_address", "no_data", "none"),
    ],
)
def test_dns_that_does_not_answer_is_told_from_dns_that_says_no(
    table: dict[str, list[str]], outcome: str, reason: str | None, tlsrpt: str
) -> None:
    item = Asked(table).look_up()
    assert (item.outcome, item.reason, item.tlsrpt) == (outcome, reason, tlsrpt)


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (DownloadTimeoutError("took longer"), "timeout", None),
        (DownloadCancelledError("too large"), "oversize", None),
        (DownloadConnectionRefusedError("refused"), "unreachable", "refused"),
        (CannotResolveHostError("no address"), "unreachable", "no address"),
        (NoRouteError(string="no\nroute"), "unreachable", "No route to host: no route."),
        (ResponseDataLossError(), "broken", None),
        (OSError("what"), "broken", "what"),
        (IgnoreRequest("mine"), "local_error", "mine"),
        (IgnoreRequest(), "local_error", "a downloader middleware"),
        (
            chained(
                DownloadFailedError("[...]"),
                ResponseFailed([Failure(SSL.Error([("SSL routines", "", "certificate verify failed")]))]),
            ),
            "certificate",
            "certificate verify failed",
        ),
        (
            chained(DownloadFailedError("[...]"), ResponseFailed([Failure(SSL.Error([("SSL", "", "no protocols")]))])),
            "tls",
            "no protocols",
        ),
        (chained(DownloadFailedError("[...]"), ResponseFailed([Failure(SSL.Error())])), "tls", None),
        (
            chained(DownloadFailedError("[...]"), ResponseFailed([Failure(ConnectionLost())])),
            "broken",
            "Connection to the other side was lost in a non-clean fashion.",
        ),
    ],
)
def test_each_failure_has_its_outcome(error: Exception, outcome: str, reason: str | None) -> None:
    item = Asked(TABLE, error).look_up()
    assert (item.outcome, item.reason, item.id) == (outcome, reason, "1")


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("text/plain", "ok"),
        ("TEXT/Plain ; charset=us-ascii", "ok"),
        ("text/plainer", "content_type"),
        ("", "content_type"),
        (None, "content_type"),
    ],
)
def test_the_media_type_is_plain_text(kind: str | None, outcome: str) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    assert Asked(TABLE, Response("https://x/", headers=headers, body=BODY)).look_up().outcome == outcome
