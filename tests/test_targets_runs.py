"""Sorted runs on disk."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.targets import runs
from smtpsurvey.targets.runs import Runs

KEYS = st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 3) | st.integers(2**32 - 3, 2**32 - 1), max_size=30)


@given(st.lists(st.tuples(st.integers(0, 3), KEYS), max_size=8), st.integers(1, 40), st.integers(1, 200))
def test_each_key_comes_once_for_each_source_in_order(
    given_keys: list[tuple[int, list[int]]], run: int, piece: int
) -> None:
    expected: dict[int, set[int]] = {}
    with (
        TemporaryDirectory() as folder,
        patch.object(runs, "RUN", run),
        patch.object(runs, "PIECE", piece),
    ):
        kept = Runs(Path(folder) / "keys")
        for source, keys in given_keys:
            kept.add(np.array(keys, np.uint32), source)
            if keys:
                expected.setdefault(source, set()).update(keys)
        kept.flush()
        kept.close()
        pieces = list(kept.pieces())
    found: dict[int, list[int]] = {}
    for each in pieces:
        for source, keys in each.keys.items():
            assert all(each.low <= key <= each.high for key in keys.tolist())
            found.setdefault(source, []).extend(keys.tolist())
    assert found == {source: sorted(keys) for source, keys in expected.items()}
    assert [each.low for each in pieces] == [0, *(each.high + 1 for each in pieces[:-1])]
    assert pieces[-1].high == 2**32 - 1


def test_pieces_are_smaller_the_more_there_is(tmp_path: Path) -> None:
    kept = Runs(tmp_path / "keys")
    kept.add(np.arange(1000, dtype=np.uint32), 0)
    kept.flush()
    kept.close()
    assert len(list(kept.pieces())) == 1
    assert len(list(kept.pieces(others=10 * runs.PIECE))) > 10
