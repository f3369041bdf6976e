"""``domains:FILE``, and the unique domains of a run."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsurvey.targets.address import BadTargetError
from smtpsurvey.targets.domains import Domains, DomainsSource
from smtpsurvey.targets.names import host_name
from smtpsurvey.targets.output import literal
from smtpsurvey.targets.sample import Sample
from smtpsurvey.targets.source import TargetsError
from smtpsurvey.targets.sources import Block, Options, Report

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def read(content: bytes) -> tuple[list[str], list[str], Report]:
    """Return domains, what was told, and the report."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "list"
        path.write_bytes(content)
        told: list[str] = []
        report = Report(Options(Path(folder)), lambda line: told.append(line.removeprefix(f"{folder}/")))
        found = [name for block in DomainsSource(str(path), report).blocks() for name in block.domains]
    return found, told, report


def written(
    names: list[str], opted_out: set[str] = frozenset(), seed: int = 0, sample: Sample | None = None
) -> list[str]:  # type: ignore[assignment]  # an empty one
    with TemporaryDirectory() as folder, duckdb.connect() as database:
        domains = Domains(Path(folder), database)
        assert domains.add(Block(domains=names[::2])) == len(names[::2])
        parquet = Path(folder) / "it's.parquet"
        values = ", ".join(f"('{name}')" for name in names[1::2])
        rows = f"(VALUES {values}) t(domain)" if values else "(SELECT NULL::VARCHAR AS domain) WHERE false"
        database.execute(f"COPY (SELECT * FROM {rows}) TO {literal(parquet)} (FORMAT parquet)")
        assert domains.add(Block(domains_file=parquet)) == len(names[1::2])
        out = Path(folder) / "out"
        count, removed = domains.write(out, opted_out, seed, sample)
        lines = zstd.decompress(out.read_bytes()).decode().splitlines()
    assert count == len(lines)
    if sample is None:
        assert count + removed == len(set(names))
    return lines


LABEL = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)
DOMAIN = st.lists(LABEL, min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "org"]))


@given(
    st.lists(DOMAIN | st.text(max_size=12).filter(lambda text: not set("\n\0#") & set(text)) | st.just("Example.ORG."))
)
def test_each_line_is_a_name_or_told(lines: list[str]) -> None:
    expected, bad = [], []
    for number, line in enumerate(lines, 1):
        text = (line.removeprefix("\ufeff") if number == 1 else line).strip()
        try:
            expected += [host_name(text)] if text else []
        except BadTargetError as error:
            bad.append(f"list:{number}: {error}")
    assert read("\n".join(lines).encode())[:2] == (expected, bad)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_never_crash_it(content: bytes) -> None:
    try:
        found, told, report = read(content)
    except TargetsError:  # binary, or an archive broken from the start
        return
    assert found == [host_name(name) for name in found]
    assert len(told) == report.bad_lines + len(report.broken)


def test_a_plain_list_of_many_blocks_is_read_whole() -> None:
    names = [f"domain-{number}.example" for number in range(50_000)]
    content = "\n".join(names).encode()
    assert read(content)[:2] == (names, [])
    found, told, report = read(gzip.compress(content)[:-60_000])
    assert told == ["list: the archive is truncated"]
    assert len(report.broken) == 1
    assert found == names[: len(found)]
    assert found


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff.org", "not UTF-8"),
        (b"a" * 5000, "longer than 4,096 bytes"),
        (("\N{LATIN SMALL LETTER A WITH DIAERESIS}" * 300).encode(), "longer than 253 characters"),
        (b"a..org", "is no host name"),
        (b"192.0.2.1", "is no host name"),
    ],
)
def test_bad_lines_are_told_and_the_next_is_read(line: bytes, reason: str) -> None:
    found, told, report = read(b"one.org\n" + line + b"\ntwo.org # a comment\n")
    assert found == ["one.org", "two.org"]
    assert told[0].startswith("list:2: ")
    assert reason in told[0]
    assert report.bad_lines == 1


@pytest.mark.parametrize("seed", [0, 1, -1, 2**80])
def test_domains_come_once_in_an_order_of_the_seed(seed: int) -> None:
    names = [f"d{number:04}.org" for number in range(1000)]
    order = written(names, seed=seed)
    assert sorted(order) == names != order
    assert written(names[::-1] + names[300:600], seed=seed) == order
    assert written(names[500:] + names, seed=seed, sample=Sample(share=0.25)) == order[:250]
    assert order != written(names, seed=seed + 1)


def test_opted_out_domains_and_those_below_them_are_removed() -> None:
    names = ["example.org", "mail.example.org", "anexample.org", "example.com", "deep.in.co.uk", "in.co.uk", "co.uk"]
    assert set(written(names, {"example.org", "in.co.uk"})) == {"anexample.org", "example.com", "co.uk"}
