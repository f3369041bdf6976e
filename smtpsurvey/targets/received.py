"""``received:PATH``: the servers that mail passed, from its Received headers (a passive measurement)."""

from __future__ import annotations

import time
from pathlib import Path
from socket import AF_INET, inet_pton
from typing import TYPE_CHECKING

import numpy as np

from smtpsurvey.items import DEFAULT_PORT, Target, iso_time
from smtpsurvey.kinds import ReceivedItem
from smtpsurvey.targets.received_counts import ReceivedCounts
from smtpsurvey.targets.received_header import read_received, received_time
from smtpsurvey.targets.received_mail import received_values, sections
from smtpsurvey.targets.received_route import hops
from smtpsurvey.targets.received_software import ReceivedSoftware
from smtpsurvey.targets.source import TargetsError
from smtpsurvey.targets.sources import Block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpsurvey.targets.received_route import Hop
    from smtpsurvey.targets.sources import Report

MAX_HOPS = 100
"""Received headers of a message that are read; servers take more for a loop (RFC 5321 section 6.3)."""

AT_ONCE = 10_000
"""Messages whose addresses go into one block."""

_OLDEST = 315_532_800.0  # 1980: there was no SMTP before (RFC 772)


class ReceivedSource:
    """An mbox, a Maildir, a message, or a folder of them, gzip and Zstandard too; ``-`` is standard input."""

    def __init__(self, argument: str, report: Report) -> None:
        """Look whether the path is there; raises TargetsError."""
        self.label = f"received:{argument}"
        self._path = argument
        self._report = report
        if argument != "-" and not Path(argument).exists():
            raise TargetsError(f"{argument}: No such file or directory")
        self._now = time.time()
        self._software = ReceivedSoftware()

    def blocks(self) -> Iterator[Block]:
        """Yield the addresses as they come, and at the end what was seen, each once with its number of messages."""
        options = self._report.options
        counts = ReceivedCounts(options.work)
        addresses: set[str] = set()
        messages = 0
        for messages, section in enumerate(sections(self._path, self._report), 1):
            values = received_values(section)
            when = received_time(values[0]) if values else None
            for hop in self._hops(values):
                counts.add(hop, self._now if when is None or not _OLDEST <= when <= self._now else when)
                if hop.address:
                    addresses.add(hop.address)
            if messages % AT_ONCE == 0:
                yield _block(addresses)
                addresses.clear()
        yield _block(addresses)
        self._report.count("messages read", messages)
        for found in counts.finish():
            yield Block(
                received=[
                    ReceivedItem(
                        options.survey,
                        iso_time(each.time),
                        each.hop.address,
                        each.hop.name,
                        each.hop.software,
                        each.hop.hop,
                        each.hop.consistent,
                        each.messages,
                    )
                    for each in found
                ]
            )

    def _hops(self, values: list[bytes]) -> Iterator[Hop]:
        read = [read_received(value) for value in values[:MAX_HOPS]]
        return hops([(each, self._software.of(each.text)) for each in read])


def _block(addresses: set[str]) -> Block:
    ipv4 = [inet_pton(AF_INET, address) for address in addresses if ":" not in address]
    return Block(
        v4=np.frombuffer(b"".join(ipv4), ">u4").astype(np.uint32),
        targets=[Target(address, DEFAULT_PORT) for address in addresses if ":" in address],
    )
