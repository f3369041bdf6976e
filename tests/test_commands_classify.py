"""``scrapy classify`` from the command line's side: what it prints, and its exit status."""

from __future__ import annotations

import gzip
import io
import json
from typing import TYPE_CHECKING

import pytest
from scrapy.cmdline import execute
from scrapy.settings import Settings
from surveys import item, store, write

from smtpsurvey.commands.classify import ROWS, TOLD
from smtpsurvey.items import ReplyItem

if TYPE_CHECKING:
    from pathlib import Path

    from smtpsurvey.items import SmtpItem

TOML = """
[[rules]]
id = "acme"
vendor = "Acme"
product = "MTA"
greeting = '(?s)Acme (?P<version>.+)$'
source = "test"
examples = [{ greeting = "Acme 1.2", version = "1.2" }]
"""
NMAP = r"""match smtp m|Acme (.+)\r\n| p/Acme smtpd/ v/$1/
match smtp m|Other| p/Other/
match smtp m|(?=a)|
match smtp m|nobody|
"""

NAMELESS = """not identified

These match too:
no name: rule nmap:4 in {}:4
    evidence: greeting
    because: names no product
"""


def scrapy(*argv: object, **settings: object) -> int:
    """Run the command as ``scrapy`` does; return its exit status."""
    given = {"COMMANDS_MODULE": "smtpsurvey.commands", "SMTPSURVEY_SHARDS": []} | settings
    with pytest.raises(SystemExit) as ended:
        execute(["scrapy", "classify", *map(str, argv)], Settings(given))
    return int(ended.value.code or 0)


def type_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "my.toml"
    path.write_text(TOML)
    return path


@pytest.fixture
def nmap(tmp_path: Path) -> str:
    path = tmp_path / "probes"
    path.write_text(NMAP)
    return f"nmap:{path}"


def seen(*greetings: str) -> list[SmtpItem]:
    items = [item(number) for number, _ in enumerate(greetings, 1)]
    for each, greeting in zip(items, greetings, strict=True):
        each.greeting = ReplyItem(220, greeting)
    return items


def feed(path: Path, *greetings: str) -> Path:
    whole = {"survey": "now", "port": 25, "name": None, "tag": None, "source": None, "duration": 0.1, "outcome": "ok"}
    lines = [
        json.dumps(whole | {"ip": each.ip, "time": each.time, "greeting": {"code": 220, "text": greeting}})
        for each, greeting in zip(seen(*greetings), greetings, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_explain_prints_the_rule_its_captures_and_what_lost_with_wire_text_escaped(
    toml: Path, nmap: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scrapy("explain", "Acme \x1b[2J1", "--rules", f"{toml},{nmap}") == 0
    said, told = capsys.readouterr()
    assert said == (
        f"Acme MTA \\x1b[2J1: rule acme in {toml}\n"
        "    evidence: greeting\n"
        "    version: \\x1b[2J1\n"
        "\n"
        "These match too:\n"
        f"Acme \\x1b[2J1: rule nmap:1 in {nmap[5:]}:1\n"
        "    evidence: greeting\n"
        "    product: Acme smtpd\n"
        "    version: \\x1b[2J1\n"
        f"    because: {nmap} is asked after {toml}\n"
    )
    assert told == (
        f"classify: {nmap[5:]}:3: RE2 cannot compile it: invalid perl operator: (?=; left out\n"
        f"classify: 1 rules left out of {toml},{nmap}\n"
    )


def test_explain_asks_the_rule_sets_of_the_settings(nmap: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert scrapy("explain", "Acme 1", SMTPSURVEY_FINGERPRINTS=[nmap]) == 0
    assert capsys.readouterr().out.startswith("Acme 1: rule nmap:1 in ")
    assert scrapy("explain", "mx.example.com ESMTP Postfix") == 0
    assert capsys.readouterr().out == "Postfix: rule postfix in builtin mta.toml\n    evidence: greeting\n"


def test_explain_reads_a_transcript_as_fetch_prints_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, b"< 220 mx.example.com Python SMTP 1.4.6\n> EHLO\n< 250-mx\n< 250 HELP\n* ok\n")
    assert scrapy("explain") == 0
    assert capsys.readouterr().out.startswith("aio-libs aiosmtpd 1.4.6: rule aiosmtpd in builtin libraries.toml\n")


def test_explain_tells_of_a_contradiction(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    session = (
        "S: 220 mx.example.com Microsoft ESMTP MAIL Service ready at Wed, 25 Nov 2026 02:02:03 +0100\n"
        "C: EHLO a\nS: 250-mx.example.com\nS: 250-PIPELINING\nS: 250-SIZE 10240000\nS: 250-VRFY\nS: 250-ETRN\n"
        "S: 250-STARTTLS\nS: 250-ENHANCEDSTATUSCODES\nS: 250-8BITMIME\nS: 250-DSN\nS: 250-SMTPUTF8\nS: 250 CHUNKING\n"
        "C: STARTTLS\nS: 220 2.0.0 Ready to start TLS\nC: QUIT\nS: 221 2.0.0 Bye\n"
    )
    type_in(monkeypatch, session.encode())
    assert scrapy("explain") == 0
    said = capsys.readouterr().out
    assert "    claimed by the greeting: Exchange Server\n    claimed by the behaviour: Postfix\n" in said


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        ("hello", "not identified\n"),
        ("nobody", NAMELESS),
    ],
)
def test_explain_says_that_nothing_names_a_server(
    nmap: str, greeting: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scrapy("explain", greeting, "--rules", nmap) == 0
    assert capsys.readouterr().out == said.format(nmap[5:])


def test_compare_counts_and_shows_where_two_sets_differ(
    tmp_path: Path, toml: Path, nmap: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    path = feed(tmp_path / "feed.jsonl", "Acme 1", "Acme \nmore", "Other \x1b[2J", "x", "Acme 3", "x")
    assert scrapy("compare", toml, nmap, path) == 0
    said, told = capsys.readouterr()
    lines = [line.rstrip() for line in said.splitlines()]
    assert lines[:7] == [
        "6  servers that answered",
        "0  named alike by both",
        "0  the same product in another version",
        "2  named differently",
        f"1  named by {toml} only",
        f"1  named by {nmap} only",
        "2  named by neither",
    ]
    rows = [line.split() for line in lines[7:]]
    assert ["2", "MTA", "Acme", "192.0.2.1", "Acme", "1"] in rows
    assert ["1", "MTA", "192.0.2.2", "Acme", "\\x0amore"] in rows
    assert ["1", "Other", "192.0.2.3", "Other", "\\x1b[2J"] in rows
    assert "\x1b" not in said
    assert f"classify: 1 rules left out of {nmap}\n" in told


def test_compare_prints_json(tmp_path: Path, toml: Path, nmap: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = feed(tmp_path / "feed.jsonl", "Acme 1", "Other")
    packed = tmp_path / "feed.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert scrapy("compare", toml, f"{toml},{nmap}", packed, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "a": str(toml),
        "b": f"{toml},{nmap}",
        "observations": 2,
        "counts": {"same": 1, "version": 0, "different": 0, "only_a": 0, "only_b": 1, "neither": 0},
        "rows": [{"relation": "only_b", "a": None, "b": "Other", "count": 1, "ip": "192.0.2.2", "greeting": "Other"}],
    }


def test_compare_reads_a_survey_from_the_databases(
    tmp_path: Path, toml: Path, nmap: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'survey.sqlite3'}"
    shards = store([url])
    write(shards, "now", seen("Acme 1", "Other", "x"))
    write(shards, "old", seen("Acme 1"))
    shards.dispose()
    assert scrapy("compare", toml, nmap, "--survey", "now", "--json", SMTPSURVEY_SHARDS=[url]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["observations"] == 3
    assert found["counts"]["different"] == found["counts"]["only_b"] == found["counts"]["neither"] == 1


def test_compare_tells_lines_that_cannot_be_used_and_goes_on(
    tmp_path: Path, toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = feed(tmp_path / "feed.jsonl", "Acme 1")
    path.write_text("{\n" * (TOLD + 1) + path.read_text())
    assert scrapy("compare", toml, toml, path) == 0
    said, told = capsys.readouterr()
    assert said.splitlines()[1].split() == ["1", "named", "alike", "by", "both"]
    lines = told.splitlines()
    assert len(lines) == TOLD + 1
    assert lines[0].startswith(f"classify: {path}:1: ")
    assert lines[-1] == f"classify: {path}: {TOLD + 1} lines cannot be used"


def test_compare_shows_the_most_frequent_rows_and_counts_the_others(
    tmp_path: Path, toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probes = tmp_path / "many"
    probes.write_text("".join(f"match smtp m|Acme {number}\\r| p/P{number}/\n" for number in range(ROWS + 2)))
    path = feed(tmp_path / "feed.jsonl", *(f"Acme {number}" for number in range(ROWS + 2)))
    assert scrapy("compare", toml, f"nmap:{probes}", path) == 0
    assert "and 2 more rows: --json has all" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["compare", "builtin", "builtin", "none.jsonl"], "none.jsonl: No such file or directory"),
        (
            ["compare", "builtin", "builtin", "--survey", "now"],
            "SMTPSURVEY_SHARDS is empty: there is no database to read from",
        ),
        (["compare", "builtin", "recog:none", "none.jsonl"], "recog:none: no smtp_*.xml there"),
        (["explain", "220-half"], "the greeting has no last line (a code and a blank)"),
        (["explain", "x", "--rules", "nmap:no\x1b"], "no\\x1b: cannot read the rules: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scrapy(*argv) == 1
    said, told = capsys.readouterr()
    assert (said, told) == ("", f"classify: {message}\n")


def test_a_survey_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'survey.sqlite3'}"
    store([url]).dispose()
    assert scrapy("compare", "builtin", "builtin", "--survey", "n\x1b", SMTPSURVEY_SHARDS=[url]) == 1
    assert capsys.readouterr().err == "classify: no survey 'n\\\\x1b' in the store\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "one of explain, compare"),
        (["odd"], "one of explain, compare"),
        (["explain", "a", "b"], "explain takes one greeting: put it in quotes"),
        (["compare", "builtin", "builtin"], "compare takes two rule sets, and FILE or --survey LABEL"),
        (["compare", "a", "b", "c", "--survey", "d"], "compare takes two rule sets, and FILE or --survey LABEL"),
    ],
)
def test_wrong_arguments_are_told(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert scrapy(*argv) == 2
    assert message in "".join(capsys.readouterr())
