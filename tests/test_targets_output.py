"""The files that a run leaves behind."""

from __future__ import annotations

import gzip
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from smtpsurvey.errors import SurveyError
from smtpsurvey.items import Software
from smtpsurvey.kinds import ReceivedItem
from smtpsurvey.targets.finding import received_items
from smtpsurvey.targets.output import Names, Outputs, write_received, write_zone_sizes
from smtpsurvey.targets.sample import Sample, read_sample
from smtpsurvey.targets.sources import ZoneSize

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("out", "shard", "sources"),
    [
        ("targets.csv.zst", "targets-2-of-8.csv.zst", "targets.sources.parquet"),
        ("targets.csv.gz", "targets-2-of-8.csv.gz", "targets.sources.parquet"),
        ("targets.csv", "targets-2-of-8.csv", "targets.sources.parquet"),
        ("targets.txt", "targets-2-of-8.txt", "targets.sources.parquet"),
        ("targets", "targets-2-of-8", "targets.sources.parquet"),
        ("2026.11.csv.zst", "2026.11-2-of-8.csv.zst", "2026.11.sources.parquet"),
        ("2026.11", "2026.11-2-of-8", "2026.11.sources.parquet"),
    ],
)
def test_files_are_named_after_the_list(tmp_path: Path, out: str, shard: str, sources: str) -> None:
    names = Names.of(str(tmp_path / out))
    assert names.out == tmp_path / out
    assert names.shard(2, 8) == tmp_path / shard
    assert names.beside(".sources.parquet") == tmp_path / sources


@pytest.mark.parametrize("out", ["", ".", "missing/targets.csv", ".csv.zst"])
def test_a_name_that_cannot_be_written_is_refused(tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SurveyError):
        Names.of(out)


def test_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.csv.zst").write_bytes(b"what was there before")

    def write(*, fail: bool) -> None:
        with Outputs() as outputs:
            outputs.open(tmp_path / "a.csv.zst").write(b"one\n")
            outputs.open(tmp_path / "b.csv.gz").write(b"two\n")
            outputs.open(tmp_path / "c.csv").write(b"three\n")
            outputs.part(tmp_path / "d").write_text("four\n")
            assert not (tmp_path / "c.csv").exists()
            if fail:
                raise OSError("the disk is full")
            assert [path.name for path in outputs.commit()] == ["a.csv.zst", "b.csv.gz", "c.csv", "d"]

    with pytest.raises(OSError, match="full"):
        write(fail=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv.zst"]
    assert (tmp_path / "a.csv.zst").read_bytes() == b"what was there before"
    write(fail=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv.zst", "b.csv.gz", "c.csv", "d"]
    assert zstd.decompress((tmp_path / "a.csv.zst").read_bytes()) == b"one\n"
    assert gzip.decompress((tmp_path / "b.csv.gz").read_bytes()) == b"two\n"
    assert (tmp_path / "c.csv").read_bytes() + (tmp_path / "d").read_bytes() == b"three\nfour\n"


def test_received_items_read_back(tmp_path: Path) -> None:
    postfix = Software("Postfix", "Postfix", None, "received-postfix", "received")
    items = [
        ReceivedItem(
            "2026-11",
            "2026-11-25T00:00:00.000Z",
            "192.0.2.1",
            "mx.example.org",
            postfix,
            2,
            consistent=True,
            messages=3,
        ),
        ReceivedItem("", "2026-11-25T00:00:00.000Z", None, "\u00fc.example", None, 1, None),
    ]
    with Outputs() as outputs:
        write_received(outputs.open(tmp_path / "t.received.jsonl.zst"), items)
        outputs.commit()
    assert list(map(msgspec.to_builtins, received_items(tmp_path / "t.received.jsonl.zst"))) == list(
        map(msgspec.to_builtins, items)
    )


def test_zone_sizes_are_a_table(tmp_path: Path) -> None:
    write_zone_sizes(
        tmp_path / "sizes.csv", [ZoneSize("com", "2026-11-25", 160_000_000), ZoneSize("org", "2026-11-24", 5)]
    )
    assert (tmp_path / "sizes.csv").read_bytes() == (
        b"zone,date,domains\r\ncom,2026-11-25,160000000\r\norg,2026-11-24,5\r\n"
    )


@pytest.mark.parametrize(
    ("text", "sample", "of_1000"),
    [
        ("0", Sample(0), 0),
        ("10", Sample(10), 10),
        ("5000", Sample(5000), 1000),
        ("1%", Sample(share=0.01), 10),
        ("0.25%", Sample(share=0.0025), 2),
        ("100%", Sample(share=1.0), 1000),
    ],
)
def test_a_sample_is_a_number_or_a_share(text: str, sample: Sample, of_1000: int) -> None:
    assert read_sample(text) == sample
    assert sample.of(1000) == of_1000


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "101%", "%", "1 %", "1e3", "\u0661"])
def test_anything_else_is_no_sample(text: str) -> None:
    with pytest.raises(ValueError, match="neither a number of targets nor a percentage"):
        read_sample(text)
