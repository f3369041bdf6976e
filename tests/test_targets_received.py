import gzip
import mailbox
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpsurvey.items import Target
from smtpsurvey.kinds import ReceivedItem
from smtpsurvey.targets.received_counts import ReceivedCounts
from smtpsurvey.targets.received_mail import MAX_SECTION, mbox_sections, received_values
from smtpsurvey.targets.received_route import Hop
from smtpsurvey.targets.source import TargetsError
from smtpsurvey.targets.sources import Options, Report, open_source


@attrs.define
class Read:
    """All that a source gave."""

    addresses: set[str] = attrs.field(factory=set)
    items: list[ReceivedItem] = attrs.field(factory=list)
    told: list[str] = attrs.field(factory=list)
    messages: int = 0
    bad_lines: int = 0

    def rows(self) -> set[tuple[str | None, str | None, str | None, int, bool | None, int]]:
        return {
            (
                each.address,
                each.name,
                each.software and f"{each.software.product} {each.software.version or ''}".strip(),
                each.hop,
                each.consistent,
                each.messages,
            )
            for each in self.items
        }


def read(work: Path, argument: str) -> Read:
    found = Read()
    report = Report(Options(work, survey="2026-11"), found.told.append)
    for block in open_source(f"received:{argument}", report).blocks():
        if block.v4 is not None:
            found.addresses |= {".".join(map(str, number.to_bytes(4, "big"))) for number in block.v4.tolist()}
            assert block.v4.dtype == np.uint32
        found.addresses |= {target.ip for target in block.targets if isinstance(target, Target)}
        found.items += block.received
    found.messages, found.bad_lines = report.counts["messages read"], report.bad_lines
    return found


POSTFIX = """Received: from out.example.net (out.example.net [192.0.2.1])
\tby mx.example.com (Postfix) with ESMTPS id 65DD04B5A
\tfor <a@example.com>; Wed, 25 Nov 2026 02:37:00 +0000 (UTC)
"""
EXIM = """Received: from [198.51.100.7] (helo=hub.example.org)
\tby out.example.net with esmtps (TLS1.3) tls TLS_AES_256_GCM_SHA384
\t(Exim 4.96.2) (envelope-from <b@example.org>)
\tid 1waszB-0001aX-KB; Wed, 25 Nov 2026 02:36:00 +0000
"""
EXCHANGE = """Received: from MBX.example.org (2001:db8::9) by
 hub.example.org (198.51.100.7) with Microsoft SMTP Server
 (version=TLS1_2, cipher=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) id
 15.1.2507.31; Wed, 25 Nov 2026 02:35:59 +0000
"""
MESSAGE = f"Return-Path: <b@example.org>\n{POSTFIX}{EXIM}{EXCHANGE}Subject: hello\n\nReceived: from nobody by nowhere\n"
FROM = "From b@example.org Wed Nov 25 02:37:00 2026\n"
ROWS = {
    (None, "mx.example.com", "Postfix", 1, None, 1),
    ("192.0.2.1", "out.example.net", "Exim 4.96.2", 2, True, 1),
    ("198.51.100.7", "hub.example.org", "Exchange Server 15.1.2507.31", 3, True, 1),
    ("2001:db8::9", "mbx.example.org", None, 4, None, 1),
}


def test_a_message_gives_each_hop_with_its_address_name_and_software(tmp_path: Path) -> None:
    (tmp_path / "one.eml").write_text(MESSAGE)
    found = read(tmp_path, str(tmp_path / "one.eml"))
    assert found.rows() == ROWS
    assert found.addresses == {"192.0.2.1", "198.51.100.7", "2001:db8::9"}
    assert {(each.survey, each.time, each.source) for each in found.items} == {
        ("2026-11", "2026-11-25T02:37:00.000Z", "received")
    }


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_mbox_counts_the_messages_that_say_the_same(tmp_path: Path, pack: type[bytes]) -> None:
    text = (FROM + MESSAGE + ">From here on, 10:30 it is\nFrom here too\n\n") * 3
    (tmp_path / "mbox").write_bytes(pack(text.encode()))
    found = read(tmp_path, str(tmp_path / "mbox"))
    assert found.messages == 3
    assert found.rows() == {(*row[:5], 3) for row in ROWS}


def test_maildirs_and_folders_of_them_are_read_but_never_what_is_being_delivered(tmp_path: Path) -> None:
    for folder in ("Mail/new", "Mail/cur", "Mail/tmp", "Mail/.Sent/cur", "Mail/.Sent/tmp"):
        (tmp_path / "mail" / folder).mkdir(parents=True)
        (tmp_path / "mail" / folder / "1.M1.host:2,S").write_text(MESSAGE)
    (tmp_path / "mail/Mail/new/2.gz").write_bytes(gzip.compress(MESSAGE.encode()))
    (tmp_path / "mail/Mail/dovecot-uidlist").write_text("3 V1 N2\n")
    (tmp_path / "mail/lists").mkdir()
    (tmp_path / "mail/lists/2026-11").write_text(FROM + MESSAGE)
    (tmp_path / "mail/lists/.index").write_text("x")
    (tmp_path / "mail/lists/notes").write_text("no mail\n")
    (tmp_path / "mail/lists/loop").symlink_to(tmp_path / "mail")
    found = read(tmp_path, str(tmp_path / "mail"))
    assert found.messages == 5
    assert found.rows() == {(*row[:5], 5) for row in ROWS}
    assert found.told == [f"{tmp_path}/mail/lists/notes:1: neither an mbox nor a message"]
    assert found.bad_lines == 1


def test_a_path_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(TargetsError, match="nowhere: No such file or directory"):
        read(tmp_path, str(tmp_path / "nowhere"))


def test_a_truncated_mbox_says_so_and_keeps_what_came_before(tmp_path: Path) -> None:
    text = "".join(FROM + MESSAGE.replace("192.0.2.1", f"192.0.2.{n % 256}") + f"{n * n}\n\n" for n in range(3000))
    packed = gzip.compress(text.encode())
    (tmp_path / "mbox").write_bytes(packed[: len(packed) // 2])
    found = read(tmp_path, str(tmp_path / "mbox"))
    assert found.told == [f"{tmp_path}/mbox: the archive is truncated"]
    assert 1000 < found.messages < 2000


def test_a_header_section_without_end_is_cut() -> None:
    blocks = [
        b"From a 10:00\n" + POSTFIX.encode(),
        *[b"X: y\n" * 40_000] * 5,
        EXIM.encode() + b"\n\nFrom b 10:00\nA: b\n",
    ]
    one, two = mbox_sections(blocks)
    assert (len(one), two) == (MAX_SECTION, b"A: b\n")
    assert len(received_values(one)) == 1


def test_counts_that_go_to_disk_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpsurvey.targets.received_counts.KEPT", 10)
    counts = ReceivedCounts(tmp_path)
    for n in range(300):
        counts.add(Hop(f"192.0.2.{n % 30}", None, None, 1, None), float(n))
    found = [each for some in counts.finish() for each in some]
    assert {each.hop.address: (each.messages, each.time) for each in found} == {
        f"192.0.2.{n}": (10, 270.0 + n) for n in range(30)
    }
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


QUICK = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(QUICK, max_examples=40)
@given(st.binary(max_size=300).map(lambda content: content.replace(b"\0", b"")))
def test_random_bytes_crash_nothing(tmp_path: Path, content: bytes) -> None:
    for number, start in enumerate((b"", b"From a 10:00\nReceived: ", b"Received: ")):
        (tmp_path / str(number)).write_bytes(start + content)
        with suppress(TargetsError):
            read(tmp_path, str(tmp_path / str(number)))


HEADERS = st.lists(
    st.sampled_from([POSTFIX, EXIM, EXCHANGE, "Subject: From me\n", "X-Y: z\n From 10:00\n"]), min_size=1
)
BODIES = st.lists(st.sampled_from(["text", "", "From me to you", "From me at 10:30", "Received: x", "\xe9"])).map(
    "\n".join
)


@QUICK
@given(st.lists(st.tuples(HEADERS, BODIES), max_size=5), st.data(), st.sampled_from(["\n", "\r\n"]))
def test_an_mbox_is_parted_as_pythons_own_library_writes_it(
    tmp_path: Path, messages: list[tuple[list[str], str]], data: st.DataObject, end: str
) -> None:
    path = tmp_path / "mbox"
    path.unlink(missing_ok=True)
    box = mailbox.mbox(path)
    for headers, body in messages:
        box.add(("".join(headers) + "\n" + body).encode("latin-1"))
    box.close()
    content = path.read_bytes().replace(b"\n", end.encode())
    found = [len(received_values(section)) for section in mbox_sections(pieces(content, data))]
    assert found == [sum(header.startswith("Received") for header in headers) for headers, _ in messages]


def pieces(content: bytes, data: st.DataObject) -> Iterator[bytes]:
    """Cut it behind line feeds here and there."""
    lines = content.splitlines(keepends=True)
    while lines:
        count = data.draw(st.integers(1, len(lines)))
        yield b"".join(lines[:count])
        del lines[:count]
