"""What may not be probed, asked for a million addresses at a time: reserved ranges, opt-outs, excluded ASes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import maxminddb
import numpy as np

from smtpsurvey.admission.asmap import AsMap
from smtpsurvey.admission.exclusions import Exclusion, networks_of
from smtpsurvey.admission.optout import read_optout
from smtpsurvey.admission.ranges import AddressMap, Network
from smtpsurvey.admission.reserved import SPECIAL_PURPOSE
from smtpsurvey.outcomes import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

REASONS = (None, Reason.RESERVED, Reason.OPT_OUT, Reason.AS)
"""What the codes of :meth:`Sieve.codes` mean; 0 is a target."""

_CODES = {reason: code for code, reason in enumerate(REASONS)}


class Sieve:
    """Tells why an address is no target, as :class:`~smtpsurvey.admission.exclusions.Exclusions` does in a crawl."""

    def __init__(self, allow: Iterable[Network] = (), optout: Iterable[Exclusion] = (), as_map: str = "") -> None:
        """Take the CIDRs that are targets though reserved, the opt-outs, and the AS map for the ASes among these."""
        self.domains: set[str] = set()
        asns: set[int] = set()
        opted_out: list[tuple[Network, Reason | None]] = []
        for entry in optout:
            if isinstance(entry.subject, int):
                asns.add(entry.subject)
            elif isinstance(entry.subject, str):
                self.domains.add(entry.subject)
            else:
                opted_out.append((entry.subject, entry.reason))
        layers: list[tuple[Network, Reason | None]] = [
            (entry.subject, entry.reason) for entry in SPECIAL_PURPOSE if not isinstance(entry.subject, int | str)
        ]
        layers += [(network, None) for network in allow]
        layers += [(network, Reason.AS) for network in _networks_of(asns, as_map)]
        layers += opted_out
        self._addresses = AddressMap(layers)
        ipv4 = self._addresses.ipv4
        self._starts = np.array([int.from_bytes(start, "big") for start in ipv4.starts], np.uint32)
        self._codes = np.array([_CODES[reason] for reason in ipv4.values], np.uint8)

    def codes(self, numbers: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """Return for each IPv4 address where its reason stands in :data:`REASONS`."""
        return self._codes[np.searchsorted(self._starts, numbers, "right") - 1]

    def spans(self) -> list[tuple[int, int]]:
        """Return the first and last address of each range of IPv4 targets."""
        ends = [*self._starts[1:].tolist(), 1 << 32]
        return [
            (first, end - 1)
            for first, end, code in zip(self._starts.tolist(), ends, self._codes, strict=True)
            if not code
        ]

    def of_address(self, ip: str) -> Reason | None:
        """Return why an address, in canonical text, is no target."""
        return self._addresses.at(ip)

    def of_name(self, name: str) -> Reason | None:
        """Return whether a host name (lower-case A-labels) or a domain above it has opted out."""
        while name and self.domains:
            if name in self.domains:
                return Reason.OPT_OUT
            name = name.partition(".")[2]
        return None


def read_sieve(allow: Sequence[str], optout: Iterable[str], as_map: str) -> Sieve:
    """Make one from the settings' CIDRs and from opt-out files; raises AdmissionError."""
    entries = [entry for path in optout for entry in read_optout(path, with_as_map=bool(as_map))]
    return Sieve(networks_of("SMTPSURVEY_ALLOW", allow), entries, as_map)


def _networks_of(asns: set[int], as_map: str) -> list[Network]:
    """Return what these ASes announce, by the map; a more specific prefix of someone else is none of theirs."""
    if not asns:
        return []
    lookup = AsMap(as_map).lookup
    with maxminddb.open_database(as_map) as networks:  # the parts of the tree, each of one announcement
        return [each for each, _ in networks if not asns.isdisjoint(lookup(str(each.network_address)).origins)]
