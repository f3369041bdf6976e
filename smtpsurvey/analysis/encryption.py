"""STARTTLS and what came of it: versions, ciphers, failures, keys, trust."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.analysis.table import Cell, Key, Table, ranked, regroup, share
from smtpsurvey.outcomes import StartTls

if TYPE_CHECKING:
    from collections.abc import Callable

_UNASKED = frozenset((None, StartTls.NOT_ASKED))


class Session(NamedTuple):
    """What STARTTLS came to on a host that answered; what was not measured is ``None``.

    ``trusted`` is known of every host that showed a certificate, a failed handshake's too.
    """

    starttls: str | None
    version: str | None
    cipher: str | None
    error: str | None
    trusted: bool | None
    trust_error: str | None
    matches_name: bool | None


def starttls(sessions: Counter[Session]) -> Table:
    """Hosts that answered by what became of STARTTLS; ``None`` where EHLO got no answer to go on with."""
    counts = regroup(sessions, lambda session: session.starttls)
    answering, asked = counts.total(), sum(hosts for key, hosts in counts.items() if key not in _UNASKED)
    rows = tuple(
        (key, hosts, share(hosts, answering), None if key in _UNASKED else share(hosts, asked))
        for key, hosts in ranked(counts)
    )
    return Table("starttls", ("starttls",), ("hosts", "share_of_answering", "share_of_asked"), rows)


def tls_versions(sessions: Counter[Session]) -> Table:
    """Versions of TLS among the hosts whose handshake was completed."""
    return _among("tls_versions", ("version",), "tls", _completed(sessions), lambda session: (session.version,))


def ciphers(sessions: Counter[Session]) -> Table:
    """Cipher suites among the hosts whose handshake was completed."""
    return _among(
        "ciphers",
        ("version", "cipher"),
        "tls",
        _completed(sessions),
        lambda session: (session.version, session.cipher),
    )


def tls_errors(sessions: Counter[Session]) -> Table:
    """Why handshakes failed; ``None`` where the connection broke before one began."""
    failed = _where(sessions, lambda session: session.starttls == StartTls.FAILED)
    return _among("tls_errors", ("error",), "failed", failed, lambda session: (session.error,))


def trust(sessions: Counter[Session]) -> Table:
    """Whether the chains lead to a trust anchor, and the certificates fit the name that was looked for."""
    shown = _where(sessions, lambda session: session.trusted is not None)
    return _among(
        "trust",
        ("trusted", "trust_error", "matches_name"),
        "certificates",
        shown,
        lambda session: (session.trusted, session.trust_error, session.matches_name),
    )


def keys(counts: Counter[str | None]) -> Table:
    """Kinds of keys among the hosts that showed a certificate; ``None`` for one that could not be read."""
    return _among("keys", ("key",), "certificates", counts, lambda key: (key,))


def _completed(sessions: Counter[Session]) -> Counter[Session]:
    return _where(sessions, lambda session: session.starttls == StartTls.OK)


def _where(sessions: Counter[Session], wanted: Callable[[Session], bool]) -> Counter[Session]:
    return Counter({session: hosts for session, hosts in sessions.items() if wanted(session)})


def _among(
    name: str, labels: tuple[str, ...], whole: str, counts: Counter[Key], label: Callable[[Key], tuple[Cell, ...]]
) -> Table:
    total = counts.total()
    rows = tuple((*cells, hosts, share(hosts, total)) for cells, hosts in ranked(regroup(counts, label)))
    return Table(name, labels, ("hosts", f"share_of_{whole}"), rows)
