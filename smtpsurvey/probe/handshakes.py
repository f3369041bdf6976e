"""What the arguments ``tls``, ``sni`` and ``connections`` ask of TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from smtpsurvey.errors import SurveyError
from smtpsurvey.outcomes import TlsSecond
from smtpsurvey.smtp.tls import DEPRECATED, LEGACY, MODERN, TlsClient

if TYPE_CHECKING:
    from smtpsurvey.smtp.certificate import Examiner

_CLOSED = {"tls": ("0", "1", "legacy"), "sni": ("0", "1", "both"), "connections": ("1", "2")}


@attrs.frozen
class Handshakes:
    """Whether to use STARTTLS, with old versions too, with the server's name, and what a second connection is for."""

    starttls: bool = True
    legacy: bool = False
    sni: bool = True
    second: TlsSecond | None = None

    @classmethod
    def read(cls, **given: str) -> Handshakes:
        """Read the three arguments; raises :class:`SurveyError` for what they cannot be, alone and together."""
        for name, values in _CLOSED.items():
            if given[name] not in values:
                raise SurveyError(f"{name}={given[name]!r} is none of {', '.join(values)}")
        tls, sni, connections = (given[name] for name in _CLOSED)
        second = TlsSecond.NO_NAME if sni == "both" else TlsSecond.DEPRECATED if tls == "legacy" else None
        if second is TlsSecond.NO_NAME and (tls == "0" or connections == "1"):
            raise SurveyError(
                "sni=both needs STARTTLS, and a second connection to each server: allow it with connections=2"
            )
        if connections == "1":
            second = None
        elif second is None:
            raise SurveyError("connections=2 has nothing to ask: it goes with sni=both, or with tls=legacy")
        return cls(tls != "0", tls == "legacy", sni != "0", second)

    def clients(self, examiner: Examiner, limit: int) -> tuple[TlsClient, ...]:
        """Make the client of each connection; ``limit`` is in bytes a handshake."""
        offer = LEGACY if self.legacy else MODERN
        first = TlsClient(examiner, limit, offer, sni=self.sni)
        if self.second is None:
            return (first,)
        if self.second is TlsSecond.NO_NAME:
            return first, TlsClient(examiner, limit, offer, sni=False)
        return first, TlsClient(examiner, limit, DEPRECATED, sni=self.sni)
