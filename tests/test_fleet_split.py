"""A list split into shards: every target in one of them, the one that its hash says."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from smtpsurvey.errors import SurveyError
from smtpsurvey.fleet import split as module
from smtpsurvey.fleet.split import shard_file, split
from smtpsurvey.items import Target
from smtpsurvey.targets.lines import TargetLines
from smtpsurvey.targets.shard import shard_of

if TYPE_CHECKING:
    from pathlib import Path

LINES = """# a list
192.0.2.1
192.0.2.0/28
2001:db8::1,mx.example.org,"a, tag",2525
198.51.100.7,,fragile
mx.example.net
mx.example.net,label,,26
no address
"""


def read(path: Path, port: int) -> list[tuple[object, ...]]:
    """Read a shard as the spider does."""
    lines = TargetLines(str(path), None, port, lambda number, reason: pytest.fail(f"{number}: {reason}"))
    found = [*lines.feed(gzip.decompress(path.read_bytes())), *lines.finish()]
    return [
        (each.ip, each.port, each.name, each.tag)
        if isinstance(each, Target)
        else (each.name, each.port, each.label, each.tag)
        for each in found
    ]


def test_every_target_is_in_the_shard_of_its_hash_with_all_that_its_line_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HELD", 5)  # so that shards are written piece by piece
    (tmp_path / "list.txt").write_text(LINES)
    bad: list[tuple[int, str]] = []
    total = split(str(tmp_path / "list.txt"), 25, 3, tmp_path / "shards", lambda *line: bad.append(line))
    assert [number for number, _ in bad] == [8]
    shards = [read(shard_file(tmp_path / "shards", shard), 25) for shard in (1, 2, 3)]
    assert sum(map(len, shards)) == total == 1 + 16 + 2 + 2
    assert all(shards)
    for number, shard in enumerate(shards):
        assert all(shard_of(str(ip), 3) == number for ip, *_ in shard if not str(ip).startswith("mx"))
    everything = [target for shard in shards for target in shard]
    assert ("2001:db8::1", 2525, "mx.example.org", "a, tag") in everything
    assert ("198.51.100.7", 25, None, "fragile") in everything
    assert ("mx.example.net", 26, "label", None) in everything
    assert everything.count(("192.0.2.1", 25, None, None)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.txt", "shards"]


def test_what_an_earlier_controller_left_half_done_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("192.0.2.1\n")
    (tmp_path / "shards.part").mkdir()
    (tmp_path / "shards.part" / "1.csv.gz").write_bytes(b"half")
    assert split(str(tmp_path / "list.txt"), 25, 2, tmp_path / "shards", print) == 1
    assert sum(len(read(shard_file(tmp_path / "shards", shard), 25)) for shard in (1, 2)) == 1


def test_a_list_that_cannot_be_read_leaves_no_shards(tmp_path: Path) -> None:
    with pytest.raises(SurveyError, match="No such file"):
        split(str(tmp_path / "list.txt"), 25, 2, tmp_path / "shards", print)
    assert not (tmp_path / "shards").exists()
