"""The arguments of ``scrapy crawl traceroute``; what it does is in test_network_routes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from doubles.crawl import QUICK, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-a", "targets="), "no targets: give -a targets=FILE"),
        (("-a", "method=udp"), "method='udp' is neither tcp nor icmp"),
        (("-a", "per=as"), "per='as' is neither prefix nor address"),
        (("-s", "SMTPSURVEY_TRACE_RATE=20000"), "SMTPSURVEY_TRACE_RATE='20000' is no number of packets a second"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "list.txt").write_text("127.0.0.1\n")
    ended = run("crawl", "traceroute", "-a", f"targets={tmp_path}/list.txt", *arguments, *QUICK)
    assert ended.status == 1
    assert f"[traceroute] ERROR: {said}" in ended.err
    assert "Traceback" not in ended.err
