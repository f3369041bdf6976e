import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smtpsurvey
from smtpsurvey.outcomes import Flag, Outcome, Stage, StartTls, TlsError, Trouble
from smtpsurvey.smtp.conversation import Action, BeginTls, Conversation, Script, Send, State
from smtpsurvey.smtp.reply import Limits
from smtpsurvey.smtp.tls import TlsFacts

LIMITS = Limits(line=80, lines=5, bytes=600)
PLAIN = Script.make("survey.example.org", starttls=False, limits=LIMITS)
TLS = Script.make("survey.example.org", starttls=True, limits=LIMITS)
EHLO, HELO, QUIT = "EHLO survey.example.org", "HELO survey.example.org", "QUIT"
GREETING = b"220 mx ESMTP\r\n"
OFFER = b"250-mx\r\n250 STARTTLS\r\n"
READY = b"220 go ahead\r\n"
TROUBLES = (Trouble.CLOSED, Trouble.RESET, Trouble.TOO_SLOW)


class Wire:
    """A conversation on a wire that is no wire: what it does comes back as words."""

    def __init__(self, script: Script) -> None:
        self.conversation = Conversation(script)
        self.done: list[str] = []  # all of it so far

    def hear(self, *pieces: bytes) -> list[str]:
        """Let the server say something, piece by piece: what follows, up to TLS or the end."""
        done: list[str] = []
        for piece in pieces:
            done += self.note(self.conversation.receive(piece))
            if done and done[-1] == "CLOSE":
                break
        return done

    def shake_hands(self, *, well: bool = True) -> list[str]:
        talk = self.conversation
        if well:
            return self.note([talk.tls_established(TlsFacts("TLSv1.3"))])
        return self.note(talk.tls_failed(TlsFacts(error="alert:internal_error")))

    def note(self, actions: Sequence[Action]) -> list[str]:
        words = [_word(action) for action in actions]
        self.done += words
        return words


def _word(action: Action) -> str:
    if isinstance(action, Send):
        assert action.data.endswith(b"\r\n")
        return action.data[:-2].decode("ascii")
    return f"TLS {action.stray.decode('latin-1')}".strip() if isinstance(action, BeginTls) else "CLOSE"


def wire_in(state: State) -> Wire:
    """Give a wire whose conversation waits in this state."""
    wire = Wire(TLS)
    ways = {
        State.GREETING: [],
        State.EHLO: [GREETING],
        State.HELO: [GREETING, b"500 what?\r\n"],
        State.STARTTLS: [GREETING, OFFER],
        State.HANDSHAKE: [GREETING, OFFER, READY],
        State.EHLO_TLS: [GREETING, OFFER, READY],
        State.QUIT: [b"554 no\r\n"],
        State.OVER: [b"554 no\r\n", b"221 bye\r\n"],
    }
    wire.hear(*ways[state])
    if state is State.EHLO_TLS:
        wire.shake_hands()
    assert wire.conversation.state is state
    return wire


TABLE = {
    State.GREETING: {2: (EHLO, State.EHLO)},
    State.EHLO: {2: ("STARTTLS", State.STARTTLS), 5: (HELO, State.HELO)},
    State.HELO: {},
    State.STARTTLS: {2: ("TLS", State.HANDSHAKE)},
    State.EHLO_TLS: {},
    State.QUIT: dict.fromkeys(range(10), ("CLOSE", State.OVER)),
}


@pytest.mark.parametrize("digit", range(10))
@pytest.mark.parametrize("state", TABLE)
def test_each_row_of_the_transition_table(state: State, digit: int) -> None:
    wire = wire_in(state)
    said, following = TABLE[state].get(digit, (QUIT, State.QUIT))
    assert wire.hear(b"%d20-mx\r\n%d20 STARTTLS\r\n" % (digit, digit)) == (
        [] if (state, digit) == (State.EHLO, 2) else [said]
    )
    if (state, digit) == (State.EHLO, 2):  # 220 to EHLO is one line more of the greeting
        assert wire.hear(OFFER) == [said]
    assert wire.conversation.state is following


@pytest.mark.parametrize("state", TABLE)
def test_a_reply_stands_where_it_belongs_and_nowhere_else(state: State) -> None:
    places = {
        State.GREETING: "greeting",
        State.EHLO: "ehlo",
        State.HELO: "helo",
        State.STARTTLS: "starttls_reply",
        State.EHLO_TLS: "tls_ehlo",
        State.QUIT: "quit",
    }
    talk = (wire := wire_in(state)).conversation
    before = {place: getattr(talk, place) for place in places.values()}
    assert before[places[state]] is None
    wire.hear(b"450 later\r\n")
    assert {place for place in before if getattr(talk, place) is not before[place]} == {places[state]}
    assert getattr(talk, places[state]).lines == (b"later",)


def test_a_whole_conversation_with_tls() -> None:
    wire = Wire(TLS)
    assert wire.hear(GREETING) == [EHLO]
    assert wire.hear(b"250-mx\r\n250-SIZE 100\r\n250 starttls\r\n") == ["STARTTLS"]
    assert wire.hear(READY) == ["TLS"]
    assert wire.shake_hands() == [EHLO]
    assert wire.hear(b"250-mx.inside\r\n250 AUTH PLAIN\r\n") == [QUIT]
    assert wire.hear(b"221 bye\r\n") == ["CLOSE"]
    talk = wire.conversation
    assert (talk.outcome, talk.starttls, talk.interrupted, talk.flags) == (Outcome.OK, StartTls.OK, None, ())
    assert talk.extensions == {"SIZE": "100", "STARTTLS": ""}
    assert talk.tls is not None
    assert talk.tls.version == "TLSv1.3"
    assert talk.tls_ehlo is not None
    assert talk.tls_ehlo.text == "mx.inside\nAUTH PLAIN"


def test_a_handshake_that_fails_takes_nothing_of_what_came_before() -> None:
    wire = wire_in(State.HANDSHAKE)
    assert wire.shake_hands(well=False) == ["CLOSE"]
    talk = wire.conversation
    assert (talk.outcome, talk.starttls, talk.state) == (Outcome.OK, StartTls.FAILED, State.OVER)
    assert talk.tls is not None
    assert talk.tls.error == "alert:internal_error"
    assert talk.greeting is not None
    assert talk.extensions == {"STARTTLS": ""}


def test_nothing_is_said_before_the_last_line_of_the_greeting() -> None:
    wire = Wire(TLS)
    assert wire.hear(b"220-mx please wait\r\n", b"220-and", b" wait\r\n", b"220 mx ES", b"MTP\r") == []
    assert wire.hear(b"\n") == [EHLO]
    assert wire.conversation.greeting is not None
    assert wire.conversation.greeting.lines == (b"mx please wait", b"and wait", b"mx ESMTP")


@pytest.mark.parametrize("greeting", [b"220 mx\r\n", b"220\r\n", b"220 ready for FTP\r\n", b"200 hello\r\n"])
def test_ehlo_whether_or_not_the_greeting_says_esmtp(greeting: bytes) -> None:
    assert Wire(TLS).hear(greeting) == [EHLO]


@pytest.mark.parametrize("greeting", [b"421 too busy\r\n", b"554-no\r\n554 service\r\n", b"354 what\r\n", b"000\r\n"])
def test_a_greeting_that_refuses_is_kept_whole_and_quit_follows(greeting: bytes) -> None:
    wire = Wire(TLS)
    assert wire.hear(greeting) == [QUIT]
    assert wire.hear(b"221 bye\r\n") == ["CLOSE"]
    talk = wire.conversation
    assert talk.greeting is not None
    assert talk.greeting.raw == greeting
    assert (talk.outcome, talk.starttls, talk.ehlo, talk.interrupted) == (Outcome.OK, None, None, None)


@pytest.mark.parametrize(
    ("script", "ehlo", "said", "starttls"),
    [
        (TLS, OFFER, "STARTTLS", None),
        (TLS, b"250-mx\r\n250-Starttls\r\n250 X\r\n", "STARTTLS", None),
        (TLS, b"250-mx\r\n250 X-STARTTLS\r\n", QUIT, StartTls.NOT_OFFERED),
        (TLS, b"250 STARTTLS\r\n", QUIT, StartTls.NOT_OFFERED),  # a server of that name
        (TLS, b"250 mx\r\n", QUIT, StartTls.NOT_OFFERED),
        (TLS, b"421 busy\r\n", QUIT, None),
        (PLAIN, OFFER, QUIT, StartTls.NOT_ASKED),
        (PLAIN, b"250 mx\r\n", QUIT, StartTls.NOT_ASKED),
        (PLAIN, b"421 busy\r\n", QUIT, StartTls.NOT_ASKED),
    ],
)
def test_starttls_only_where_it_is_offered_and_asked_for(
    script: Script, ehlo: bytes, said: str, starttls: StartTls | None
) -> None:
    wire = Wire(script)
    wire.hear(GREETING)
    assert wire.hear(ehlo) == [said]
    assert wire.conversation.starttls is starttls
    assert (wire.conversation.extensions is None) == ehlo.startswith(b"4")


@pytest.mark.parametrize("reply", [b"454 TLS not available\r\n", b"500 what?\r\n", b"250 ok\r\n", b"221 bye\r\n"])
def test_any_reply_to_starttls_but_220_refuses(reply: bytes) -> None:
    wire = wire_in(State.STARTTLS)
    assert wire.hear(reply) == [QUIT]
    talk = wire.conversation
    assert talk.starttls is StartTls.REFUSED
    assert talk.starttls_reply is not None
    assert talk.starttls_reply.raw == reply
    assert (talk.tls, talk.interrupted) == (None, None)


@pytest.mark.parametrize(
    ("script", "reply", "starttls"),
    [
        (TLS, b"250 mx\r\n", StartTls.NOT_OFFERED),
        (TLS, b"550 go away\r\n", None),  # it refuses us, and has not been asked about STARTTLS
        (TLS, b"421 busy\r\n", None),
        (PLAIN, b"250 mx\r\n", StartTls.NOT_ASKED),
        (PLAIN, b"550 go away\r\n", StartTls.NOT_ASKED),
    ],
)
def test_helo_where_ehlo_is_unknown(script: Script, reply: bytes, starttls: StartTls | None) -> None:
    wire = Wire(script)
    wire.hear(GREETING)
    assert wire.hear(b"502 command not implemented\r\n") == [HELO]
    assert wire.hear(reply) == [QUIT]
    talk = wire.conversation
    assert talk.ehlo is not None
    assert talk.helo is not None
    assert (talk.ehlo.code, talk.helo.raw, talk.starttls, talk.extensions) == (502, reply, starttls, None)


@pytest.mark.parametrize("stray", [b"", b"250 injected\r\n", b"22", b"\x16\x03\x01", b"\xff\0", b"220 again\r\n"])
def test_what_comes_with_the_220_to_starttls_is_no_reply_but_stray(stray: bytes) -> None:
    wire = wire_in(State.STARTTLS)
    (action,) = wire.conversation.receive(READY + stray)
    assert isinstance(action, BeginTls)
    assert action.stray == stray
    wire.shake_hands()
    assert wire.hear(b"250 inside\r\n") == [QUIT]  # and it is not read as plaintext of the session either
    assert wire.conversation.tls_ehlo is not None
    assert wire.conversation.tls_ehlo.raw == b"250 inside\r\n"


def test_more_greeting_lines_that_each_end_the_reply_belong_to_the_greeting() -> None:
    wire = Wire(TLS)
    assert wire.hear(b"220 mx\r\n220 no spam\r\n") == [EHLO]
    assert wire.hear(b"220-really\r\n220 none\r\n") == []
    assert wire.hear(OFFER) == ["STARTTLS"]
    talk = wire.conversation
    assert talk.greeting is not None
    assert talk.greeting.text == "mx\nno spam\nreally\nnone"
    assert talk.greeting.raw == b"220 mx\r\n220 no spam\r\n220-really\r\n220 none\r\n"
    assert talk.flags == ()


def test_greeting_lines_without_end_are_oversize() -> None:
    wire = Wire(TLS)
    assert wire.hear(b"220 x\r\n" * LIMITS.lines) == [EHLO]
    assert wire.hear(b"220 x\r\n") == ["CLOSE"]
    talk = wire.conversation
    assert (talk.outcome, talk.interrupted) == (Outcome.OK, (Stage.EHLO, Trouble.OVERSIZE))
    assert talk.greeting is not None
    assert len(talk.greeting.lines) == LIMITS.lines


def test_220_to_ehlo_is_an_answer_where_the_greeting_was_another_2xx() -> None:
    wire = Wire(TLS)
    assert wire.hear(b"250 odd\r\n") == [EHLO]
    assert wire.hear(b"220 ok\r\n") == [QUIT]
    assert wire.conversation.starttls is StartTls.NOT_OFFERED


def test_two_replies_at_once_are_both_heard_and_flagged() -> None:
    wire = Wire(TLS)
    assert wire.hear(GREETING + OFFER) == [EHLO, "STARTTLS"]
    assert wire.conversation.flags == (Flag.EARLY_REPLY,)
    assert wire.hear(b"454 no\r\n221 bye\r\n") == [QUIT, "CLOSE"]
    assert wire.conversation.flags == (Flag.EARLY_REPLY,)  # once
    assert wire.conversation.quit is not None


def test_a_whole_monologue_ends_at_its_last_word() -> None:
    wire = Wire(TLS)
    assert wire.hear(GREETING + b"250 mx\r\n221 bye\r\n221 again\r\nHTTP") == [EHLO, QUIT, "CLOSE"]
    assert wire.conversation.interrupted is None


def test_a_code_that_changes_is_flagged_and_the_last_one_counts() -> None:
    wire = Wire(TLS)
    assert wire.hear(b"220-mx\r\n554 no\r\n") == [QUIT]
    assert wire.conversation.flags == (Flag.MIXED_CODES,)


def test_an_unbroken_conversation_has_no_flags() -> None:
    wire = wire_in(State.EHLO_TLS)
    wire.hear(b"250-mx\r\n250 x\r\n", b"221 bye\r\n")
    assert wire.conversation.flags == ()


STAGES = {
    State.EHLO: Stage.EHLO,
    State.HELO: Stage.EHLO,
    State.STARTTLS: Stage.STARTTLS,
    State.HANDSHAKE: Stage.TLS,
    State.EHLO_TLS: Stage.EHLO_TLS,
    State.QUIT: Stage.QUIT,
}
# What is known of STARTTLS when a conversation breaks off.
BROKEN = {
    State.STARTTLS: StartTls.FAILED,
    State.HANDSHAKE: StartTls.FAILED,
    State.EHLO_TLS: StartTls.OK,
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("state", STAGES)
@pytest.mark.parametrize("partial", [b"", b"250-half", b"250-x\r\n"])
def test_trouble_after_the_greeting_is_an_interruption(state: State, trouble: Trouble, partial: bytes) -> None:
    talk = (wire := wire_in(state)).conversation
    greeting = talk.greeting
    if state is not State.HANDSHAKE:  # those bytes are TLS's
        assert wire.hear(partial) == []
    talk.lost(trouble)
    assert (talk.outcome, talk.interrupted) == (Outcome.OK, (STAGES[state], trouble))
    assert talk.starttls is BROKEN.get(state)
    assert (talk.greeting, talk.state) == (greeting, State.OVER)


@pytest.mark.parametrize(
    ("trouble", "partial", "outcome"),
    [
        (Trouble.TOO_SLOW, b"", Outcome.SILENT),
        (Trouble.TOO_SLOW, b"2", Outcome.TOO_SLOW),
        (Trouble.TOO_SLOW, b"220-teaser\r\n", Outcome.TOO_SLOW),
        (Trouble.CLOSED, b"", Outcome.CLOSED),
        (Trouble.CLOSED, b"220 half", Outcome.CLOSED),
        (Trouble.RESET, b"", Outcome.RESET),
        (Trouble.RESET, b"220-teaser\r\n220", Outcome.RESET),
    ],
)
def test_trouble_before_a_whole_greeting_is_the_outcome(trouble: Trouble, partial: bytes, outcome: Outcome) -> None:
    wire = Wire(TLS)
    assert wire.hear(partial) == []
    talk = wire.conversation
    assert talk.outcome is None
    talk.lost(trouble)
    assert (talk.outcome, talk.interrupted, talk.starttls) == (outcome, None, None)
    if partial:
        assert talk.greeting is not None
        assert (talk.greeting.code, talk.greeting.raw) == (None, partial)
    else:
        assert talk.greeting is None


@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_end_of_the_connection_changes_nothing_that_is_over(trouble: Trouble) -> None:
    talk = wire_in(State.OVER).conversation
    talk.lost(trouble)
    assert (talk.outcome, talk.interrupted) == (Outcome.OK, None)


@pytest.mark.parametrize("late", [b"221 bye\r\n", b"HTTP", b"x" * 1000])
def test_what_comes_after_the_end_is_not_heard(late: bytes) -> None:
    wire = wire_in(State.OVER)
    quit_reply = wire.conversation.quit
    assert wire.hear(late) == []
    assert wire.conversation.quit is quit_reply
    broken = Wire(TLS)
    assert broken.hear(b"HTTP") == ["CLOSE"]
    assert broken.hear(late) == []
    assert broken.conversation.outcome is Outcome.NOT_SMTP


HOSTILE = {
    "line": (b"250 " + b"x" * LIMITS.line + b"\r\n", Trouble.OVERSIZE),
    "line without an end": (b"250 " + b"x" * LIMITS.line, Trouble.OVERSIZE),
    "lines": (b"250-x\r\n" * LIMITS.lines + b"250 x\r\n", Trouble.OVERSIZE),
    "garbage": (b"HTTP/1.1 400 Bad Request\r\n", Trouble.NOT_SMTP),
    "long garbage": (b"\xff" * 500, Trouble.NOT_SMTP),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("state", [state for state in STAGES if state is not State.HANDSHAKE])
def test_bounds_and_garbage_after_the_greeting(state: State, name: str) -> None:
    said, trouble = HOSTILE[name]
    wire = wire_in(state)
    assert wire.hear(said) == ["CLOSE"]
    talk = wire.conversation
    assert (talk.outcome, talk.interrupted) == (Outcome.OK, (STAGES[state], trouble))
    assert talk.starttls is BROKEN.get(state)


@pytest.mark.parametrize("name", HOSTILE)
def test_bounds_and_garbage_in_the_greeting(name: str) -> None:
    said, trouble = HOSTILE[name]
    wire = Wire(TLS)
    assert wire.hear(said) == ["CLOSE"]
    talk = wire.conversation
    assert talk.outcome is (Outcome.NOT_SMTP if trouble is Trouble.NOT_SMTP else Outcome.OVERSIZE)
    assert talk.interrupted is None
    assert talk.greeting is not None
    assert (talk.greeting.code, talk.greeting.raw) == (None, said[: LIMITS.line])  # evidence, boundedly


def test_garbage_behind_a_reply_leaves_the_reply() -> None:
    wire = Wire(TLS)
    assert wire.hear(GREETING + b"what?\r\n") == [EHLO, "CLOSE"]
    assert wire.conversation.interrupted == (Stage.EHLO, Trouble.NOT_SMTP)


@pytest.mark.parametrize("pieces", [1, 7, 10_000])
def test_the_bound_of_bytes_is_that_of_the_whole_conversation(pieces: int) -> None:
    limits = Limits(line=80, lines=5, bytes=100)
    script = Script.make("survey.example.org", starttls=True, limits=limits)

    def talk(data: bytes) -> Conversation:
        wire, step = Wire(script), max(len(data) // pieces, 1)
        wire.hear(*(data[at : at + step] for at in range(0, len(data), step)))
        return wire.conversation

    fits = GREETING + b"250-" + b"x" * 64 + b"\r\n250 " + b"y" * 10 + b"\r\n"
    assert len(fits) == limits.bytes
    assert talk(fits).interrupted is None
    assert talk(fits).starttls is StartTls.NOT_OFFERED
    assert talk(fits + b"2").interrupted == (Stage.QUIT, Trouble.OVERSIZE)
    assert talk(fits[:-2] + b"y\r\n").interrupted == (Stage.EHLO, Trouble.OVERSIZE)
    long = b"220-" + b"x" * 70 + b"\r\n220 " + b"y" * 19 + b"\r\n"
    assert talk(long).outcome is Outcome.OVERSIZE


def test_bytes_inside_tls_count_too() -> None:
    wire = wire_in(State.EHLO_TLS)
    line = b"250-" + b"x" * 74 + b"\r\n"
    assert wire.hear(*[line] * 4) == []
    assert wire.hear(b"250 x\r\n") == [QUIT]
    assert wire.hear(*[line] * 4) == ["CLOSE"]
    assert wire.conversation.interrupted == (Stage.QUIT, Trouble.OVERSIZE)


def test_time_runs_out_in_the_handshake() -> None:
    talk = wire_in(State.HANDSHAKE).conversation
    talk.tls = facts = TlsFacts(error=TlsError.TIMEOUT)  # as whoever has the socket leaves it
    talk.lost(Trouble.TOO_SLOW)
    assert (talk.starttls, talk.tls) == (StartTls.FAILED, facts)


def test_our_name_is_ascii() -> None:
    with pytest.raises(UnicodeEncodeError):
        Script.make("bücher.example", starttls=False)


# What servers say, and what they should not.
PHRASES = (
    *(GREETING, OFFER, READY, b"250 mx\r\n", b"500 what\r\n", b"454 no\r\n", b"221 bye\r\n", b"421 busy\r\n"),
    *(b"220-teaser\r\n", b"220 more\r\n", b"250-x\n", b"250", b"\r\n", b"HTTP/1.1\r\n", b"250-" + b"x" * 74 + b"\n"),
)
SAID = st.lists(st.sampled_from(PHRASES) | st.binary(max_size=20), max_size=12).map(b"".join)


@settings(deadline=None, derandomize=True, max_examples=500)
@given(st.lists(SAID | st.none(), max_size=12), st.sampled_from(TROUBLES), st.sampled_from((TLS, PLAIN)))
def test_whatever_a_server_says_only_four_commands_are_sent(
    events: list[bytes | None], end: Trouble, script: Script
) -> None:
    wire = Wire(script)
    talk = wire.conversation
    for event in events:
        if talk.state is State.HANDSHAKE:
            wire.shake_hands(well=event is not None)
        elif event is not None:
            wire.hear(event)
    talk.lost(end)
    counts = Counter(word for word in wire.done if not word.startswith("TLS"))
    assert set(counts) <= {EHLO, HELO, "STARTTLS", QUIT, "CLOSE"}
    assert counts.pop(EHLO, 0) <= (2 if talk.starttls is StartTls.OK else 1)
    assert all(count == 1 for count in counts.values())
    assert script is TLS or "STARTTLS" not in counts
    assert talk.state is State.OVER
    assert talk.outcome is not None
    assert talk.interrupted is None or talk.outcome is Outcome.OK


@settings(deadline=None, derandomize=True, max_examples=500)
@given(SAID, st.lists(st.integers(0, 200), max_size=6), st.sampled_from(TROUBLES))
def test_any_way_of_cutting_gives_the_same_conversation(data: bytes, cuts: list[int], end: Trouble) -> None:
    ends = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    assert _seen([data[a:b] for a, b in pairwise(ends)], end) == _seen([data], end)


def _seen(pieces: Iterable[bytes], end: Trouble) -> tuple[object, ...]:
    """Hold a conversation up to TLS: everything about it but what depends on timing."""
    script = Script.make("survey.example.org", starttls=True, limits=Limits(line=80, lines=5, bytes=200))
    wire = Wire(script)
    talk = wire.conversation
    for piece in pieces:
        wire.hear(piece)
        if talk.state is State.HANDSHAKE:
            break
    talk.lost(end)
    replies = (talk.greeting, talk.ehlo, talk.helo, talk.starttls_reply, talk.quit)
    words = [word.split(" ")[0] for word in wire.done]
    return (
        talk.outcome,
        talk.interrupted,
        talk.starttls,
        words,
        [reply.raw if reply and reply.code else None for reply in replies],
    )


TRANSCRIPTS = Path(__file__).with_name("transcripts")


@pytest.mark.parametrize("path", sorted(TRANSCRIPTS.glob("*.txt")), ids=lambda path: path.stem)
@pytest.mark.parametrize("step", [1, 10_000])
def test_transcript(path: Path, step: int) -> None:
    """Replay what a server said (``S:``) against what we say (``C:``) and hold that the facts (``=``) come out."""
    wire = Wire(Script.make("survey.example.org", starttls=True))
    talk = wire.conversation
    due: list[str] = []
    expected: dict[str, str] = {}
    for line in path.read_text("utf-8").splitlines():
        kind, text = line[:2], line[3:]
        if kind == "= ":
            key, _, expected[key] = line[2:].partition(" ")
        elif kind == "C:":
            if text == "<TLS>":
                assert due == ["TLS"]
                due = []
            else:
                due = due or wire.shake_hands()
                assert due.pop(0) == text
        elif kind == "S:":
            assert due == []  # we have said all that the transcript has
            due = _hear(wire, text, step)
    assert due in ([], ["CLOSE"])
    assert talk.state is State.OVER
    assert talk.outcome == expected["outcome"]
    assert talk.starttls == expected.get("starttls")
    assert " ".join(talk.interrupted or ()) == expected.get("interrupted", "")
    assert (None if talk.extensions is None else " ".join(talk.extensions)) == expected.get("extensions")
    assert talk.flags == ()


def _hear(wire: Wire, text: str, step: int) -> list[str]:
    if text == "<closes>":
        wire.conversation.lost(Trouble.CLOSED)
        return []
    if text == "<resets>":
        wire.conversation.lost(Trouble.RESET)
        return []
    if text == "<fails>":
        return wire.shake_hands(well=False)
    data = text.encode() + b"\r\n"
    return wire.hear(*(data[at : at + step] for at in range(0, len(data), step)))


def modules(*, without: str) -> Iterator[tuple[Path, ast.Module]]:
    root = Path(smtpsurvey.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] != without:
            yield path, ast.parse(path.read_text("utf-8"))


def test_only_four_commands_are_in_the_code() -> None:
    sent = set()
    for path, module in modules(without="lab"):  # the lab is the servers, and hears these words
        for node in ast.walk(module):
            if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
                assert not re.match(rb"(?i)(mail|rcpt|data|vrfy|expn|auth|bdat|send|soml|saml|turn)\b", node.value), (
                    path
                )
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Send":
                (argument,) = node.args
                data = argument.left if isinstance(argument, ast.BinOp) else argument
                assert isinstance(data, ast.Constant), path
                sent.add(data.value)
    assert sent == {b"EHLO %b\r\n", b"HELO %b\r\n", b"STARTTLS\r\n", b"QUIT\r\n"}


@pytest.mark.parametrize(
    ("reply", "flags"),
    [
        (b"250-mx\r\n250-SIZE 1\r\n250 XXXXXXXA\r\n", (Flag.MASKED_KEYWORD,)),
        (b"250-mx\r\n250-XXXXXXXX\r\n250 DSN\r\n", (Flag.MASKED_KEYWORD,)),
        (b"250-mx\n250 XXX\n", (Flag.MASKED_KEYWORD,)),
        (b"250-mx\r\n250-XXXXXXX 5\r\n250 DSN\r\n", (Flag.MASKED_KEYWORD,)),
        (b"250-XXXXXXXX\r\n250 DSN\r\n", ()),  # the server's name is no keyword
        (b"250-mx\r\n250-XX\r\n250-XXXL5\r\n250-SIZE XXXX\r\n250 X-XXXX\r\n", ()),
        (b"250 XXXXXXXX\r\n", ()),
    ],
)
def test_a_keyword_that_a_middlebox_wrote_over_is_flagged(reply: bytes, flags: tuple[Flag, ...]) -> None:
    wire = Wire(TLS)
    wire.hear(GREETING, reply)
    assert wire.conversation.flags == flags
    assert wire.conversation.starttls is StartTls.NOT_OFFERED
