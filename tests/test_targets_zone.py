import gzip
import os
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

import attrs
import dns.rdatatype
import dns.zone
import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from smtpsurvey.errors import SurveyError
from smtpsurvey.items import Target
from smtpsurvey.targets.source import TargetsError
from smtpsurvey.targets.sources import Options, Report, ZoneSize, open_source
from smtpsurvey.targets.zone import ZoneSource, _Piece
from smtpsurvey.targets.zone_names import NameSorter
from smtpsurvey.targets.zone_plain import plain_end

NOVEMBER = 1_795_600_000.0  # 2026-11-25
SOA = "com.\t900\tin\tsoa\ta.gtld-servers.net. nstld.verisign-grs.com. 2026112401 1800 900 604800 86400\n"


@attrs.define
class Read:
    """All that a source gave."""

    domains: list[str] = attrs.field(factory=list)
    glue: list[tuple[str, str | None]] = attrs.field(factory=list)
    sizes: list[ZoneSize] = attrs.field(factory=list)
    told: list[str] = attrs.field(factory=list)
    counts: dict[str, int] = attrs.field(factory=dict)
    bad_lines: int = 0
    broken: list[str] = attrs.field(factory=list)


def read(work: Path, argument: str) -> Read:
    found = Read()
    report = Report(Options(work), found.told.append)
    for block in open_source(f"zone:{argument}", report).blocks():
        found.glue += [(target.ip, target.name) for target in block.targets if isinstance(target, Target)]
        found.sizes += block.zone_sizes
        if block.domains_file is not None:
            rows = duckdb.execute("SELECT domain FROM read_parquet($1)", [str(block.domains_file)]).fetchall()
            found.domains += sorted(domain for (domain,) in rows)
    found.counts, found.bad_lines, found.broken = report.counts, report.bad_lines, report.broken
    return found


def zone(work: Path, text: str | bytes, name: str = "zone.txt.gz", *, mtime: float = NOVEMBER) -> str:
    path = work / name
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    os.utime(path, (mtime, mtime))
    return str(path)


CZDS = SOA + (
    "com.\t172800\tin\tns\ta.gtld-servers.net.\n"
    "example.com.\t172800\tin\tns\tns1.example.com.\n"
    "example.com.\t172800\tin\tns\tns2.example.net.\n"
    "example.com.\t86400\tin\tds\t31406 8 2 F78CF3344F72137235098ECBBD08947C2C9001C7F6A085A17F518B5D8F6B916D\n"
    "ns1.example.com.\t172800\tin\ta\t192.0.2.53\n"
    "ns1.example.com.\t172800\tin\taaaa\t2001:db8::53\n"
    "xn--bcher-kva.com.\t172800\tin\tns\tns2.example.net.\n"
)


def test_a_zone_gives_each_domain_once_its_size_its_glue_and_the_number_of_name_servers(tmp_path: Path) -> None:
    found = read(tmp_path, zone(tmp_path, CZDS))
    assert found.domains == ["example.com", "xn--bcher-kva.com"]
    assert found.glue == [("192.0.2.53", "ns1.example.com"), ("2001:db8::53", "ns1.example.com")]
    assert found.sizes == [ZoneSize("com", "2026-11-24", 2)]
    assert found.counts == {"lines of zone files": 8, "name servers": 3}
    assert (found.bad_lines, found.broken) == (0, [])


def test_lines_in_czds_form_are_read_many_at_a_time_and_soa_and_aaaa_one_by_one() -> None:
    text = CZDS.encode()
    start = text.index(b"\n") + 1
    assert plain_end(text, 0) == 0
    assert plain_end(text, start) == text.index(b"ns1.example.com.\t172800\tin\taaaa")


def test_a_zone_as_dig_transfers_it_is_plain_too(tmp_path: Path) -> None:
    line = (
        b"0.se.\t\t\t86400\tIN\tNS\tns1.example.net.\nverylongnameindeedverylong.se. 86400\tIN\tNS\tNS1.Example.net.\n"
    )
    assert plain_end(line.lower(), 0) == len(line)
    found = read(tmp_path, zone(tmp_path, b"se.\t\t\t86400\tIN\tSOA\ta. b. 2026112507 1 2 3 4\n" + line, "se.txt"))
    assert found.domains == ["0.se", "verylongnameindeedverylong.se"]
    assert (found.sizes, found.counts["name servers"]) == ([ZoneSize("se", "2026-11-25", 2)], 1)


MASTER = r"""; comment ( with " and (
$ORIGIN COM.
$TTL 1d
@ IN SOA a.gtld-servers.net. hostmaster\.x (
    2026112401 ; serial (yes)
    30m 15m 1w 1d )
  NS a.gtld-servers.net.
EXAMPLE 2d IN NS NS1.EXAMPLE
        IN 2d NS ns2.example.net.
  DS 31406 8 2 ( F78CF3344F72137235098ECBBD08947C
     2C9001C7F6A085A17F518B5D8F6B916D )
  TXT "a ; no comment ( and no parenthesis" "\" quoted"
NS1.EXAMPLE A 192.0.2.53
  AAAA 2001:DB8:0::53
$ORIGIN net.
xn--bcher-kva.com. NS ns2.example
""".replace("\n", "\r\n")


def test_a_master_file_says_the_same_as_the_czds_form(tmp_path: Path) -> None:
    one, other = read(tmp_path, zone(tmp_path, CZDS)), read(tmp_path, zone(tmp_path, MASTER, "com.zone"))
    assert (other.told, other.broken) == ([], [])
    one.counts = {**one.counts, "lines of zone files": 16}
    assert other == one


def test_one_file_may_mix_both_forms_and_blank_owners_follow_either(tmp_path: Path) -> None:
    text = (
        SOA
        + "a.com.\t1\tin\tns\tn.example.net.\n 1 IN NS m.example.net.\nb.com. NS n.example.net.\n NS m.example.net.\n"
    )
    text += "c.com.\t1\tin\tns\tn.example.net.\n\tA 192.0.2.1\n"
    found = read(tmp_path, zone(tmp_path, text))
    assert (found.domains, found.glue) == (["a.com", "b.com", "c.com"], [("192.0.2.1", "c.com")])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("$INCLUDE other.zone", "'$INCLUDE' is not followed"),
        ("$GENERATE 1-9 a$ NS n.", "'$GENERATE' is not followed"),
        ("relative NS n.example.", "'relative' is relative, and no $ORIGIN came before"),
        ("a.com. CH NS n.example.", "class CH, not IN"),
        ("a.com. IN NOSUCH n.example.", "unknown type 'NOSUCH'"),
        ("a.com. IN TYPE99999 x", "unknown type 'TYPE99999'"),
        ("a.com. IN AXFR x", "type 'AXFR' stands in no zone"),
        ("a.com. 1", "no type"),
        ("a.com. NS", "NS with 0 fields"),
        ("a.com. NS n. m.", "NS with 2 fields"),
        ("a.com. A 192.0.2.256", "'192.0.2.256' is no address of type A"),
        ("a.com. AAAA 192.0.2.1", "'192.0.2.1' is no address of type AAAA"),
        ("-a-.com. NS n.example.", "'-a-.com' is no host name"),
        (r"a\.b.com. NS n.example.", r"'a\\.b.com' is no host name"),
        ("a..com. NS n.example.", "A DNS label is empty."),
        (f"{'a' * 64}.com. NS n.example.", "A DNS label is > 63 octets long."),
        ("\xe9.com. NS n.example.", r"'Ã©.com.' is no name: not ASCII"),
        ('a.com. TXT "open', "the quote is not closed"),
        ("a.com. NS n.example. )", "a parenthesis is closed that is not open"),
        ("net. SOA a. b. 1 2 3 4 5", "SOA record of net in the zone com"),
        ("com. SOA a. b. x 2 3 4 5", "serial number 'x'"),
        ("com. SOA a. b. 99999999999 2 3 4 5", "serial number '99999999999'"),
        ("com. SOA a. b. 1", "SOA with 3 fields"),
    ],
)
def test_a_bad_line_is_told_with_file_line_and_reason_and_the_rest_is_read(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = zone(tmp_path, f"{SOA}{line}\nb.com.\t1\tin\tns\tn.example.\nc.com. NS n.example.\n", "com.txt")
    found = read(tmp_path, path)
    assert (found.told, found.bad_lines) == ([f"{path}:2: {reason}"], 1)
    assert found.domains == ["b.com", "c.com"]


def test_a_blank_owner_behind_a_bad_one_is_bad_too(tmp_path: Path) -> None:
    found = read(tmp_path, zone(tmp_path, SOA + "-.com NS n.\n NS n.\n", "com.txt"))
    assert [line.partition(":")[2] for line in found.told] == [
        "2: '-.com' is relative, and no $ORIGIN came before",
        "3: no owner, and no record before to take it from",
    ]
    assert found.domains == []


def test_a_parenthesis_that_stays_open_is_told_where_it_opens(tmp_path: Path) -> None:
    path = zone(tmp_path, SOA + "a.com.\t1\tin\tns\tn.example.\nb.com. TXT ( a\nb.com. NS n.example.\n", "com.txt")
    found = read(tmp_path, path)
    assert (found.told, found.domains) == ([f"{path}:3: the parenthesis is not closed"], ["a.com"])


def test_a_record_without_an_end_takes_no_more_memory_than_its_bound(tmp_path: Path) -> None:
    path = zone(tmp_path, SOA + "a.com. TXT (\n" + "x" * 600_000 + "\n" + "x" * 600_000 + "\nb.com. NS n.example.\n")
    found = read(tmp_path, path)
    assert (found.told, found.domains) == ([f"{path}:2: longer than 1,048,576 bytes"], ["b.com"])


@pytest.mark.parametrize("form", ["\t1\tin\tns\t", " NS "])
def test_what_is_delegated_but_no_registered_domain_is_counted_apart(tmp_path: Path, form: str) -> None:
    # uk delegates co.uk, which others register under, and names below it; www.a.uk is below a delegation.
    names = ["uk", "a.uk", "www.a.uk", "co.uk", "b.co.uk", "www.b.co.uk", "c.org.uk", "d.com", "uk.example"]
    text = "uk. SOA a. b. 1 2 3 4 5\n" + "".join(f"{name}.{form}n.example.net.\n" for name in names)
    found = read(tmp_path, zone(tmp_path, text))
    assert found.domains == ["a.uk", "b.co.uk", "c.org.uk"]
    counts = (
        found.counts["delegated public suffixes"],
        found.counts["delegations below another"],
        found.counts["delegations outside of their zone"],
    )
    assert counts == (1, 2, 2)


def test_wildcards_and_exceptions_of_the_public_suffix_list_count(tmp_path: Path) -> None:
    text = "ck. SOA a. b. 1 2 3 4 5\n" + "".join(f"{name}.ck. NS n.example.\n" for name in ("org", "a.org", "www"))
    assert read(tmp_path, zone(tmp_path, text)).domains == ["a.org.ck", "www.ck"]


def test_the_root_zone_delegates_top_level_domains(tmp_path: Path) -> None:
    text = ".\t\t\t86400\tIN\tSOA\ta. b. 2026112400 1 2 3 4\n.\t\t\t518400\tIN\tNS\ta.root-servers.net.\n"
    text += "com.\t\t\t172800\tIN\tNS\ta.gtld-servers.net.\nuk.\t\t\t172800\tIN\tNS\tnsa.nic.uk.\n"
    found = read(tmp_path, zone(tmp_path, text))
    assert (found.domains, found.sizes) == (["com", "uk"], [ZoneSize("", "2026-11-24", 2)])


@pytest.mark.parametrize(
    ("serial", "date"),
    [
        ("2026112401", "2026-11-24"),
        ("2026112699", "2026-11-26"),  # a day ahead: time zones
        ("2026112701", "2026-11-25"),  # the file is older than that
        ("1732406401", "2026-11-25"),  # seconds since the epoch, which look like no date
        ("2026023001", "2026-11-25"),
        ("1", "2026-11-25"),
    ],
)
def test_the_date_is_that_of_the_serial_number_or_else_of_the_file(tmp_path: Path, serial: str, date: str) -> None:
    path = zone(tmp_path, SOA.replace("2026112401", serial))
    assert read(tmp_path, path).sizes == [ZoneSize("com", date, 0)]
    assert read(tmp_path, f"{path}@2025-01-31").sizes == [ZoneSize("com", "2025-01-31", 0)]


def test_a_date_that_is_none_and_a_file_that_is_not_there_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SurveyError, match="2025-02-30 is no date"):
        read(tmp_path, "x@2025-02-30")
    with pytest.raises(SurveyError, match="nowhere: No such file"):
        read(tmp_path, str(tmp_path / "nowhere"))


def test_a_file_without_soa_gives_its_domains_but_no_size(tmp_path: Path) -> None:
    path = zone(tmp_path, CZDS.partition("\n")[2])
    found = read(tmp_path, path)
    assert found.domains == ["example.com", "xn--bcher-kva.com"]  # com itself is a public suffix
    assert (found.sizes, found.broken) == ([], [f"{path}: no SOA record, so nobody knows of what zone its names are"])


def test_a_truncated_archive_says_so_and_keeps_what_came_before(tmp_path: Path) -> None:
    lines = [f"d{n:06}.com.\t172800\tin\tns\tns{n * 7919 % 1000}.example.net.\n" for n in range(30_000)]
    path = zone(tmp_path, SOA + "".join(lines))
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])
    found = read(tmp_path, path)
    assert found.broken == [f"{path}: the archive is truncated"]
    assert found.bad_lines == 0
    assert 10_000 < len(found.domains) < 20_000
    assert found.domains == [f"d{n:06}.com" for n in range(len(found.domains))]
    assert found.sizes == [ZoneSize("com", "2026-11-24", len(found.domains))]


def test_unsorted_zones_give_each_domain_and_name_server_once(tmp_path: Path) -> None:
    names = [f"d{n * 7919 % 5000}" for n in range(20_000)]
    text = SOA + "".join(f"{name}.com.\t1\tin\tns\tn{name}.example.net.\n" for name in names)
    found = read(tmp_path, zone(tmp_path, text))
    assert len(found.domains) == len(set(found.domains)) == found.counts["name servers"] == 5000


def test_nothing_of_its_own_is_left_but_the_domains(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    read(tmp_path / "work", zone(tmp_path, CZDS))
    assert [path.name for path in (tmp_path / "work").rglob("*") if path.is_file()] == ["domains.parquet"]


LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,6}[a-z0-9])?", fullmatch=True)
OWNERS = st.lists(LABELS, min_size=0, max_size=3).map(".".join)
HOSTS = st.lists(LABELS, min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "net"]))
RECORDS = st.one_of(
    st.tuples(OWNERS, st.just("NS"), HOSTS.map("{}.".format)),
    st.tuples(OWNERS, st.just("A"), st.ip_addresses(v=4).map(str)),
    st.tuples(OWNERS, st.just("AAAA"), st.ip_addresses(v=6).map(str)),
    st.tuples(OWNERS, st.just("TXT"), st.sampled_from(["plain", '"two words"', '"; ( \\" )"', "a b"])),
    st.tuples(OWNERS, st.just("MX"), HOSTS.map("10 {}.".format)),
)
SPACES = st.sampled_from([" ", "\t", "  ", " \t"])


def absolute(owner: str) -> str:
    return f"{owner}.test." if owner else "test."


def in_czds_form(records: Iterable[tuple[str, str, str]]) -> str:
    return "".join(f"{absolute(owner)}\t60\tin\t{type_.lower()}\t{data}\n" for owner, type_, data in records)


@st.composite
def in_master_form(draw: st.DrawFn, records: list[tuple[str, str, str]]) -> str:
    """Write the same records with relative names, blank owners, parentheses, comments, TTL and class at will."""
    lines = ["$ORIGIN test.", "$TTL 60"]
    before = None
    for owner, type_, data in records:
        forms = [absolute(owner).upper(), owner or "@"]
        written = draw(st.sampled_from([*forms, ""] if owner == before else forms))
        ttl = draw(st.sampled_from(["", "60", "1m", "IN", "60 IN", "in 60"]))
        if type_ == "NS" and draw(st.booleans()):
            data = data.upper()  # noqa: PLW2901 -- the same name
        opening, closing = draw(st.sampled_from([("", ""), ("(", ")"), ("( ; (\n", "\n)"), ("(\n\n", ")")]))
        comment = draw(st.sampled_from(["", " ; it's \"so (", ";"]))
        space = draw(SPACES)
        lines.append(f"{written}{space}{ttl}{space}{type_}{space}{opening}{space}{data}{space}{closing}{comment}")
        lines += draw(st.sampled_from([[], [""], ["; comment"], ["$TTL 1h"]]))
        before = owner
    return "\n".join(lines) + draw(st.sampled_from(["", "\n"]))


QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(st.data(), st.lists(RECORDS, max_size=12))
def test_both_readers_and_dnspython_agree_on_a_zone(
    tmp_path: Path, data: st.DataObject, records: list[tuple[str, str, str]]
) -> None:
    soa = [("", "SOA", "a.test. b.test. 2026112401 1 2 3 4"), ("", "NS", "n.net.")]
    master = data.draw(in_master_form(soa + records))
    one = read(tmp_path, zone(tmp_path, in_czds_form(soa + records), "czds.txt"))
    other = read(tmp_path, zone(tmp_path, master, "master.txt"))
    for found in (one, other):
        del found.counts["lines of zone files"]
    assert one == other
    assert not one.told
    parsed = dns.zone.from_text(master, "test.", relativize=False, check_origin=False)
    theirs = {name.to_text(omit_final_dot=True).lower() for name, _ in parsed.iterate_rdatasets("NS")} - {"test"}
    below = {name for name in theirs if any(name.endswith(f".{other}") for other in theirs)}
    assert one.domains == sorted(theirs - below)
    servers = {rdata.target.to_text().lower() for _, _, rdata in parsed.iterate_rdatas("NS")}
    assert one.counts["name servers"] == len(servers)
    glue = {
        (rdata.address, name.to_text(omit_final_dot=True).lower())
        for type_ in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for name, _, rdata in parsed.iterate_rdatas(type_)
    }
    assert set(one.glue) == glue


@settings(QUICK, max_examples=300)
@given(st.one_of(st.binary(max_size=400), st.text('ab.\t\n ();"\\@$IN NS SOA 1', max_size=200).map(str.encode)))
@example(b'a.test. NS "\n(')
@example(b"a. NS b\\\n")
def test_random_bytes_crash_nothing(tmp_path: Path, content: bytes) -> None:
    told: list[str] = []
    report = Report(Options(tmp_path), told.append)
    source = ZoneSource(zone(tmp_path, content, "a.txt"), report)
    with closing(NameSorter(tmp_path)) as names, closing(source._reader):
        assert source._read(_Piece.of(content + b"\n"), 0, names) == content.count(b"\n") + 1
    assert len(told) == report.bad_lines <= content.count(b"\n") + 1


@settings(QUICK, max_examples=10)
@given(st.binary(max_size=60), st.integers(0, 100))
def test_damaged_archives_crash_nothing(tmp_path: Path, content: bytes, at: int) -> None:
    damaged = bytearray(gzip.compress(CZDS.encode()))
    damaged[at : at + len(content)] = content
    with suppress(TargetsError):  # one of which nothing can be read
        read(tmp_path, zone(tmp_path, bytes(damaged), "c"))
