"""fleet.toml: nodes, and one line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpsurvey.fleet import FleetError
from smtpsurvey.fleet.config import NodeConfig, read_fleet

EXAMPLE = Path(__file__).parents[1] / "examples" / "fleet.toml"
NODE = '[[nodes]]\nname = "a"\nurl = "http://127.0.0.1:6800/"\n'


def test_the_example_is_a_fleet() -> None:
    first, second = read_fleet(EXAMPLE)
    assert first.name == "amsterdam"
    assert first.weight == 2
    assert first.settings == {"SMTPSURVEY_HELO": "ams.probe.example.org"}
    assert second.tags == {"oceania"}
    assert read_fleet(EXAMPLE, ["oceania", "asia"]) == [second]


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(NODE)
    assert read_fleet(tmp_path / "fleet.toml") == [NodeConfig("a", "http://127.0.0.1:6800", 1.0, frozenset(), {})]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"\[\[nodes\]\] lists the nodes"),
        ("nodes = 3", r"\[\[nodes\]\] lists the nodes"),
        ("nodes = []", r"\[\[nodes\]\] lists the nodes"),
        (f"x = 1\n{NODE}", "'x' is not known"),
        ("nodes = [1]", "node 1: "),
        ("[[nodes]", "line 1"),
        ("\x00", "line 1"),
        (NODE + NODE, "two nodes have the name 'a'"),
        (NODE + NODE.replace('"a"', '"b"'), "two nodes have the url 'http://127.0.0.1:6800'"),
        (NODE + 'password = "x"', "node 1: 'password' is none of name, settings, tags, url, weight"),
        (NODE.replace('"a"', '"a b"'), "its name is 'a b'"),
        (NODE.replace('"a"', "3"), "its name is 3"),
        (NODE.replace("http:", "ftp:"), "a: the url is not http"),
        (NODE.replace("127.0.0.1:6800", ""), "a: the url is not http"),
        (NODE.replace("127", "user:hidden@127"), "a: the url holds more than host, port and path"),
        (NODE.replace("0/", "0/?a=b"), "a: the url holds more than host, port and path"),
        (NODE + "weight = -1", "a: the weight -1 is no number from 0"),
        (NODE + "weight = nan", "a: the weight nan is no number from 0"),
        (NODE + "weight = true", "a: the weight True is no number from 0"),
        (NODE + "tags = [1]", "a: tags is no list of words"),
        (NODE + "settings = [1]", "a: settings is no table"),
        (NODE + "settings = { A = [1] }", "a: settings is no table"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    with pytest.raises(FleetError, match=reason) as caught:
        read_fleet(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_fleet_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match=r"fleet.toml: No such file"):
        read_fleet(tmp_path / "fleet.toml")
    (tmp_path / "fleet.toml").write_bytes(b"\xff")
    with pytest.raises(FleetError, match=r"utf-8"):
        read_fleet(tmp_path / "fleet.toml")
    with pytest.raises(FleetError, match=r"no node has the tag asia"):
        read_fleet(EXAMPLE, ["asia"])
