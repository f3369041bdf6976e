"""The Twisted protocol of one probe: carries out what the conversation says, and reports once."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import attrs
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol

from smtpsurvey.items import Interruption, Observation
from smtpsurvey.outcomes import Outcome, TlsError, Trouble
from smtpsurvey.smtp.conversation import BeginTls, Conversation, Send, State
from smtpsurvey.smtp.tls import TlsClient, TlsPipe, TlsTroubleError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.python.failure import Failure

    from smtpsurvey.items import Target
    from smtpsurvey.probe.pool import PoolTransport
    from smtpsurvey.smtp.conversation import Action, Script

# What the network answered to the SYN (or the kernel, on its word), by errno.
_CONNECT_OUTCOMES = {
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.ECONNRESET: Outcome.RESET,
    errno.ETIMEDOUT: Outcome.TIMEOUT,
    errno.EHOSTUNREACH: Outcome.UNREACHABLE,
    errno.ENETUNREACH: Outcome.UNREACHABLE,
    errno.EHOSTDOWN: Outcome.UNREACHABLE,
    errno.ENOPROTOOPT: Outcome.UNREACHABLE,  # ICMP protocol unreachable
    errno.EACCES: Outcome.UNREACHABLE,  # ICMPv6 administratively prohibited
    errno.EPROTO: Outcome.UNREACHABLE,  # ICMP parameter problem
}
_TLS_ERRORS = {Trouble.CLOSED: TlsError.CLOSED, Trouble.RESET: TlsError.RESET, Trouble.TOO_SLOW: TlsError.TIMEOUT}
LEAVE = 5.0  # seconds to wait for the reply to QUIT, at most
FIRST_LOOK = 1.0  # seconds after the SYN when we look whether the connection stands


@attrs.frozen
class Timeouts:
    """Seconds to wait for the connection, the greeting, a reply, the handshake, and in all."""

    connect: float = 8
    greeting: float = 35
    reply: float = 15
    tls: float = 15
    total: float = 90


@attrs.frozen(eq=False)
class Probe:
    """What all probes of a survey have in common. Clocks give seconds: one monotonic, one of the day."""

    script: Script
    tls: TlsClient | None
    timeouts: Timeouts
    seconds: Callable[[], float]
    now: Callable[[], float]


class SmtpProbe(Protocol):
    """One probe of one target; ``done(observation)`` is called exactly once."""

    transport: PoolTransport | None  # type: ignore[assignment]  # ours have a deadline as well

    def __init__(self, target: Target, probe: Probe, done: Callable[[Observation], None]) -> None:
        """Prepare; whoever connects this protocol starts it."""
        self._target = target
        self._probe = probe
        self._done: Callable[[Observation], None] | None = done
        self._conversation: Conversation | None = None
        self._pipe: TlsPipe | None = None
        self._time = probe.now()
        self._started = probe.seconds()

    @property
    def _connect(self) -> float:
        return min(self._probe.timeouts.connect, self._probe.timeouts.total)

    @property
    def patience(self) -> float:
        """Seconds until the pool should ask for the first time."""
        return min(FIRST_LOOK, self._connect)

    def dataReceived(self, data: bytes) -> None:
        """Feed the conversation, through TLS once it has begun."""
        conversation = self._conversation
        if conversation is None:
            conversation = self._conversation = Conversation(self._probe.script)
            actions = conversation.receive(data)
            if not actions:  # the greeting is not complete, and its time begins now
                self._wait(self._probe.timeouts.greeting)
        elif self._pipe is not None:
            self._receive_tls(conversation, self._pipe, data)
            return
        else:
            actions = conversation.receive(data)
        if actions:
            self._carry_out(conversation, actions)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # no default: it is always told
        """Conclude: the server, or we, closed the connection."""
        if self._done is not None:
            self._lose(Trouble.CLOSED if reason.type is ConnectionDone else Trouble.RESET)
            self._report()

    def connectFailed(self, code: int, *, local: bool) -> None:
        """Conclude: there is no connection."""
        outcome = Outcome.LOCAL_ERROR if local else _CONNECT_OUTCOMES.get(code, Outcome.LOCAL_ERROR)
        reason = errno.errorcode.get(code, str(code)) if outcome is Outcome.LOCAL_ERROR else None
        self._finish(outcome, reason)

    def timedOut(self, *, connected: bool) -> None:
        """Wait on, or conclude."""
        transport = self.transport
        assert transport is not None  # noqa: S101 - timers are set by the transport
        probe, conversation = self._probe, self._conversation
        if conversation is None:  # the first look after the SYN, or the last
            now = probe.seconds()
            if not connected and now < self._started + self._connect:
                transport.expire(self._started + self._connect)
                return
            if connected:
                self._conversation = Conversation(probe.script)
                self._wait(probe.timeouts.greeting)
                return
            self._finish(Outcome.TIMEOUT)
        else:
            self._lose(Trouble.TOO_SLOW)
            self._report()
        transport.loseConnection()

    def _carry_out(self, conversation: Conversation, actions: Sequence[Action]) -> None:
        transport, timeouts = self.transport, self._probe.timeouts
        for action in actions:
            if transport is None:
                return
            if isinstance(action, Send):
                transport.write(action.data if self._pipe is None else self._pipe.send(action.data))
                leaving = conversation.state is State.QUIT
                self._wait(min(LEAVE, timeouts.reply) if leaving else timeouts.reply)
            elif isinstance(action, BeginTls):
                assert self._probe.tls is not None  # noqa: S101 - the script asks for TLS only with a client
                self._pipe = TlsPipe(self._probe.tls, self._target.name, action.stray, self._target.domain)
                transport.write(self._pipe.begin())
                self._wait(timeouts.tls)
            else:
                self._report()
                transport.loseConnection()

    def _receive_tls(self, conversation: Conversation, pipe: TlsPipe, data: bytes) -> None:
        established = pipe.established
        try:
            plain, out = pipe.receive(data)
        except TlsTroubleError as error:
            if established:
                conversation.lost(error.trouble)
            elif error.trouble is Trouble.OVERSIZE:
                conversation.lost(error.trouble)
                conversation.tls = pipe.facts(error.error)
            else:
                conversation.tls_failed(pipe.facts(error.error))
            self._report()
            if self.transport is not None:
                self.transport.loseConnection()
            return
        if pipe.established and not established:  # the end of our handshake and EHLO go out as one
            out += pipe.send(conversation.tls_established(pipe.facts()).data)
            self._wait(self._probe.timeouts.reply)
        if out and self.transport is not None:
            self.transport.write(out)
        if plain:
            self._carry_out(conversation, conversation.receive(plain))

    def _lose(self, trouble: Trouble) -> None:
        conversation = self._conversation
        if conversation is None:
            conversation = self._conversation = Conversation(self._probe.script)
        if conversation.state is State.HANDSHAKE and self._pipe is not None:
            conversation.tls = self._pipe.facts(_TLS_ERRORS[trouble])
        conversation.lost(trouble)

    def _wait(self, seconds: float) -> None:
        """Give the server this long for what comes next, within the total."""
        if self.transport is not None:
            deadline = self._probe.seconds() + seconds
            self.transport.expire(min(deadline, self._started + self._probe.timeouts.total))

    def _report(self) -> None:
        conversation = self._conversation
        assert conversation is not None  # noqa: S101 - there was a connection
        self._finish(conversation.outcome or Outcome.LOCAL_ERROR)

    def _finish(self, outcome: Outcome, reason: str | None = None) -> None:
        """Make the observation, once."""
        done, self._done = self._done, None
        if done is None:
            return
        probe, talk = self._probe, self._conversation
        duration = round(probe.seconds() - self._started, 6)
        if talk is None:
            done(Observation(self._target, self._time, duration, outcome, reason))
            return
        done(
            Observation(
                self._target,
                self._time,
                duration,
                outcome,
                reason,
                talk.greeting,
                talk.ehlo,
                talk.extensions,
                talk.helo,
                talk.starttls,
                talk.starttls_reply,
                talk.tls,
                talk.tls_ehlo,
                talk.quit,
                Interruption(*talk.interrupted) if talk.interrupted else None,
                talk.flags,
            )
        )
