"""The certificates that the hosts of a survey showed, and the certificates themselves."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

import attrs
import msgspec

from smtpsurvey.store.aggregates import grouped
from smtpsurvey.store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpsurvey.store.shards import Shards

_BATCH = 1000  # certificates read at a time


@attrs.define(eq=False)
class Shown:
    """Hosts by AS (``None``: unknown) that showed a certificate as their own, and hosts that sent it besides."""

    leaf: Counter[int | None] = attrs.Factory(Counter)
    issuing: int = 0


def shown(shards: Shards, survey: str) -> dict[str, Shown]:
    """Count by SHA-256 (hex); raises ``StoreError``."""
    found: dict[str, Shown] = {}
    for (leaf, chain, asn), hosts in grouped(shards, survey, "certificate", "chain", "asn").items():
        if leaf is None:
            continue
        found.setdefault(leaf, Shown()).leaf[asn] += hosts
        for digest in dict.fromkeys(msgspec.json.decode(chain, type=list[str]) if chain else ()):
            if digest != leaf:
                found.setdefault(digest, Shown()).issuing += hosts
    return found


def stored(shards: Shards, digests: dict[str, Shown]) -> Iterator[tuple[str, bytes]]:
    """Give each of these certificates (DER) once, where the store has it; raises ``StoreError``."""
    reader, missing = Reader(shards), dict.fromkeys(digests)
    for shard in shards:
        wanted = iter(list(missing))
        while batch := list(islice(wanted, _BATCH)):
            for digest, der in reader.ders(shard, batch).items():
                del missing[digest]
                yield digest, der
