r"""Zone files in CZDS form: ``owner⇥TTL⇥in⇥type⇥rdata``, absolute lower-case names, a record a line.

Read by the block, with regular expressions alone. What dig writes of a zone transfer is of that form too, once it is
in lower case. Whatever else a line may be, :mod:`~smtpsurvey.targets.zone_master` reads it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import re2

if TYPE_CHECKING:
    from collections.abc import Iterator

# Bytes that the automaton may use for its states; with RE2's own 8 MiB it starts anew too often.
_STATES = 64 << 20


def _label(longest: int) -> str:
    return rf"[a-z0-9_](?:[a-z0-9_-]{{0,{longest - 2}}}[a-z0-9_])?\."


# Host names as host_name() has them. Lengths are bounded label by label, for RE2 cannot count to 253: longer names than
# these, which are rare, make a line that is not plain.
_LAST = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?\."
_NAME = rf"(?:(?:{_label(62)}){{0,3}}|(?:{_label(30)}){{4,6}}){_LAST}"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
# AAAA and SOA are few, and their data need more than a pattern.
_OTHER_TYPES = (
    "caa|cdnskey|cds|cname|dname|dnskey|ds|hinfo|https|loc|mx|naptr|nsec|nsec3|nsec3param|ptr|rp|rrsig|spf|srv|sshfp|"
    "svcb|tlsa|txt|uri|zonemd"
)
_TEXT = r"[ \t]*[!#-'*-:<-\[\]-~][!#-'*-:<-\[\]-~ \t]*"  # no quote, no parenthesis, no comment, no escape
_RECORD = (
    rf"{_NAME}[ \t]+[0-9]{{1,9}}\tin\t"
    rf"(?:ns\t{_NAME}|a\t{_OCTET}(?:\.{_OCTET}){{3}}|(?:{_OTHER_TYPES})\t{_TEXT})\n"
)


def _plain() -> re2._Regexp:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _STATES
    return re2.compile(f"(?:{_RECORD})*".encode(), options)


_PLAIN = _plain()
_OWNER = re.compile(rb"^([^ \t\n]+)\.[ \t]++[0-9]+\tin\tns\t.*\n(?:\1\.[ \t].*\n)*+", re.MULTILINE)
_SERVER = re.compile(rb"\tin\tns\t(.+)\.\n")
_ADDRESS = re.compile(rb"\tin\ta\t(.+)\n")
_FIELD = re.compile(rb"[^ \t]+")


def plain_end(block: bytes, start: int) -> int:
    """Return where the plain lines that begin at ``start`` of a block in lower case end (``start``: there are none)."""
    end: int = _PLAIN.match(block, start).end()
    return end


def delegations(plain: bytes) -> list[bytes]:
    """List the owners of NS records, without the last dot; once each in a sorted zone."""
    return _OWNER.findall(plain)


def name_servers(plain: bytes) -> set[bytes]:
    """Return the names in NS records, without the last dot."""
    return set(_SERVER.findall(plain))


def addresses(plain: bytes) -> Iterator[tuple[str, str]]:
    """Yield name, without the last dot, and IPv4 address of A records."""
    for record in _ADDRESS.finditer(plain):
        yield _owner_at(plain, plain.rfind(b"\n", 0, record.start()) + 1), record[1].decode("ascii")


def last_owner(plain: bytes) -> str:
    """Return the owner of the last line, without the last dot."""
    return _owner_at(plain, plain.rfind(b"\n", 0, -1) + 1)


def _owner_at(plain: bytes, start: int) -> str:
    owner = _FIELD.match(plain, start)
    return "" if owner is None else owner[0][:-1].decode("ascii")
