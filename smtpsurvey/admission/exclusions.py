"""Everything that keeps a target from being probed, asked once a target."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import attrs
import idna

from smtpsurvey.admission import AdmissionError
from smtpsurvey.admission.ranges import AddressMap, Network

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpsurvey.outcomes import Reason


@attrs.frozen(eq=False)
class Exclusion:
    """One entry of a list: what it covers, and why.

    ``subject`` is a network, an AS number, or a domain name (lower-case A-labels, no final dot);
    ``why`` the free text beside it, ``source`` an RFC or ``FILE:LINE``.
    """

    subject: Network | int | str
    reason: Reason
    why: str
    source: str

    def __str__(self) -> str:
        """Tell the entry in one line, as a person wants to read it."""
        entry = f"AS{self.subject}" if isinstance(self.subject, int) else self.subject
        return f"{entry} ({self.why}; {self.source})" if self.why else f"{entry} ({self.source})"


class Exclusions:
    """Reserved ranges, the holes that are allowed in them, and opt-outs, which no hole touches."""

    def __init__(
        self, reserved: Iterable[Exclusion], allow: Iterable[Network] = (), optout: Iterable[Exclusion] = ()
    ) -> None:
        """Put the lists together; ``allow`` are networks to probe although they are reserved."""
        self._domains: dict[str, Exclusion] = {}
        self._asns: dict[int, Exclusion] = {}
        layers: list[tuple[Network, Exclusion | None]] = [(network, None) for network in allow]
        for entry in optout:
            if isinstance(entry.subject, int):
                self._asns[entry.subject] = entry
            elif isinstance(entry.subject, str):
                self._domains[entry.subject] = entry
            else:
                layers.append((entry.subject, entry))
        # Every entry of the reserved list is a network.
        below = [(entry.subject, entry) for entry in reserved if not isinstance(entry.subject, int | str)]
        self._addresses = AddressMap([*below, *layers])

    def of_target(self, ip: str, name: str | None) -> Exclusion | None:
        """Return the entry that covers the address, or else the name or a domain above it."""
        found = self._addresses.at(ip)
        if found is None and name is not None and self._domains:
            return self._of_name(name)
        return found

    def of_origins(self, origins: Iterable[int]) -> Exclusion | None:
        """Return the entry of the first of these ASes that has opted out."""
        if self._asns:
            for asn in origins:
                if asn in self._asns:
                    return self._asns[asn]
        return None

    def _of_name(self, name: str) -> Exclusion | None:
        name = name.rstrip(".").lower()
        if not name.isascii():
            try:
                name = idna.encode(name, uts46=True).decode("ascii")
            except idna.IDNAError:
                return None
        while name:
            if name in self._domains:
                return self._domains[name]
            name = name.partition(".")[2]
        return None


def networks_of(setting: str, values: Iterable[str]) -> list[Network]:
    """Read a setting's list of CIDRs or addresses; raises AdmissionError naming the setting and the value."""
    networks = []
    for value in values:
        try:
            networks.append(ip_network(value.strip()))
        except ValueError as error:
            raise AdmissionError(f"{setting}: {error}") from None
    return networks
