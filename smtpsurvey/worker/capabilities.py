"""Whether a node is fit for work: its self-test, each thing looked at once.

Nothing is sent but questions to the DNS servers, look-ups of our own name, and to the mail servers that the user names
a connection with QUIT.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import dns.exception
import dns.message
import dns.query
import dns.rcode
import maxminddb

import smtpsurvey
from smtpsurvey.admission.optout import read_optout
from smtpsurvey.citizen.check import Names
from smtpsurvey.dns.servers import read_servers
from smtpsurvey.errors import SurveyError
from smtpsurvey.probe.setup import RESERVE, identity_of
from smtpsurvey.worker.reach import reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scrapy.settings import BaseSettings

    from smtpsurvey.dns.servers import Address

FEWEST_CONNECTIONS = 256
LEAST_DISK = 1 << 30  # bytes
LEAST_MEMORY = 256 << 20  # bytes
MAX_AGE = 180.0  # days of an AS map: prefixes move
TIMEOUT = 5.0  # seconds for the answer of a DNS server
# A connected datagram socket says which address we have; nothing is sent (documentation ranges, RFC 5737 and 3849).
SOMEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


@attrs.frozen(slots=False)
class Check:
    """One thing looked at: ``good`` is ``None`` where it was not checked or nothing depends on it."""

    what: str
    good: bool | None
    says: str


@attrs.frozen
class Capabilities:
    """The self-test of a node at one moment; it is fit unless a check is bad."""

    checks: tuple[Check, ...]

    @property
    def fit(self) -> bool:
        """Say whether the node may get work."""
        return all(check.good is not False for check in self.checks)

    @property
    def reason(self) -> str:
        """Tell what is bad in one line; empty for a node that is fit."""
        return "; ".join(f"{check.what}: {check.says}" for check in self.checks if check.good is False)


def capabilities(settings: BaseSettings, hosts: Sequence[str] = ()) -> Capabilities:
    """Test this node; it may take some seconds, and blocks.

    ``hosts`` (``HOST`` or ``HOST:PORT``) are mail servers that must be reachable, beside those of SMTPSURVEY_REACH;
    without any, nobody knows whether port 25 is open: that is then not checked, and never bad.
    """
    named = [*map(str, settings.getlist("SMTPSURVEY_REACH")), *hosts]
    checks = (
        ("clock", _clock),
        ("descriptors", lambda: _descriptors(settings)),
        ("raw sockets", lambda: _raw_sockets(settings)),
        ("scamper", lambda: _scamper(settings)),
        ("DNS servers", lambda: _dns_servers(settings)),
        ("AS map", lambda: _as_map(settings)),
        ("opt-outs", lambda: _optouts(settings)),
        ("disk", _disk),
        ("memory", _memory),
        ("port 25", lambda: reach(settings, named)),
        ("own address", _own),
        ("name", lambda: _name(settings)),
    )
    return Capabilities(tuple(_checked(what, look) for what, look in checks))


def _checked(what: str, look: Callable[[], tuple[bool | None, str]]) -> Check:
    try:
        good, says = look()
    except SurveyError as error:
        good, says = False, str(error)
    return Check(what, good, says)


def _clock() -> tuple[bool | None, str]:
    """Compare the clock with our own files: without the network that is all there is to compare it with."""
    ours = Path(smtpsurvey.__file__)
    file = next(path for path in (ours, *ours.parents) if path.exists())  # in an egg: the egg
    now, newest = time.time(), file.stat().st_mtime
    says = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    if now < newest:
        return False, f"{says} is before the time of our own files"
    return True, says


def _descriptors(settings: BaseSettings) -> tuple[bool | None, str]:
    wanted, hard = settings.getint("SMTPSURVEY_CONCURRENCY"), resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, max(0, hard - RESERVE))
    return allowed >= min(wanted, FEWEST_CONNECTIONS), f"{allowed:,} of {wanted:,} connections"


def _raw_sockets(settings: BaseSettings) -> tuple[bool | None, str]:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    except OSError as error:
        return _needed_for_routes(settings), f"{error.strerror} (routes need them)"
    return True, "yes"


def _scamper(settings: BaseSettings) -> tuple[bool | None, str]:
    found = shutil.which("scamper")
    return (True, found) if found else (_needed_for_routes(settings), "not installed (routes need it)")


def _needed_for_routes(settings: BaseSettings) -> bool | None:
    return False if settings.getbool("SMTPSURVEY_ROUTE_CHECK") else None


def _dns_servers(settings: BaseSettings) -> tuple[bool | None, str]:
    servers = read_servers(map(str, settings.getlist("SMTPSURVEY_DNS_SERVERS")))
    name, _, type_ = str(settings.get("SMTPSURVEY_DNS_PROBE")).strip().rpartition(" ")
    try:
        question = dns.message.make_query(name, type_)
    except (dns.exception.DNSException, ValueError) as error:
        raise SurveyError(f"SMTPSURVEY_DNS_PROBE: {error}") from None
    found = {str(server): _answers(server, question) for server in servers}
    works = [server for server, says in found.items() if says is None]
    broken = [f"{server}: {says}" for server, says in found.items() if says is not None]
    return bool(works), "; ".join([f"{len(works)} of {len(found)} work", *broken])


def _answers(server: Address, question: dns.message.Message) -> str | None:
    """Ask; give what is wrong with the server."""
    try:
        answer = dns.query.udp(question, server.host, TIMEOUT, server.port)
    except dns.exception.Timeout:
        return "no answer"
    except (dns.exception.DNSException, OSError) as error:
        return str(getattr(error, "strerror", None) or error)
    code = answer.rcode()
    return None if code != dns.rcode.SERVFAIL else f"answers {dns.rcode.to_text(code)}"


def _as_map(settings: BaseSettings) -> tuple[bool | None, str]:
    path = settings.get("SMTPSURVEY_AS_MAP")
    if not path:
        return None, "none (SMTPSURVEY_AS_MAP)"
    try:
        with maxminddb.open_database(path) as database:
            built = database.metadata().build_epoch
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        raise SurveyError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    days = (time.time() - built) / 86_400
    return days <= MAX_AGE, f"{path}, {days:.0f} days old"


def _optouts(settings: BaseSettings) -> tuple[bool | None, str]:
    path = settings.get("SMTPSURVEY_OPTOUT")
    if not path:
        return None, "none (SMTPSURVEY_OPTOUT)"
    return True, f"{path}, {len(read_optout(path, with_as_map=bool(settings.get('SMTPSURVEY_AS_MAP')))):,} entries"


def _disk() -> tuple[bool | None, str]:
    free = shutil.disk_usage(Path.cwd()).free
    return free >= LEAST_DISK, f"{free / 2**30:,.1f} GiB free in {Path.cwd()}"


def _memory() -> tuple[bool | None, str]:
    free = _available()
    return free >= LEAST_MEMORY, f"{free / 2**30:,.1f} GiB available"


def _available() -> int:
    """Give the bytes that a new process may take without swapping, as far as the system says."""
    with suppress(OSError), Path("/proc/meminfo").open(encoding="ascii") as table:
        for line in table:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def own_addresses() -> Iterator[str]:
    """Yield the address of each family that packets to the Internet leave from; one behind NAT is a private one."""
    for family, somewhere in SOMEWHERE:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((somewhere, 9))
            yield str(sock.getsockname()[0])


def _own() -> tuple[bool | None, str]:
    return None, ", ".join(own_addresses()) or "none: there is no route to the Internet"


def _name(settings: BaseSettings) -> tuple[bool | None, str]:
    """Compare name and addresses both ways, as mail servers do (forward-confirmed reverse DNS)."""
    identity = identity_of(settings)
    if not identity.complete:
        return None, "not checked: SMTPSURVEY_HELO and SMTPSURVEY_CONTACT are not set, only loopback is probed"
    names = Names(read_servers(map(str, settings.getlist("SMTPSURVEY_DNS_SERVERS"))))
    helo, forward = identity.helo.lower(), names.addresses(identity.helo)
    if not forward:
        return False, f"{helo} has no address"
    own = [address for address in own_addresses() if ip_address(address).is_global]
    strange = [address for address in own if address not in forward]
    if strange:
        return False, f"{helo} is {', '.join(forward)}, and we are {', '.join(strange)}"
    for address in own or forward:
        found = names.names(address)
        if helo not in found:
            return False, f"{address} is {', '.join(found[:5]) or 'without PTR record'}, not {helo}"
    return True, f"{helo} is {', '.join(own or forward)}, and the other way round"
