"""What a look-up gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from smtpsurvey.kinds import DnsRecord
    from smtpsurvey.outcomes import DnsOutcome


@attrs.frozen(eq=False)
class Answer:
    """The end of one look-up of ``name`` and ``type``.

    ``records`` is the whole answer section in the order sent, aliases included; ``rcode`` its mnemonic, ``server``
    the address that sent it, ``ad`` whether it says that it validated (RFC 6840 section 5.8): all ``None`` without
    an answer. ``duration`` is in seconds with all tries, ``time`` the start, in seconds since the epoch.
    """

    name: str
    type: str
    outcome: DnsOutcome
    rcode: str | None
    records: tuple[DnsRecord, ...]
    server: str | None
    ad: bool | None
    duration: float
    time: float
