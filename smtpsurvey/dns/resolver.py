"""A stub resolver that keeps thousands of questions in flight over a few sockets."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, DeferredList, succeed

from smtpsurvey.dns.answer import Answer
from smtpsurvey.dns.lookup import Lookup, Options
from smtpsurvey.dns.query import question
from smtpsurvey.dns.reader import BadMessageError, read
from smtpsurvey.dns.servers import FIRST_PAUSE, Server, Servers
from smtpsurvey.dns.transport import Transport
from smtpsurvey.errors import SurveyError
from smtpsurvey.outcomes import DnsOutcome
from smtpsurvey.probe.wheel import TICK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy.statscollectors import StatsCollector
    from twisted.internet.base import DelayedCall, ReactorBase

    from smtpsurvey.dns.reader import Read
    from smtpsurvey.dns.servers import Address

logger = logging.getLogger(__name__)
PROBE_TIMEOUTS = (1.0, 2.0, 2.0)  # seconds of each try to find out whether a server works
PUMP = 0.02  # seconds between looks whether the servers' rates let another question pass
COUNTS = ("queries", "timeouts", "strays", "malformed", "tcp", "lost_servers")
_OUTCOMES = {"SERVFAIL": DnsOutcome.SERVFAIL, "REFUSED": DnsOutcome.REFUSED}
_NO_EDNS = frozenset(("FORMERR", "NOTIMP", "BADVERS"))  # what servers from before EDNS answer (RFC 6891 section 7)


class Resolver:
    """Asks the servers that work, in turn, and each no faster than it is allowed.

    SERVFAIL, REFUSED and answers that nobody can read are asked of the other servers too before they are believed.
    """

    def __init__(
        self, reactor: ReactorBase, servers: Sequence[Address], options: Options, stats: StatsCollector | None = None
    ) -> None:
        """Ask ``servers`` once :meth:`start` has found out which of them work."""
        now = reactor.seconds()
        self.servers = Servers((Server(address, options.rate, now) for address in servers), options.concurrency)
        self.in_flight = 0
        self._reactor = reactor
        self._options = options
        self._stats = stats
        self._counts = Counter(dict.fromkeys(COUNTS, 0))
        self._transport = Transport(reactor, self._judge, self._counts)
        self._queue: deque[Lookup] = deque()
        self._ticking: DelayedCall | None = None
        self._pauses: dict[Server, DelayedCall] = {}
        self._stopped = False

    def start(self) -> Deferred[None]:
        """Probe every server; fires when the first one works, with :class:`SurveyError` if none does."""
        found: Deferred[None] = Deferred()

        def one(_: None) -> None:
            if not found.called and self.servers.any_works():
                found.callback(None)

        def every(_: object) -> None:
            if not found.called:
                said = "; ".join(f"{server.address}: {server.reason}" for server in self.servers)
                self.stop()
                found.errback(SurveyError(f"no DNS server works: {said}"))

        DeferredList([self._probe(server).addCallback(one) for server in self.servers]).addCallback(every)
        return found

    def stop(self) -> Deferred[None]:
        """Close the sockets; what is in flight ends as ``local_error``."""
        self._stopped = True
        for call in (*self._pauses.values(), *([self._ticking] if self._ticking else [])):
            call.cancel()
        self._pauses.clear()
        self._ticking = None
        queue, self._queue = self._queue, deque()
        for lookup in (*queue, *self._transport.close()):
            self._end(lookup, DnsOutcome.LOCAL_ERROR)
        if self._stats is not None:
            for name, count in self._counts.items():
                self._stats.set_value(f"smtpsurvey/dns/{name}", count)
        return succeed(None)

    def resolve(self, name: str, type_: str) -> Deferred[Answer]:
        """Look up; the Deferred never fails, except when it is cancelled: whatever goes wrong is an outcome."""
        try:
            asked = question(name, type_)
        except ValueError:
            return succeed(_unasked(name, type_, DnsOutcome.BAD_NAME))
        if self._stopped:
            return succeed(_unasked(name, type_, DnsOutcome.LOCAL_ERROR))
        lookup = Lookup(name, type_, asked, self._reactor.seconds())
        lookup.done = Deferred(lambda _: self._cancel(lookup))
        self.in_flight += 1
        self._queue.append(lookup)
        self._pump()
        return lookup.done

    def _pump(self) -> None:
        """Send what may be sent."""
        timeouts = self._options.timeouts
        while self._queue:
            lookup = self._queue[0]
            server = self.servers.choose(lookup, self._reactor.seconds())
            if server is None:
                break
            try:
                self._transport.send(lookup, server, timeouts[lookup.tries])
            except BlockingIOError:  # no room in the socket now
                break
            except OSError as error:
                self._lose(server, error.strerror or str(error))
                continue
            self._queue.popleft()
        self._keep_ticking()

    def _judge(self, lookup: Lookup, server: Server, wire: bytes | None) -> None:
        """Decide whether an answer is the last word."""
        if wire is None:
            self._again(lookup)
            return
        try:
            found = read(wire)
        except BadMessageError:
            self._counts["malformed"] += 1
            self._fail(server, "answers nobody can read")
            self._doubt(lookup, server, DnsOutcome.BAD_ANSWER, None)
            return
        if found.rcode == "SERVFAIL":
            self._fail(server, "answers SERVFAIL")
        else:
            server.answered()
        if found.rcode == "NOERROR":
            there = lookup.type == "ANY" or any(record.type == lookup.type for record in found.records)
            self._end(lookup, DnsOutcome.OK if there else DnsOutcome.NO_DATA, found, server)
        elif found.rcode == "NXDOMAIN":
            self._end(lookup, DnsOutcome.NXDOMAIN, found, server)
        elif found.rcode in _NO_EDNS and lookup.edns:
            lookup.edns, lookup.last = False, None
            self._again(lookup)
        else:
            self._doubt(lookup, server, _OUTCOMES.get(found.rcode, DnsOutcome.BAD_ANSWER), found)
        if self._queue:
            self._pump()

    def _doubt(self, lookup: Lookup, server: Server, outcome: DnsOutcome, found: Read | None) -> None:
        """Ask the servers that were not asked yet; believe it when there are none."""
        lookup.tried = (*lookup.tried, server)
        if lookup.best is None or lookup.best[0] is DnsOutcome.BAD_ANSWER:
            lookup.best = outcome, found, server
        if lookup.only is None and self.servers.any_works(but=lookup.tried):
            self._again(lookup)
        else:
            self._end(lookup, *lookup.best)

    def _again(self, lookup: Lookup) -> None:
        """Ask once more, before what has not been asked at all, unless all tries are spent."""
        if lookup.done.called:  # somebody who heard of another one's end has dropped it
            return
        if lookup.only is not None:
            self._probe_again(lookup, lookup.only)
        elif lookup.tries < len(self._options.timeouts):
            self._queue.appendleft(lookup)
            self._pump()
        else:
            self._give_up(lookup)

    def _give_up(self, lookup: Lookup) -> None:
        if lookup.best is None:
            self._end(lookup, DnsOutcome.TIMEOUT)
        else:
            self._end(lookup, *lookup.best)

    def _end(
        self, lookup: Lookup, outcome: DnsOutcome, found: Read | None = None, server: Server | None = None
    ) -> None:
        if lookup.done.called:
            return
        self.in_flight -= 1
        lookup.done.callback(
            Answer(
                lookup.name,
                lookup.type,
                outcome,
                None if found is None else found.rcode,
                () if found is None else found.records,
                None if server is None else server.address.host,
                None if found is None else found.ad,
                round(self._reactor.seconds() - lookup.started, 6),
                lookup.time,
            )
        )

    def _cancel(self, lookup: Lookup) -> None:
        self.in_flight -= 1
        if lookup in self._queue:
            self._queue.remove(lookup)
        self._transport.forget(lookup)

    def _keep_ticking(self) -> None:
        # The wheel's tick is too coarse to keep a rate: while questions wait, look more often.
        seconds = PUMP if self._queue else TICK
        if self._ticking is None:
            if self.in_flight and not self._stopped:
                self._ticking = self._reactor.callLater(seconds, self._tick)
        elif self._queue and self._ticking.getTime() > self._reactor.seconds() + PUMP:
            self._ticking.reset(PUMP)

    def _tick(self) -> None:
        self._ticking = None
        for lookup, server in self._transport.late():
            if server is not None:
                self._counts["timeouts"] += 1
                self._fail(server, "no answers")
            self._again(lookup)
        if not self.servers.any_works():
            self._expire()
        self._pump()

    def _expire(self) -> None:
        """End the questions that wait too long while no server works."""
        longest, now = sum(self._options.timeouts), self._reactor.seconds()
        while self._queue and now - self._queue[0].started > longest:
            self._give_up(self._queue.popleft())

    def _probe(self, server: Server) -> Deferred[None]:
        """Ask a server what every one can answer; fires when it is known whether it works, and never fails."""
        self._pauses.pop(server, None)
        name, type_ = self._options.probe
        lookup = Lookup(name, type_, question(name, type_), self._reactor.seconds(), server)
        lookup.done = Deferred()
        probed = lookup.done.addCallback(self._probed, server)
        self.in_flight += 1
        self._probe_again(lookup, server)
        return probed

    def _probe_again(self, lookup: Lookup, server: Server) -> None:
        if lookup.tries == len(PROBE_TIMEOUTS):
            self._end(lookup, DnsOutcome.TIMEOUT)
            return
        try:
            self._transport.send(lookup, server, PROBE_TIMEOUTS[lookup.tries])
        except OSError as error:
            server.reason = error.strerror or str(error)
            self._end(lookup, DnsOutcome.LOCAL_ERROR)
        else:
            self._keep_ticking()

    def _probed(self, answer: Answer, server: Server) -> None:
        if self._stopped:
            return
        if answer.rcode is not None and answer.outcome is not DnsOutcome.SERVFAIL:
            server.proved()
            self._pump()
            return
        if answer.outcome is not DnsOutcome.LOCAL_ERROR:
            server.reason = "no answer" if answer.outcome is DnsOutcome.TIMEOUT else f"answers {answer.outcome}"
        if server.pause == FIRST_PAUSE:
            logger.warning("DNS server %s does not work: %s", server.address, server.reason)
        self._pauses[server] = self._reactor.callLater(server.next_pause(), self._probe, server)

    def _fail(self, server: Server, reason: str) -> None:
        """Take note of a try without a useful answer."""
        if server.failed():
            self._lose(server, reason)

    def _lose(self, server: Server, reason: str) -> None:
        """Ask a server no more until it has shown that it works."""
        self._counts["lost_servers"] += 1
        server.lost(reason)
        self._probe(server)


def _unasked(name: str, type_: str, outcome: DnsOutcome) -> Answer:
    return Answer(name, type_, outcome, None, (), None, None, 0.0, time.time())
