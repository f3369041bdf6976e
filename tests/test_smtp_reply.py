from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsurvey.outcomes import Trouble
from smtpsurvey.smtp import reply as reply_module
from smtpsurvey.smtp.capabilities import extensions
from smtpsurvey.smtp.reply import Limits, NotAReplyError, Reply, ReplyReader, complete, unfinished

SMALL = Limits(line=12, lines=4)


def read(pieces: Iterable[bytes], limits: Limits = Limits()) -> tuple[list[Reply], Trouble | None, bytes]:  # noqa: B008 - frozen
    """Feed pieces one by one: the replies, what ended the reading (if anything), and the rest."""
    reader = ReplyReader(limits)
    replies = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (reply := reader.next_reply()) is not None:
                replies.append(reply)
    except NotAReplyError as error:
        return replies, error.trouble, reader.rest()
    return replies, None, reader.rest()


def facts(pieces: Iterable[bytes], limits: Limits) -> tuple[list[tuple[int | None, bytes, tuple[bytes, ...]]], object]:
    replies, trouble, _ = read(pieces, limits)
    return [(reply.code, reply.raw, reply.lines) for reply in replies], trouble


def one(raw: bytes) -> Reply:
    replies, trouble, rest = read([raw])
    assert (len(replies), trouble, rest) == (1, None, b"")
    assert replies[0].raw == raw
    return replies[0]


def singly(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(
    ("raw", "code", "lines"),
    [
        pytest.param(b"220 mx.example.org ESMTP\r\n", 220, (b"mx.example.org ESMTP",), id="as the RFC has it"),
        pytest.param(b"220 mx.example.org ESMTP\n", 220, (b"mx.example.org ESMTP",), id="bare LF"),
        pytest.param(b"220 mx\r\r\n", 220, (b"mx",), id="CR CR LF"),
        pytest.param(b"220\r\n", 220, (b"",), id="no text"),
        pytest.param(b"220\n", 220, (b"",), id="no text, bare LF"),
        pytest.param(b"220 \r\n", 220, (b"",), id="a blank and no text"),
        pytest.param(b"220\tmx.example.org\r\n", 220, (b"mx.example.org",), id="tab for the blank"),
        pytest.param(b"220-a\r\n220\r\n", 220, (b"a", b""), id="last line without text"),
        pytest.param(b"220-a\r\n220 \r\n", 220, (b"a", b""), id="last line with a blank only"),
        pytest.param(b"220-a\n220-b\n220 c\n", 220, (b"a", b"b", b"c"), id="three lines, bare LF"),
        pytest.param(b"250-a\n250-b\r\n250 c\n", 250, (b"a", b"b", b"c"), id="line ends of both kinds"),
        pytest.param(b"250-a\r\r\n250 c\r\r\n", 250, (b"a", b"c"), id="two lines, CR CR LF"),
        pytest.param(b"220-\r\n220-\r\n220 x\r\n", 220, (b"", b"", b"x"), id="empty middle lines"),
        pytest.param(b"220-554 no\r\n220 554-x\r\n", 220, (b"554 no", b"554-x"), id="codes within the text"),
        pytest.param(b"220  x  \r\n", 220, (b" x  ",), id="blanks of the text are kept"),
        pytest.param(b"220 gr\xfc\xdfe\r\n", 220, (b"gr\xfc\xdfe",), id="Latin-1"),
        pytest.param("220 grüße\r\n".encode(), 220, ("grüße".encode(),), id="UTF-8"),
        pytest.param(b"220 a\0b\0\r\n", 220, (b"a\0b\0",), id="NULs"),
        pytest.param(b"220-a\0\r\n220 \0\r\n", 220, (b"a\0", b"\0"), id="NULs, two lines"),
        pytest.param(b"220 a\rb\r\n", 220, (b"a\rb",), id="CR within the text"),
        pytest.param(b"220\rb\r\n", 220, (b"b",), id="CR for the blank"),
        pytest.param(b"220 \x1b[2Jx\x07\r\n", 220, (b"\x1b[2Jx\x07",), id="control characters"),
        pytest.param(b"554 go away\r\n", 554, (b"go away",), id="refusal"),
        pytest.param(b"000 odd\r\n", 0, (b"odd",), id="code 000"),
        pytest.param(b"999 odd\r\n", 999, (b"odd",), id="code 999"),
    ],
)
def test_replies_of_real_servers(raw: bytes, code: int, lines: tuple[bytes, ...]) -> None:
    reply = one(raw)
    assert (reply.code, reply.lines, reply.mixed_codes) == (code, lines, False)
    assert facts([raw], Limits()) == facts(singly(raw), Limits())


@pytest.mark.parametrize(
    ("raw", "code", "mixed"),
    [
        (b"220-a\r\n250 b\r\n", 250, True),
        (b"550-a\r\n554-b\r\n550 c\r\n", 550, True),
        (b"250-a\r\n250 b\r\n", 250, False),
        (b"250-a\rb\r\n250 c\r\n", 250, False),
        (b"250-a\x0bb\x0cc\x85\r\n250 d\r\n", 250, False),
        (b"250-a\r\r\n250 c\r\r\n", 250, False),
    ],
)
def test_a_code_that_changes_is_seen_and_the_last_one_counts(raw: bytes, code: int, mixed: bool) -> None:  # noqa: FBT001 - a table
    reply = one(raw)
    assert (reply.code, reply.mixed_codes) == (code, mixed)


def test_several_lines_that_each_end_a_reply_are_several_replies() -> None:
    replies, trouble, rest = read([b"220 a\r\n220 b\r\n220 c\r\n22"])
    assert [reply.lines for reply in replies] == [(b"a",), (b"b",), (b"c",)]
    assert (trouble, rest) == (None, b"22")


def test_text_escapes_what_is_no_utf8_and_keeps_the_rest() -> None:
    assert one(b"220-gr\xfc\xc3\xbc\x00\x1b\r\n220 x\\xfc\r\n").text == "gr\\xfcü\0\x1b\nx\\xfc"


def test_nothing_fed_is_no_reply_yet() -> None:
    assert read([]) == ([], None, b"")
    assert read([b"", b"220", b"", b" x"]) == ([], None, b"220 x")


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"H", id="HTTP"),
        pytest.param(b"S", id="SSH"),
        pytest.param(b"\x16", id="TLS"),
        pytest.param(b"*", id="IMAP"),
        pytest.param(b"+", id="POP3"),
        pytest.param(b"\xff", id="telnet"),
        pytest.param(b"\x00", id="binary"),
        pytest.param(b"\n", id="an empty line"),
        pytest.param(b"\r", id="an empty line, CR"),
        pytest.param(b" ", id="a blank"),
        pytest.param(b"2\n", id="one digit"),
        pytest.param(b"22\n", id="two digits"),
        pytest.param(b"2 ", id="one digit and a blank"),
        pytest.param(b"2200", id="four digits"),
        pytest.param(b"220x", id="no separator"),
        pytest.param("٢".encode()[:1], id="digits that are not ASCII"),
        pytest.param(b"220-a\r\nx", id="later lines without a code"),
        pytest.param(b"220-a\n220-b\n2200", id="four digits in the last line"),
        pytest.param(b"220-a\r\n\r", id="an empty line within"),
    ],
)
def test_what_cannot_become_a_reply_is_known_at_its_first_wrong_byte(beginning: bytes) -> None:
    assert read(singly(beginning[:-1]))[1] is None
    assert read(singly(beginning))[1:] == (Trouble.NOT_SMTP, beginning)
    # ... and however much comes at once, it stays what it is.
    assert read([beginning + b"x" * 100_000])[1] is Trouble.NOT_SMTP
    assert read([beginning + b"x" * 100_000 + b"\n"])[1] is Trouble.NOT_SMTP


def test_replies_before_the_garbage_are_given() -> None:
    replies, trouble, rest = read([b"220 a\r\nHTTP/1.1 400\r\n"])
    assert ([reply.code for reply in replies], trouble, rest) == ([220], Trouble.NOT_SMTP, b"HTTP/1.1 400\r\n")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("shape", [b"220 %b%b", b"220-%b%b220 x\r\n", b"220-x\r\n220 %b%b", b"220\t%b%b"])
@pytest.mark.parametrize("limits", [Limits(), SMALL, Limits(line=300, lines=256), Limits(line=20, lines=1000)])
def test_the_bound_of_a_line_leaves_its_end_out(shape: bytes, end: bytes, limits: Limits) -> None:
    most, over = (shape % (b"x" * (limits.line - 4 + more), end) for more in (0, 1))
    assert [reply.raw for reply in read([most], limits)[0]] == [most]
    assert [reply.raw for reply in read(singly(most), limits)[0]] == [most]
    assert read([over], limits)[:2] == ([], Trouble.OVERSIZE)
    assert read(singly(over), limits)[:2] == ([], Trouble.OVERSIZE)


def test_a_line_without_an_end_is_oversize_once_no_end_can_help() -> None:
    longest = b"220 " + b"x" * (SMALL.line - 4)
    assert read([longest + b"\r"], SMALL)[1] is None
    assert read([longest + b"xx"], SMALL)[1] is None  # the tests of whole lines say what comes of it
    assert read([longest + b"xxx"], SMALL)[1:] == (Trouble.OVERSIZE, longest + b"xxx")


@pytest.mark.parametrize("limits", [Limits(), SMALL, Limits(line=10, lines=1)])
def test_the_bound_of_lines_counts_the_last_one_too(limits: Limits) -> None:
    most, over = (b"220-x\r\n" * (limits.lines - 1 + more) + b"220 x\r\n" for more in (0, 1))
    assert len(read([most], limits)[0]) == len(read(singly(most), limits)[0]) == 1
    assert read([over], limits)[:2] == ([], Trouble.OVERSIZE)
    assert read(singly(over), limits)[:2] == ([], Trouble.OVERSIZE)


def test_a_reply_without_an_end_is_oversize_at_the_line_over_the_bound() -> None:
    middle = b"220-x\r\n"
    assert read([middle * SMALL.lines], SMALL)[1] is None
    assert read([middle * (SMALL.lines + 1)], SMALL)[1] is Trouble.OVERSIZE
    assert read([middle] * (SMALL.lines + 1), SMALL)[1] is Trouble.OVERSIZE


def test_bounds_are_those_of_one_reply_not_of_all() -> None:
    raw = b"220-x\r\n" * 3 + b"220 x\r\n"
    for pieces in ([raw * 3], [raw, raw, raw], singly(raw * 3)):
        assert [reply.raw for reply in read(pieces, SMALL)[0]] == [raw] * 3


@pytest.mark.parametrize("last", [b"HTTP\r\n", b"HT", b""])
def test_too_many_lines_come_before_the_garbage_behind_them(last: bytes) -> None:
    whole = b"220-x\r\n" * 5 + last
    for pieces in ([whole], [whole[:21], whole[21:]], singly(whole)):
        assert read(pieces, SMALL)[1] is Trouble.OVERSIZE


# What a server may say, as pieces that meet the reader's rules and bounds often.
said = st.lists(
    st.sampled_from(
        [b"220 x\r\n", b"220-x\r\n", b"250-y\n", b"250\r\n", b"220\t", b"220-", b"220", b"22", b"\r", b"\n", b"0", b"x"]
        + [b"220 " + b"x" * size + end for size in range(7, 13) for end in (b"", b"\r", b"\n", b"\r\n")]
        + [b"220-" + b"x" * size + end for size in range(7, 13) for end in (b"\n", b"\r\n")]
    )
    | st.binary(max_size=6),
    max_size=12,
).map(b"".join)


@st.composite
def cut(draw: st.DrawFn, data: st.SearchStrategy[bytes] = said) -> list[bytes]:
    """Cut bytes in pieces, anyhow."""
    whole = draw(data)
    cuts = draw(st.lists(st.integers(0, len(whole)), max_size=8).map(sorted))
    return [whole[begin:end] for begin, end in pairwise([0, *cuts, len(whole)])]


@settings(deadline=None, max_examples=1000, derandomize=True)
@given(cut())
def test_any_way_of_cutting_gives_the_same_replies_and_errors(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    assert facts(pieces, SMALL) == facts([whole], SMALL) == facts(singly(whole), SMALL)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=200), max_size=6))
def test_random_bytes_raise_nothing_but_the_readers_error(pieces: list[bytes]) -> None:
    replies, trouble, rest = read(pieces)
    assert trouble in (None, Trouble.NOT_SMTP, Trouble.OVERSIZE)
    kept = b"".join(reply.raw for reply in replies) + rest
    assert b"".join(pieces).startswith(kept)  # nothing is invented, nothing is lost
    assert trouble is not None or kept == b"".join(pieces)


class CountingPattern:
    """A pattern that notes how many bytes it was given to look at."""

    def __init__(self, pattern: object, looked_at: list[int]) -> None:
        self._pattern = pattern
        self._looked_at = looked_at

    def match(self, data: bytes | bytearray, position: int) -> object:
        self._looked_at.append(len(data) - position)
        return self._pattern.match(data, position)  # type: ignore[attr-defined]  # stands for any pattern


@pytest.mark.parametrize("line", [b"250-" + b"x" * 250 + b"\r\n", b"250-x\n", b"250-" + b"x" * 4090 + b"\r\n"])
@pytest.mark.parametrize("step", [1, 100, 65536])
def test_a_reply_is_scanned_a_constant_number_of_times(monkeypatch: pytest.MonkeyPatch, line: bytes, step: int) -> None:
    looked_at: list[int] = []
    for name in ("_REPLY", "_MIDDLE"):  # the third reads four bytes at most
        monkeypatch.setattr(reply_module, name, CountingPattern(getattr(reply_module, name), looked_at))
    data = line * (65536 // len(line) - 1)
    replies, trouble, _ = read(
        [data[at : at + step] for at in range(0, len(data), step)] + [b"250 x\r\n"], Limits(lines=20_000)
    )
    assert (len(replies), trouble) == (1, None)
    # A piece that ends a line makes both patterns look at what came since the last line's end.
    assert sum(looked_at) <= 2 * len(data) + 2 * len(line) * len(looked_at) + step
    assert len(looked_at) <= 2 * data.count(b"\n") + 1


def test_unfinished_bytes_are_kept_as_they_came() -> None:
    reply = unfinished(b"220-teaser\r\n220-\xff\n22")
    assert (reply.code, reply.raw) == (None, b"220-teaser\r\n220-\xff\n22")
    assert reply.lines == (b"220-teaser", b"220-\xff", b"22")
    assert unfinished(b"HTTP/1.1 400 Bad Request\r\n").text == "HTTP/1.1 400 Bad Request"


def test_a_stored_reply_reads_as_it_was() -> None:
    reply = one(b"250-mx\r\n250 SIZE\r\n")
    assert complete(b"250", reply.raw).lines == reply.lines


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ((b"mx.example.org",), {}),
        ((b"STARTTLS",), {}),  # the first line is the server's name, whatever it looks like
        ((b"mx", b"SIZE 100", b"STARTTLS", b"8BITMIME"), {"SIZE": "100", "STARTTLS": "", "8BITMIME": ""}),
        ((b"mx", b"starttls", b"Size 5"), {"STARTTLS": "", "SIZE": "5"}),
        ((b"mx", b"", b" ", b"DSN "), {"DSN": ""}),  # smtp-sink ends its list with an empty keyword
        ((b"mx", b"STARTTLS", b"STARTTLS"), {"STARTTLS": ""}),
        ((b"mx", b"AUTH LOGIN", b"DSN", b"AUTH PLAIN"), {"AUTH": "LOGIN PLAIN", "DSN": ""}),
        ((b"mx", b"AUTH LOGIN", b"AUTH LOGIN"), {"AUTH": "LOGIN"}),
        ((b"mx", b"AUTH LOGIN", b"AUTH"), {"AUTH": "LOGIN"}),
        ((b"mx", b"AUTH", b"AUTH LOGIN"), {"AUTH": "LOGIN"}),
        ((b"mx", b"AUTH=LOGIN PLAIN"), {"AUTH=LOGIN": "PLAIN"}),
        ((b"mx", b"X-ODD \0\xfe"), {"X-ODD": "\0\\xfe"}),
    ],
)
def test_extensions_of_an_ehlo_reply(lines: tuple[bytes, ...], found: dict[str, str]) -> None:
    assert extensions(lines) == found
    assert list(extensions(lines)) == list(found)
