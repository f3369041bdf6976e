"""Shards of a target list: each host of a fleet takes one address in N, by a stable hash of the address."""

from __future__ import annotations

import re
from socket import AF_INET, AF_INET6, inet_pton
from zlib import crc32

_SHARD = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")


def shard_of(ip: str, count: int) -> int:
    """Return the shard of ``ip``, from 0 to ``count - 1``: the same on every machine and in every release.

    The high bits of CRC-32 decide: it is linear, so that prefixes and regular series of addresses fall
    more evenly than by chance.
    """
    return (crc32(inet_pton(AF_INET6 if ":" in ip else AF_INET, ip)) * count) >> 32


def parse_shard(text: str) -> tuple[int, int]:
    """Read ``I/N`` (shard I of N, from 1; N below a million) as :func:`shard_of`'s value and count.

    Raises :class:`ValueError` that shows the text and the form.
    """
    match = _SHARD.fullmatch(text)
    if match is None or int(match[1]) > int(match[2]):
        raise ValueError(f"shard={text!r} is not I/N with I from 1 to N, like 2/8")
    return int(match[1]) - 1, int(match[2])
