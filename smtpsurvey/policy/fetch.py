"""Fetches policies over HTTPS (RFC 8461 section 3.3), by Scrapy's downloader and past the gate."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from OpenSSL import SSL
from scrapy import Request
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
from service_identity import VerificationError
from twisted.internet.defer import DeferredSemaphore
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.web.client import ResponseFailed

from smtpsurvey.admission import Exclude
from smtpsurvey.dns.addresses import find_addresses
from smtpsurvey.items import Target
from smtpsurvey.outcomes import DnsOutcome, MtaSts
from smtpsurvey.policy import PolicyError
from smtpsurvey.policy.policy import read_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from twisted.internet.defer import Deferred

    from smtpsurvey.admission.gate import Gate
    from smtpsurvey.dns.resolver import Resolver
    from smtpsurvey.policy.handler import KnownHosts
    from smtpsurvey.policy.policy import Policy

PORT = 443
TIMEOUT = 60
"""Seconds for the whole answer (RFC 8461 section 3.3)."""
MAX_SIZE = 65_536
"""Bytes of a policy (RFC 8461 section 3.3)."""
ADDRESSES = 2  # of a policy host that are tried
AT_ONCE = 200  # policies on their way

_META = {"download_timeout": TIMEOUT, "download_maxsize": MAX_SIZE, "dont_redirect": True, "dont_retry": True}
_OK, _REDIRECTS = 200, range(300, 400)
_TEXT = re.compile(rb"text/plain[ \t]*(;.*)?", re.IGNORECASE | re.DOTALL)
_FAILURES = (
    DownloadFailedError,
    DownloadConnectionRefusedError,
    DownloadTimeoutError,
    DownloadCancelledError,
    CannotResolveHostError,
    ResponseDataLossError,
    ResponseFailed,
    ConnectError,
    ConnectionClosed,
    VerificationError,
    SSL.Error,
    OSError,
)
_CAUSES: tuple[tuple[type[BaseException], MtaSts], ...] = (  # the first that is found somewhere
    (VerificationError, MtaSts.CERTIFICATE),
    (SSL.Error, MtaSts.TLS),
    (DownloadCancelledError, MtaSts.OVERSIZE),  # nobody else cancels
    (DownloadTimeoutError, MtaSts.TIMEOUT),
    (ConnectError, MtaSts.UNREACHABLE),
    (DownloadConnectionRefusedError, MtaSts.UNREACHABLE),
    (CannotResolveHostError, MtaSts.UNREACHABLE),
)
_PLAIN = frozenset((MtaSts.OVERSIZE, MtaSts.TIMEOUT))  # of which Scrapy says no more
_MEDDLED = "a downloader middleware"
_UNVERIFIED = "certificate verify failed"


class Policies:
    """Fetches the policies of domains.

    ``download(request)`` is Scrapy's. It knows only the addresses that ``hosts`` has, and these passed ``gate``.
    """

    def __init__(
        self, resolver: Resolver, gate: Gate, hosts: KnownHosts, download: Callable[[Request], Deferred[Any]]
    ) -> None:
        """Fetch with these."""
        self._resolver = resolver
        self._gate = gate
        self._hosts = hosts
        self._download = download
        self._room = DeferredSemaphore(AT_ONCE)

    async def fetch(self, domain: str, source: str | None) -> Policy:
        """Fetch the policy of a domain; raises :class:`PolicyError`."""
        host = f"mta-sts.{domain}"
        self._hosts.addresses[host] = await self._admitted(host, source)
        request = Request(f"https://{host}/.well-known/mta-sts.txt", dont_filter=True, meta=dict(_META))
        try:
            response = await self._room.run(self._download, request)
        except IgnoreRequest as error:
            raise PolicyError(MtaSts.LOCAL_ERROR, str(error) or _MEDDLED) from None
        except _FAILURES as error:
            raise _failure(error) from None
        finally:
            del self._hosts.addresses[host]
        if not isinstance(response, Response):
            raise PolicyError(MtaSts.LOCAL_ERROR, _MEDDLED)
        return read_policy(_body(response))

    async def _admitted(self, host: str, source: str | None) -> list[str]:
        """Give addresses of the policy host that may be connected to."""
        found = await find_addresses(self._resolver, host)
        if not found.addresses:
            sure = found.outcome in {DnsOutcome.NXDOMAIN, DnsOutcome.NO_DATA, DnsOutcome.BAD_NAME}
            raise PolicyError(MtaSts.NO_ADDRESS if sure else MtaSts.NO_ANSWER, str(found.outcome))
        admitted: list[str] = []
        reason = None
        for ip in found.addresses:
            try:
                waiting = self._gate.admit(Target(ip, PORT, host, source=source))
                if waiting is not None:
                    await waiting
            except Exclude as excluded:
                reason = reason or excluded.reason
            else:
                admitted.append(ip)
            if len(admitted) == ADDRESSES:
                break
        if not admitted:
            raise PolicyError(MtaSts.EXCLUDED, reason)
        return admitted


def _body(response: Response) -> bytes:
    if response.status in _REDIRECTS:
        raise PolicyError(MtaSts.REDIRECT, str(response.status))
    if response.status != _OK:
        raise PolicyError(MtaSts.STATUS, str(response.status))
    kind = response.headers.get("Content-Type") or b""
    if not _TEXT.fullmatch(kind):
        raise PolicyError(MtaSts.CONTENT_TYPE, kind[:80].decode("ascii", "backslashreplace") or None)
    return response.body


def _failure(error: BaseException) -> PolicyError:
    """Find out why nothing came."""
    causes = list(_causes(error))
    for kind, outcome in _CAUSES:
        cause = next((cause for cause in causes if isinstance(cause, kind)), None)
        if cause is not None:
            if outcome is MtaSts.TLS and _UNVERIFIED in str(cause):
                outcome = MtaSts.CERTIFICATE  # noqa: PLW2901 - what the error says is nearer than its class
            return PolicyError(outcome, None if outcome in _PLAIN else _text(cause))
    return PolicyError(MtaSts.BROKEN, _text(causes[-1]))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an exception and those that led to it, the first last."""
    yield error
    for failure in getattr(error, "reasons", ()):  # of Twisted's ResponseFailed
        yield from _causes(failure.value)
    if error.__cause__ is not None:
        yield from _causes(error.__cause__)


def _text(error: BaseException) -> str | None:
    """Say in a line what an exception says."""
    if isinstance(error, VerificationError):
        return "for other names"
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return str(error.args[0][-1][-1])[:200]
    return " ".join(str(error).split())[:200] or None
