"""The conversation with one server, sans-I/O (in the manner of h11).

``receive(bytes)`` gives the actions that follow: :class:`Send`, :class:`BeginTls`, :class:`Close`.
Whoever has the socket carries them out, and tells the conversation when the handshake ended, the
connection was lost or time ran out. What was learnt stands in its attributes.

Nothing but EHLO, HELO, STARTTLS and QUIT is ever sent.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

import attrs

from smtpsurvey.outcomes import Flag, Outcome, Stage, StartTls, Trouble
from smtpsurvey.smtp.capabilities import STARTTLS, extensions, masked
from smtpsurvey.smtp.reply import Limits, NotAReplyError, Reply, ReplyReader, unfinished

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpsurvey.smtp.tls import TlsFacts

READY = 220
POSITIVE = 2  # the first digit of a code that grants what was asked (RFC 5321 section 4.2.1)


@attrs.frozen(eq=False)
class Send:
    """Write these bytes (through TLS once it is established)."""

    data: bytes


@attrs.frozen(eq=False)
class BeginTls:
    """Begin the TLS handshake; ``stray`` are plain bytes that came with the 220."""

    stray: bytes


@attrs.frozen(eq=False)
class Close:
    """Close the connection: the conversation is over."""


Action = Send | BeginTls | Close
CLOSE = Close()


class State(Enum):
    """What the conversation waits for."""

    GREETING = auto()
    EHLO = auto()
    HELO = auto()
    STARTTLS = auto()
    HANDSHAKE = auto()
    EHLO_TLS = auto()
    QUIT = auto()
    OVER = auto()


@attrs.frozen(eq=False)
class Script:
    """What we say, shared by all conversations of a survey."""

    ehlo: Send
    helo: Send
    starttls: bool
    limits: Limits

    @classmethod
    def make(cls, helo: str, *, starttls: bool, limits: Limits | None = None) -> Script:
        """Prepare the commands of a survey that calls itself ``helo`` (an FQDN or address literal)."""
        name = helo.encode("ascii")
        return cls(Send(b"EHLO %b\r\n" % name), Send(b"HELO %b\r\n" % name), starttls, limits or Limits())


_STARTTLS = Send(b"STARTTLS\r\n")
_QUIT = Send(b"QUIT\r\n")

# What a reply leads to, by state and the first digit of its code; QUIT where nothing is said.
# Exceptions, in _next_state: STARTTLS only where it is offered and asked for, only 220 begins it, and
# whatever answers QUIT ends the conversation.
_TRANSITIONS = {
    (State.GREETING, 2): State.EHLO,
    (State.EHLO, 2): State.STARTTLS,
    (State.EHLO, 5): State.HELO,
    (State.STARTTLS, 2): State.HANDSHAKE,
}
_STAGES = {
    State.EHLO: Stage.EHLO,
    State.HELO: Stage.EHLO,
    State.STARTTLS: Stage.STARTTLS,
    State.HANDSHAKE: Stage.TLS,
    State.EHLO_TLS: Stage.EHLO_TLS,
    State.QUIT: Stage.QUIT,
}
# How a greeting that never became complete is called, by what ended the waiting.
_OUTCOMES = {
    Trouble.CLOSED: Outcome.CLOSED,
    Trouble.RESET: Outcome.RESET,
    Trouble.OVERSIZE: Outcome.OVERSIZE,
    Trouble.TOO_SLOW: Outcome.TOO_SLOW,
    Trouble.NOT_SMTP: Outcome.NOT_SMTP,
}


class Conversation:
    """One conversation. ``outcome`` is ``None`` until it is known; ``state`` says what is awaited."""

    __slots__ = (
        "_reader",
        "_received",
        "_script",
        "ehlo",
        "extensions",
        "flags",
        "greeting",
        "helo",
        "interrupted",
        "outcome",
        "quit",
        "starttls",
        "starttls_reply",
        "state",
        "tls",
        "tls_ehlo",
    )

    def __init__(self, script: Script) -> None:
        """Begin by waiting for the greeting."""
        self._script = script
        self._reader = ReplyReader(script.limits)
        self._received = 0
        self.state = State.GREETING
        self.outcome: Outcome | None = None
        self.greeting: Reply | None = None
        self.ehlo: Reply | None = None
        self.extensions: dict[str, str] | None = None
        self.helo: Reply | None = None
        self.starttls = None if script.starttls else StartTls.NOT_ASKED
        self.starttls_reply: Reply | None = None
        self.tls: TlsFacts | None = None
        self.tls_ehlo: Reply | None = None
        self.quit: Reply | None = None
        self.interrupted: tuple[Stage, Trouble] | None = None
        self.flags: tuple[Flag, ...] = ()

    def receive(self, data: bytes) -> Sequence[Action]:
        """Take plain bytes from the server (decrypted ones once TLS is established)."""
        state = self.state
        if state is State.OVER:
            return ()
        self._received += len(data)
        excess = self._received - self._script.limits.bytes
        reader = self._reader
        reader.feed(data if excess <= 0 else data[:-excess])
        actions: list[Action] = []
        try:
            while (reply := reader.next_reply()) is not None:
                if self.state is State.EHLO and self._is_late_greeting(reply):
                    continue
                if actions:
                    self._flag(Flag.EARLY_REPLY)
                action = self._take(reply)
                actions.append(action)
                if not isinstance(action, Send):  # what follows is TLS, or nobody's
                    return actions
        except NotAReplyError as error:
            return [*actions, self._break_off(error.trouble)]
        if excess > 0:
            return [*actions, self._break_off(Trouble.OVERSIZE)]
        return actions

    def tls_established(self, facts: TlsFacts) -> Send:
        """Go on inside TLS: say EHLO again."""
        self.tls, self.starttls, self.state = facts, StartTls.OK, State.EHLO_TLS
        return self._script.ehlo

    def tls_failed(self, facts: TlsFacts) -> Sequence[Action]:
        """Take note of a handshake that came to nothing; greeting and EHLO stay as they are."""
        self.tls, self.starttls, self.state = facts, StartTls.FAILED, State.OVER
        return (CLOSE,)

    def lost(self, trouble: Trouble) -> None:
        """Take note that the server ended the connection (``CLOSED`` or ``RESET``), or time ran out."""
        if self.state is not State.OVER:
            self._break_off(trouble)

    def _take(self, reply: Reply) -> Action:
        """Keep a reply where it belongs, and say what follows from it."""
        state = self.state
        if len(reply.lines) > 1 and reply.mixed_codes:
            self._flag(Flag.MIXED_CODES)
        if state is State.GREETING:
            self.greeting, self.outcome = reply, Outcome.OK
        elif state is State.EHLO:
            self.ehlo = reply
        elif state is State.HELO:
            self.helo = reply
        elif state is State.STARTTLS:
            self.starttls_reply = reply
        elif state is State.EHLO_TLS:
            self.tls_ehlo = reply
        else:
            self.quit = reply
        self.state = self._next_state(reply)
        return self._action()

    def _next_state(self, reply: Reply) -> State:
        code = reply.code or 0
        following = _TRANSITIONS.get((self.state, code // 100), State.QUIT)
        if self.state is State.EHLO and following is State.STARTTLS:
            self.extensions = extensions(reply.lines)
            if masked(reply.raw):
                self._flag(Flag.MASKED_KEYWORD)
            if self.starttls is StartTls.NOT_ASKED:
                return State.QUIT
            if STARTTLS not in self.extensions:
                self.starttls = StartTls.NOT_OFFERED
                return State.QUIT
        elif self.state is State.HELO and code // 100 == POSITIVE and self.starttls is None:
            self.starttls = StartTls.NOT_OFFERED
        elif self.state is State.STARTTLS and code != READY:
            self.starttls = StartTls.REFUSED
            return State.QUIT
        elif self.state is State.QUIT:
            return State.OVER
        return following

    def _action(self) -> Action:
        state = self.state
        if state is State.EHLO:
            return self._script.ehlo
        if state is State.QUIT:
            return _QUIT
        if state is State.STARTTLS:
            return _STARTTLS
        if state is State.HANDSHAKE:
            return BeginTls(self._reader.rest())
        if state is State.HELO:
            return self._script.helo
        return CLOSE

    def _is_late_greeting(self, reply: Reply) -> bool:
        """Recognise another ``220 `` line of the greeting (some servers end each line with a blank).

        No reply to EHLO has that code, so it cannot be one. Raises :class:`NotAReplyError` over the bound of lines.
        """
        greeting = self.greeting
        if reply.code != READY or greeting is None or greeting.code != READY:
            return False
        lines = greeting.lines + reply.lines
        if len(lines) > self._script.limits.lines:
            raise NotAReplyError(Trouble.OVERSIZE)
        self.greeting = Reply(READY, greeting.raw + reply.raw, lines)
        return True

    def _flag(self, flag: Flag) -> None:
        if flag not in self.flags:
            self.flags = (*self.flags, flag)

    def _break_off(self, trouble: Trouble) -> Action:
        """End here: before a complete greeting that is the outcome, later an interruption."""
        state, self.state = self.state, State.OVER
        if state is State.GREETING:
            rest = self._reader.rest()
            self.outcome = _OUTCOMES[trouble]
            if rest:
                self.greeting = unfinished(rest[: self._script.limits.line])
            elif trouble is Trouble.TOO_SLOW:
                self.outcome = Outcome.SILENT
            return CLOSE
        self.interrupted = (_STAGES[state], trouble)
        if state in (State.STARTTLS, State.HANDSHAKE):
            self.starttls = StartTls.FAILED
        return CLOSE
