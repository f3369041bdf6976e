"""``scrapy targets`` from the command line's side: its files, what it prints, and its exit status."""

from __future__ import annotations

import contextlib
import gzip
import sqlite3
import sys
from typing import TYPE_CHECKING

import duckdb
import pytest
from scrapy.cmdline import execute
from scrapy.settings import Settings

from smtpsurvey.targets.lines import TargetLines

if TYPE_CHECKING:
    from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIST = "9.9.9.1,mx.example.org,tag\n9.9.9.1\n9.9.9.2\n10.0.0.1\n2001:4860::1,,,587\nnonsense line\n9.9.9.8/30\n"


def scrapy(*argv: object, **settings: object) -> int:
    """Run the command as ``scrapy`` does; return its exit status."""
    given = Settings({"COMMANDS_MODULE": "smtpsurvey.commands", "SMTPSURVEY_SHARDS": [], **settings})
    with pytest.raises(SystemExit) as ended:
        execute(["scrapy", "targets", *map(str, argv)], given)
    return int(ended.value.code or 0)


def lines(path: Path) -> list[str]:
    return zstd.decompress(path.read_bytes()).decode().splitlines()


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "list.txt"
    path.write_text(LIST, "ascii")
    return path


def test_sources_become_one_list_with_shards_sources_and_domains(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "domains").write_text("example.org\nexample.com\nexample.org\n", "ascii")
    out = tmp_path / "out.csv.zst"
    assert scrapy(f"list:{listed}", "random:20", f"domains:{tmp_path}/domains", "--shards", 2, "--out", out) == 0
    found = lines(out)
    assert {"9.9.9.1,mx.example.org,tag", "9.9.9.2", "2001:4860::1,,,587", "9.9.9.11"} <= set(found)
    assert len(found) == len(set(found)) == 7 + 20
    assert sorted(lines(tmp_path / "out-1-of-2.csv.zst") + lines(tmp_path / "out-2-of-2.csv.zst")) == sorted(found)
    assert sorted(lines(tmp_path / "out.domains.txt.zst")) == ["example.com", "example.org"]
    with duckdb.connect() as database:
        pairs = database.execute("SELECT * FROM read_parquet(?)", [str(tmp_path / "out.sources.parquet")]).fetchall()
    assert ("9.9.9.1", f"list:{listed}") in pairs
    assert sum(source == "random:20" for _, source in pairs) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "domains",
        "list.txt",
        "out-1-of-2.csv.zst",
        "out-2-of-2.csv.zst",
        "out.csv.zst",
        "out.domains.txt.zst",
        "out.sources.parquet",
    ]
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f"{listed}:6: 'nonsense line' is no host name"]
    words = " ".join(printed.out.split())
    for count in ("27 unique targets", "1 removed: reserved", "2 domains", "1 bad lines", "random:20 20 20 20"):
        assert count in words


def test_the_list_is_one_that_a_crawl_reads(listed: Path, tmp_path: Path) -> None:
    assert scrapy(f"list:{listed}", "--out", tmp_path / "out.csv") == 0
    reader = TargetLines("out.csv", None, 25, lambda number, reason: pytest.fail(f"{number}: {reason}"))
    targets = [*reader.feed((tmp_path / "out.csv").read_bytes()), *reader.finish()]
    assert len(targets) == 7


def test_the_seed_decides_order_and_sample(listed: Path, tmp_path: Path) -> None:
    def run(name: str, *options: object) -> list[str]:
        assert scrapy(f"list:{listed}", "random:500", "--out", tmp_path / name, *options) == 0
        return (tmp_path / name).read_text("ascii").splitlines()

    whole = run("a.csv")
    assert run("b.csv", "--seed", 0) == whole
    assert run("c.csv", "--sample", 50) == whole[:50]
    assert run("d.csv", "--sample", "10%") == whole[:51]
    assert run("e.csv", "--seed", 1)[:50] != whole[:50]


def test_opt_outs_of_file_and_setting_and_allowed_ranges(listed: Path, tmp_path: Path) -> None:
    (tmp_path / "out1").write_text("9.9.9.2\n", "ascii")
    (tmp_path / "out2").write_text("example.org # ticket 1\n", "ascii")
    options = ("--exclude", tmp_path / "out1", "--allow", "10.0.0.0/8", "--out", tmp_path / "o.csv")
    assert scrapy(f"list:{listed}", *options, SMTPSURVEY_OPTOUT=str(tmp_path / "out2")) == 0
    found = set((tmp_path / "o.csv").read_text("ascii").splitlines())
    assert found == {"10.0.0.1", "2001:4860::1,,,587", "9.9.9.8", "9.9.9.9", "9.9.9.10", "9.9.9.11"}


def test_a_truncated_archive_keeps_what_came_before_and_ends_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = gzip.compress("".join(f"9.{n >> 8 & 255}.{n & 255}.{n * 7 & 255}\n" for n in range(60_000)).encode())
    (tmp_path / "list.gz").write_bytes(packed[: len(packed) // 2])
    assert scrapy(f"list:{tmp_path}/list.gz", "--out", tmp_path / "o.csv") == 1
    assert capsys.readouterr().err == f"{tmp_path}/list.gz: the archive is truncated\n"
    assert 1000 < len((tmp_path / "o.csv").read_bytes().splitlines()) < 60_000


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (("list:{tmp}/missing",), "{tmp}/missing: No such file or directory"),
        (("list:{tmp}",), "{tmp}: Is a directory"),
        (("nonsense:x",), "'nonsense:x' is no source; sources are "),
        (("random:x",), "random:x is not random:N"),
        (("list:{tmp}/empty",), "no target in list:{tmp}/empty (0 bad lines); nothing written"),
        (("random:5", "--exclude", "{tmp}/missing"), "{tmp}/missing: No such file or directory"),
        (("random:5", "--exclude", "{tmp}/asns"), "{tmp}/asns:1: 'AS64500' cannot be honoured without an AS map"),
        (("random:5", "--allow", "10.0.0.1/8"), "SMTPSURVEY_ALLOW: 10.0.0.1/8 has host bits set"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line_with_status_1(
    argv: tuple[str, ...], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "asns").write_text("AS64500\n", "ascii")
    before = sorted(tmp_path.iterdir())
    assert scrapy(*(arg.format(tmp=tmp_path) for arg in argv), "--out", tmp_path / "o.csv") == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("targets: " + reason.format(tmp=tmp_path))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "argv",
    [
        ("random:5",),
        ("--out", "{tmp}/o.csv"),
        ("random:5", "--out", "{tmp}/missing/o.csv"),
        ("random:5", "--out", "{tmp}"),
        ("random:5", "--out", "{tmp}/o.csv", "--sample", "x"),
        ("random:5", "--out", "{tmp}/o.csv", "--shards", "-1"),
        ("random:5", "--out", "{tmp}/o.csv", "--shards", "1000"),
    ],
)
def test_wrong_arguments_are_refused(argv: tuple[str, ...], tmp_path: Path) -> None:
    assert scrapy(*(arg.format(tmp=tmp_path) for arg in argv)) == 2
    assert not list(tmp_path.iterdir())


def test_with_a_label_received_items_and_zone_sizes_are_stored_too(tmp_path: Path) -> None:
    (tmp_path / "com.txt").write_text(
        "com.\t900\tin\tsoa\ta.example. b.example. 2026112500 1800 900 604800 86400\n"
        "example.com.\t172800\tin\tns\tns1.example.net.\n"
        "other.com.\t172800\tin\tns\tns1.example.net.\n",
        "ascii",
    )
    (tmp_path / "mbox").write_text(
        "From a@example.org Wed Nov 25 00:00:00 2026\n"
        "Received: from mx.example.org (mx.example.org [9.1.2.3])\n"
        "\tby mail.example.net (Postfix) with ESMTPS id 12345; Wed, 25 Nov 2026 00:00:00 +0000 (UTC)\n\nbody\n",
        "ascii",
    )
    store = tmp_path / "store.sqlite3"
    argv = (f"zone:{tmp_path}/com.txt", f"received:{tmp_path}/mbox", "--survey", "2026-11", "--out", tmp_path / "o.csv")
    assert scrapy(*argv, SMTPSURVEY_SHARDS=[f"sqlite:///{store}"]) == 0
    assert (tmp_path / "o.csv").read_text("ascii").startswith("9.1.2.3")
    assert (tmp_path / "o.zone_sizes.csv").read_text("ascii").splitlines()[1:] == ["com,2026-11-25,2"]
    received = lines(tmp_path / "o.received.jsonl.zst")
    with contextlib.closing(sqlite3.connect(store)) as database:
        sizes = database.execute("SELECT zone, date, domains FROM zone_sizes").fetchall()
        stored = database.execute("SELECT count(*) FROM received").fetchone()
    assert sizes == [("com", "2026-11-25", 2)]
    assert stored == (len(received),)
    assert scrapy(*argv) == 2  # there is no database
