"""Command files: what is a command, what is none, and what is said of that."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.worker.commands import MAX_LINE, Command, CommandLines, Word, is_address, read_command


def read(data: bytes, *, cuts: tuple[int, ...] = ()) -> tuple[list[str], list[str]]:
    """Read a file, cut into blocks; give the commands, each with its line, and the errors."""
    bad: list[str] = []
    lines = CommandLines("f", lambda error: bad.append(str(error)))
    found: list[Command] = []
    places = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(places):
        found += lines.feed(data[start:end])
    found += lines.finish()
    return [f"{command.line} {command}" for command in found], bad


GOOD = """\
\ufeffSTART
# a comment

log it's a text\t # and a comment
LOG it#s
 COMMAND-FETCH   https://a.example:8443/x?y=#z   jobs-1.txt\r
SLEEP 0.5
SERVICE-THREAD 0
HEARTBEAT-THREAD
HEARTBEAT-THREAD 5
SMTP-PROBE 192.0.2.1
SMTP-PROBE 2001:DB8:0::1 MX.Example.org.
DEST-AS-CHECK 192.0.2.1
TRACEROUTE 192.0.2.1
MX-LOOKUP Example.ORG
DNS-LOOKUP bücher.example
DNS-REVERSE 192.0.2.1
DNS-REVERSE 2001:db8::1
IPV6-DNS-LOOKUP _x.example
HTTP-FETCH http://[2001:db8::1]/
CAPABILITIES
END""".encode()


def test_every_command_is_read_in_canonical_form() -> None:
    found, bad = read(GOOD)
    assert bad == []
    assert [line.partition(" ")[2] for line in found] == [
        "START",
        "LOG it's a text",
        "LOG it#s",
        "COMMAND-FETCH https://a.example:8443/x?y=#z jobs-1.txt",
        "SLEEP 0.5",
        "SERVICE-THREAD 0",
        "HEARTBEAT-THREAD 60",
        "HEARTBEAT-THREAD 5",
        "SMTP-PROBE 192.0.2.1",
        "SMTP-PROBE 2001:db8::1 mx.example.org",
        "DEST-AS-CHECK 192.0.2.1",
        "TRACEROUTE 192.0.2.1",
        "MX-LOOKUP example.org",
        "DNS-LOOKUP xn--bcher-kva.example",
        "DNS-REVERSE 1.2.0.192.in-addr.arpa",
        "DNS-REVERSE 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
        "IPV6-DNS-LOOKUP _x.example",
        "HTTP-FETCH http://[2001:db8::1]/",
        "CAPABILITIES",
        "END",
    ]
    assert found[1].startswith("4 ")
    assert {line.split()[1] for line in found} == set(Word)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("BOGUS x", "'BOGUS' is no command"),
        ("END now", "'now': there are no arguments"),
        ("LOG", "there is no text"),
        ("LOG \x1b[31mred", r"'\x1b[31mred' is no text that can be printed"),
        ("SLEEP", "'' is no number of seconds"),
        ("SLEEP -1", "'-1' is no number of seconds"),
        ("SLEEP nan", "'nan' is no number of seconds"),
        ("SLEEP 99999999", "'99999999' is no number of seconds"),
        ("HEARTBEAT-THREAD 0", "an interval of 0 seconds"),
        ("SERVICE-THREAD 65536", "'65536' is no port"),
        ("SERVICE-THREAD 0.0.0.0:25", "'0.0.0.0:25' is no port"),
        ("SMTP-PROBE", "'' is no IPv4 or IPv6 address"),
        ("SMTP-PROBE mx.example.org", "'mx.example.org' is no IPv4 or IPv6 address"),
        ("SMTP-PROBE 192.0.2.1 a b", "'192.0.2.1 a b' is more than address and name"),
        ("SMTP-PROBE 192.0.2.1 -", "'-' is no host name"),
        ("TRACEROUTE fe80::1%eth0", "'fe80::1%eth0' is an address of this machine alone"),
        ("TRACEROUTE ::ffff:192.0.2.1", "'::ffff:192.0.2.1' is an address of this machine alone"),
        ("DNS-REVERSE 192.0.2.0/24", "'192.0.2.0/24' is no IPv4 or IPv6 address"),
        ("MX-LOOKUP a..b", "'a..b' is no name of the DNS"),
        (
            "HTTP-FETCH file:///etc/passwd",
            "'file:///etc/passwd' is no http or https URL (in ASCII, without credentials)",
        ),
        ("HTTP-FETCH http://", "'http://' is no http or https URL (in ASCII, without credentials)"),
        ("HTTP-FETCH http://[", "'http://[' is no http or https URL (in ASCII, without credentials)"),
        ("HTTP-FETCH http://a:b@c/", "'http://a:b@c/' is no http or https URL (in ASCII, without credentials)"),
        ("COMMAND-FETCH http://a/", "'' is no plain file name (letters, digits, . _ -)"),
        ("COMMAND-FETCH http://a/ ../x", "'../x' is no plain file name (letters, digits, . _ -)"),
        ("COMMAND-FETCH http://a/ .x", "'.x' is no plain file name (letters, digits, . _ -)"),
        ("COMMAND-FETCH http://a/ /etc/x", "'/etc/x' is no plain file name (letters, digits, . _ -)"),
    ],
)
def test_a_bad_line_names_file_line_and_reason_and_the_rest_goes_on(line: str, reason: str) -> None:
    assert read(f"START\n{line}\nEND\n".encode()) == (["1 START", "3 END"], [f"f:2: {reason}"])


def test_a_line_that_is_no_text_is_told() -> None:
    assert read(b"LOG \xff\nEND") == (["2 END"], ["f:1: not UTF-8"])


@pytest.mark.parametrize("size", [MAX_LINE + 1, 3 * MAX_LINE])
@pytest.mark.parametrize("step", [1000, 10**9])
def test_a_line_that_is_too_long_is_told_once(size: int, step: int) -> None:
    data = b"START\n" + b"x" * size + b"\nEND\n"
    cuts = tuple(range(step, len(data), step))
    assert read(data, cuts=cuts) == (["1 START", "3 END"], [f"f:2: longer than {MAX_LINE} bytes"])


@given(st.sets(st.integers(0, len(GOOD)), max_size=8))
def test_blocks_may_end_anywhere(cuts: set[int]) -> None:
    assert read(GOOD, cuts=tuple(cuts)) == read(GOOD)


@given(st.lists(st.sampled_from([*(word.encode() for word in Word), b" ", b"\n", b"#", b"1", b"\xff", b"http://a/"])))
def test_whatever_comes_is_a_command_or_told(parts: list[bytes]) -> None:
    found, bad = read(b"".join(parts))
    assert len(found) + len(bad) <= b"".join(parts).count(b"\n") + 1


@given(st.binary(max_size=100))
def test_garbage_is_no_command(data: bytes) -> None:
    found, _ = read(b"\0" + data.replace(b"\n", b""))
    assert found == []


def test_a_command_writes_itself_as_a_line_that_reads_the_same() -> None:
    command = read_command(b"SLEEP 1.25", "f", 1)
    assert command is not None
    assert (str(command), command.place) == ("SLEEP 1.25", "f:1")


def test_hosts_are_names_or_addresses() -> None:
    assert [is_address(host) for host in ("192.0.2.1", "2001:db8::1", "mx.example.org")] == [True, True, False]
