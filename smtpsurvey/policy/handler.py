"""HTTPS as MTA-STS wants it (RFC 8461 section 3.3): a policy host has to show a certificate that is valid for its name.

Scrapy's own handler checks certificates only against the trust anchors of the platform, and finds addresses by itself:
here they are those of ``SMTPSURVEY_CA_FILE``, and those that passed the gate.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import certifi
from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import BrowserLikePolicyForHTTPS
from zope.interface import implementer

from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings
    from twisted.web.iweb import IPolicyForHTTPS

_END = "-----END CERTIFICATE-----"


class VerifyingHandler(HTTP11DownloadHandler):
    """Scrapy's handler, with certificates verified for the host's name."""

    lazy = True  # the spider checks the settings first

    def __init__(self, crawler: Crawler) -> None:
        """Trust what the settings say; raises :class:`SurveyError`."""
        super().__init__(crawler)
        self._contextFactory = verification(crawler.settings)


def verification(settings: BaseSettings) -> IPolicyForHTTPS:
    """Read the trust anchors of SMTPSURVEY_CA_FILE, else certifi's; raises :class:`SurveyError`."""
    path = Path(settings.get("SMTPSURVEY_CA_FILE") or certifi.where())
    try:
        parts = path.read_text("utf-8").split(_END)[:-1]
        anchors = [Certificate.loadPEM((part + _END).encode()) for part in parts]
    except OSError as error:
        raise SurveyError(f"SMTPSURVEY_CA_FILE: {path}: {error.strerror}") from None
    except ValueError as error:
        raise SurveyError(f"SMTPSURVEY_CA_FILE: {path}: {error}") from None
    if not anchors:
        raise SurveyError(f"SMTPSURVEY_CA_FILE: {path}: no certificate in it")
    trusted = BrowserLikePolicyForHTTPS(trustRoot=trustRootFromCertificates(anchors))  # type: ignore[no-untyped-call]
    return cast("IPolicyForHTTPS", trusted)


@implementer(IHostResolution)
@attrs.frozen(eq=False)
class _Resolution:
    """A look-up that ends at once."""

    name: str

    def cancel(self) -> None:
        """There is nothing to cancel."""


@implementer(IHostnameResolver)
class KnownHosts:
    """Gives the reactor the addresses of the hosts that are known, and no others; nothing is looked up."""

    def __init__(self) -> None:
        """Know none yet."""
        self.addresses: dict[str, list[str]] = {}

    def resolveHostName(  # noqa: N802 - Twisted's name
        self,
        resolutionReceiver: Any,  # noqa: N803 - as above
        hostName: str,  # noqa: N803 - as above
        portNumber: int = 0,  # noqa: N803 - as above
        addressTypes: Any = None,  # noqa: ARG002, N803 - as above
        transportSemantics: str = "TCP",  # noqa: ARG002, N803 - as above
    ) -> _Resolution:
        """Tell what is known of a host."""
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        for ip in self.addresses.get(hostName, ()):
            kind = IPv6Address if ":" in ip else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", ip, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution
