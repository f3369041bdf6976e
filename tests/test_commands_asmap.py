"""``scrapy asmap`` from the command line's side: what it prints, and its exit status."""

from __future__ import annotations

import bz2
import gzip
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from mrt_tables import SEQUENCE, SET, attributes, peer_table, rib, segment
from scrapy.cmdline import execute
from scrapy.settings import Settings

from smtpsurvey.admission.asmap import AsMap
from smtpsurvey.commands.asmap import TOLD

if TYPE_CHECKING:
    from pathlib import Path

ROUTES = "; test map\n9.0.0.0/8\t64500\n9.2.0.0/16\t64502\n"


def scrapy(*argv: object) -> int:
    """Run the command as ``scrapy`` does; return its exit status."""
    settings = Settings({"COMMANDS_MODULE": "smtpsurvey.commands"})
    with pytest.raises(SystemExit) as ended:
        execute(["scrapy", "asmap", *map(str, argv)], settings)
    return int(ended.value.code or 0)


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    path = tmp_path / "routes.dat"
    path.write_text(ROUTES, "ascii")
    return path


@pytest.fixture
def as_map(tmp_path: Path, routes: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert scrapy("build", routes, "--out", tmp_path / "as.mmdb") == 0
    capsys.readouterr()
    return tmp_path / "as.mmdb"


def test_build_reads_files_of_both_forms_and_says_what_it_made(
    tmp_path: Path, routes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    caida = tmp_path / "routeviews.gz"
    caida.write_bytes(gzip.compress(b"9.2.0.0\t16\t64503_64502\n2a00::\t16\t64506\n"))
    out = tmp_path / "as.mmdb"
    assert scrapy("build", routes, caida, "--out", out) == 0
    said, told = capsys.readouterr()
    assert said == f"{out}: 3 prefixes of 4 ASes, 0 bad lines, {out.stat().st_size / 1e6:.1f} MB\n"
    assert told == ""
    assert AsMap(out).lookup("9.2.0.1").origins == (64503, 64502)


def test_build_takes_origins_from_a_routing_table_and_country_and_holder_from_a_rir(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [
        attributes(segment(SEQUENCE, 65001, 64500)),
        attributes(segment(SEQUENCE, 65002) + segment(SET, 64501, 64502)),
        attributes(segment(SEQUENCE, 64500)),
    ]
    (tmp_path / "rib.bz2").write_bytes(
        bz2.compress(peer_table() + rib(ip_network("9.2.0.0/16"), list(enumerate(paths))))
    )
    (tmp_path / "delegated").write_text("apnic|AU|ipv4|9.0.0.0|131072|20110811|assigned|A91872ED\n", "ascii")
    out = tmp_path / "as.mmdb"
    assert scrapy("build", tmp_path / "rib.bz2", tmp_path / "delegated", "--out", out) == 0
    assert "1 prefixes of 3 ASes, 0 bad lines" in capsys.readouterr().out
    (tmp_path / "optout.txt").write_text("AS64502 # asked\n", "ascii")
    optout = ("-s", f"SMTPSURVEY_OPTOUT={tmp_path}/optout.txt")
    assert scrapy("lookup", "9.2.0.1", "9.1.0.1", "9.3.0.1", "--map", out, *optout) == 0
    why = f"opted out: AS64502 (asked; {tmp_path}/optout.txt:1)"
    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == [
        ["9.2.0.1", "9.2.0.0/16", "AS64500,{AS64501,AS64502}", "-", why, "reserved: no"],
        ["9.1.0.1", "-", "-", "AU", "opted out: no", "reserved: no", "holder: apnic:A91872ED"],
        ["9.3.0.1", "-", "-", "-", "opted out: no", "reserved: no"],
    ]


def test_bad_lines_are_told_and_counted_and_the_rest_is_built(
    tmp_path: Path, routes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    routes.write_text(f"{ROUTES}9.9.9.9/8\t1\nnonsense\n", "ascii")
    assert scrapy("build", routes, "--out", tmp_path / "as.mmdb") == 0
    said, told = capsys.readouterr()
    assert told.splitlines() == [
        f"{routes}:4: 9.9.9.9/8 has host bits set",
        f"{routes}:5: 'nonsense' is neither PREFIX AS (pyasn) nor ADDRESS LENGTH AS (CAIDA pfx2as)",
    ]
    assert "2 prefixes of 2 ASes, 2 bad lines" in said


def test_a_flood_of_bad_lines_is_counted_but_not_shown(
    tmp_path: Path, routes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    routes.write_text(ROUTES + "nonsense\n" * (TOLD + 7), "ascii")
    assert scrapy("build", routes, "--out", tmp_path / "as.mmdb") == 0
    said, told = capsys.readouterr()
    assert len(told.splitlines()) == TOLD + 1
    assert told.endswith("... and 7 more bad lines\n")
    assert f"{TOLD + 7} bad lines" in said


def test_nothing_usable_writes_nothing_and_ends_with_status_1(
    tmp_path: Path, routes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    routes.write_text("; nothing\nnonsense\n", "ascii")
    out = tmp_path / "as.mmdb"
    assert scrapy("build", routes, "--out", out) == 1
    assert capsys.readouterr().err.endswith(
        f"asmap: no announced prefix in {routes} (1 bad lines); {out} not written\n"
    )
    assert not out.exists()


@pytest.mark.parametrize("given", ["missing.dat", "."])
def test_a_file_that_cannot_be_read_is_one_line_and_status_1(
    tmp_path: Path, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / given
    assert scrapy("build", path, "--out", tmp_path / "as.mmdb") == 1
    assert capsys.readouterr().err.startswith(f"asmap: {path}: ")


def test_lookup_prints_prefix_as_and_whether_it_is_opted_out_or_reserved(
    tmp_path: Path, as_map: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optout = tmp_path / "optout.txt"
    optout.write_text("AS64502 # ticket 17\n127.0.0.0/24\n", "utf-8")
    addresses = ("9.9.9.9", "9.2.0.1", "127.0.0.1", "127.1.0.1", "2001:DB8::1")
    settings = ("-s", f"SMTPSURVEY_OPTOUT={optout}", "-s", "SMTPSURVEY_ALLOW=127.1.0.0/16")
    assert scrapy("lookup", *addresses, "--map", as_map, *settings) == 0
    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == [
        ["9.9.9.9", "9.0.0.0/8", "AS64500", "-", "opted out: no", "reserved: no"],
        ["9.2.0.1", "9.2.0.0/16", "AS64502", "-", f"opted out: AS64502 (ticket 17; {optout}:1)", "reserved: no"],
        [
            "127.0.0.1",
            "-",
            "-",
            "-",
            f"opted out: 127.0.0.0/24 ({optout}:2)",
            "reserved: 127.0.0.0/8 (loopback; RFC 1122)",
        ],
        ["127.1.0.1", "-", "-", "-", "opted out: no", "reserved: no"],
        ["2001:db8::1", "-", "-", "-", "opted out: no", "reserved: 2001:db8::/32 (documentation; RFC 3849)"],
    ]


def test_lookup_takes_the_map_from_the_settings(as_map: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scrapy("lookup", "9.9.9.9", "-s", f"SMTPSURVEY_AS_MAP={as_map}") == 0
    assert "AS64500" in capsys.readouterr().out


def test_lookup_tells_what_is_no_address_and_goes_on(as_map: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scrapy("lookup", "mx.example.org", "fe80::1%eth0", "9.9.9.9", "--map", as_map) == 1
    said, told = capsys.readouterr()
    assert told.splitlines() == [
        "asmap: 'mx.example.org' is no IPv4 or IPv6 address",
        "asmap: 'fe80::1%eth0' is no IPv4 or IPv6 address",
    ]
    assert "AS64500" in said


def test_lookup_shows_an_opt_out_list_that_is_wrong_in_one_line(
    tmp_path: Path, as_map: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optout = tmp_path / "optout.txt"
    optout.write_text("AS\n", "utf-8")
    assert scrapy("lookup", "9.9.9.9", "--map", as_map, "-s", f"SMTPSURVEY_OPTOUT={optout}") == 1
    assert capsys.readouterr().err.startswith(f"asmap: {optout}:1: 'AS' is one label alone")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "say 'build IN... --out FILE' or 'lookup ADDRESS...'"),
        (("build",), "say 'build IN..."),
        (("burn", "x"), "say 'build IN..."),
        (("build", "x"), "build needs --out FILE"),
        (("lookup", "9.9.9.9"), "lookup needs --map FILE or the setting SMTPSURVEY_AS_MAP"),
        (("lookup", "9.9.9.9", "--mpa", "x"), "unknown option --mpa"),
    ],
)
def test_wrong_usage_is_explained(argv: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert scrapy(*argv) == 2
    assert message in capsys.readouterr().err
