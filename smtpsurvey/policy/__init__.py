"""MTA-STS (RFC 8461) and TLSRPT (RFC 8460): what domains ask of those who send them mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtpsurvey.outcomes import MtaSts


class PolicyError(Exception):
    """There is no valid policy: ``outcome`` says why, ``reason`` in words where it alone says too little."""

    def __init__(self, outcome: MtaSts, reason: str | None = None) -> None:
        """Say why."""
        super().__init__(reason or outcome)
        self.outcome = outcome
        self.reason = reason
