"""Building the AS map: routing tables and delegated-extended files in, one MMDB file out."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmdb_writer import Encoder, MMDBWriter, TreeWriter
from netaddr import IPNetwork, IPSet

from smtpsurvey.admission import AdmissionError
from smtpsurvey.admission.asmap import DATABASE_TYPE
from smtpsurvey.admission.asmap_read import read_table
from smtpsurvey.admission.delegated import Allocation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from smtpsurvey.admission.asmap import Origins
    from smtpsurvey.admission.delegated import Holding
    from smtpsurvey.admission.ranges import Network

    Record = dict[str, Any]

_POINTER = 4
"""Bytes of a pointer to most places of a big map."""


class Tables(NamedTuple):
    """What goes into a map: the origins of each announced prefix, and whose each delegated network is."""

    announced: dict[Network, Origins]
    held: dict[Network, Holding]


class Built(NamedTuple):
    """What went into a map: counts of prefixes, of different ASes and of bytes."""

    prefixes: int
    ases: int
    size: int


def read_all(paths: Iterable[str], bad: Callable[[str], None]) -> Tables:
    """Read several files (:func:`~smtpsurvey.admission.asmap_read.read_table`).

    Where a prefix comes again, the later line counts.
    """
    tables = Tables({}, {})
    for path in paths:
        for found in read_table(path, bad):
            if isinstance(found, Allocation):
                tables.held.update((network, found.holding) for network in found.networks())
            else:
                network, origins = found
                tables.announced[network] = origins
    return tables


def write_map(announced: Mapping[Network, Origins], out: str, held: Mapping[Network, Holding] | None = None) -> Built:
    """Write the tables as MMDB; a lookup finds the most specific prefix, and the most specific holding.

    Records have the keys ``autonomous_system_number`` and ``prefix``, ``origins`` where there is more than that AS
    (a list within the list is an AS set), ``country`` and ``holder`` where they are known; addresses that are held but
    not announced have these two alone. The file appears whole or not at all, so that a crawl that has an earlier one
    mapped goes on undisturbed. Raises AdmissionError when it cannot be written.
    """
    writer = _Writer(6, DATABASE_TYPE, ["en"], {"en": "Announced prefixes and their origin ASes"}, ipv4_compatible=True)
    for network, record in _records(announced, held or {}):
        address = int(network.network_address)
        writer.insert_network(IPSet([IPNetwork((address, network.prefixlen), version=network.version)]), record)
    part = f"{out}.part"
    try:
        writer.to_db_file(part)
        size = os.path.getsize(part)  # noqa: PTH202 -- beside os.replace, on the same name
        os.replace(part, out)  # noqa: PTH105 -- as above
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(part).unlink()
        raise AdmissionError(f"{out}: {error.strerror or error}") from None
    ases = {asn for origins in announced.values() for asn in _members(origins)}
    return Built(len(announced), len(ases), size)


def _records(announced: Mapping[Network, Origins], held: Mapping[Network, Holding]) -> Iterator[tuple[Network, Record]]:
    """Yield each network whose record is another than that of the network around it, which comes first."""
    around: list[tuple[Network, Network | None, Holding | None]] = []
    for network in sorted(announced.keys() | held.keys(), key=_place):
        while around and not _within(network, around[-1][0]):
            around.pop()
        _, prefix, holding = around[-1] if around else (None, None, None)
        found = network if network in announced else prefix, held.get(network, holding)
        if found != (prefix, holding):
            around.append((network, *found))
            yield network, _record(announced, *found)


def _place(network: Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen


def _within(network: Network, other: Network) -> bool:
    """Tell whether a network is in another one that does not begin later."""
    return network.version == other.version and int(network.network_address) <= int(other.broadcast_address)


def _record(announced: Mapping[Network, Origins], prefix: Network | None, holding: Holding | None) -> Record:
    record: Record = {}
    if prefix is not None:
        origins = announced[prefix]
        record = {"autonomous_system_number": next(_members(origins)), "prefix": str(prefix)}
        if len(origins) > 1 or not isinstance(origins[0], int):
            record["origins"] = [each if isinstance(each, int) else list(each) for each in origins]
    if holding is not None:
        record.update((name, value) for name, value in holding._asdict().items() if value is not None)
    return record


def _members(origins: Origins) -> Iterator[int]:
    """Yield the ASes, those of AS sets too."""
    for each in origins:
        yield from (each,) if isinstance(each, int) else each


class _Encoder(Encoder):
    """Writes in place what hardly recurs, and what is no longer than a pointer to it."""

    def encode(self, value: Any, type_id: int | None = None, return_offset: bool = False) -> Any:  # noqa: FBT001, FBT002 -- the library's
        if return_offset:  # a record: each leaf is encoded once, and no two are alike
            made, offset = self._encode_map(value), self.data_pointer
            self.data_list.append(made)
            self.data_pointer += len(made)
            return offset
        if isinstance(value, int) or (isinstance(value, str) and (len(value) < _POINTER or "/" in value)):
            return self.type_encoder[type_id or self.python_type_id(value)](value)
        return super().encode(value, type_id)


class _TreeWriter(TreeWriter):
    encoder_cls = _Encoder


class _Writer(MMDBWriter):
    def to_db_file(self, filename: str) -> None:
        _TreeWriter(self.tree, self._build_meta()).write(filename)
