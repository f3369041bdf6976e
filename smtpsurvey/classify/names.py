"""The one table of names: vendors, products, versions, releases, operating systems, CPE.

Rule sets of all origins go through it (``data/names.toml``, ``data/releases.toml``), so that one product has
one name whoever recognised it.
"""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from importlib.resources import files
from typing import Literal, NamedTuple

import msgspec

from smtpsurvey.classify.rules import NAMES, RELEASES

MAX_VERSION = 64
"""Characters of a version that count; versions come from the wire."""

Scheme = Literal["minor", "tens", "major", "release"]
"""How versions group: ``4.97``, ``4.9x``, ``4``, or by the name of the release (``2019``)."""
SortKey = tuple[tuple[int, int, str], ...]

_END = (0, 0, "")
_TOKEN = re.compile(r"(?P<snapshot>(?<=-)[0-9]{8}(?![0-9]))|(?P<number>[0-9]{1,9})|(?P<word>[a-z]+)")
_BEFORE_RELEASE = frozenset({"alpha", "beta", "b", "rc", "pre", "preview", "dev", "snapshot"})
_TWO_NUMBERS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?(?![0-9])")
_UPDATE = re.compile(
    r"(?P<version>[0-9][0-9.]*[0-9])[ _-]?(?P<update>(?:rc|beta|fp|sp|hf|mr|p|r)[ _-]?[0-9]+\w*)", re.IGNORECASE
)


class Name(NamedTuple):
    """What vendor and product are called; ``vendor`` is ``None`` where nobody is known to make it."""

    vendor: str | None
    product: str


class _Product(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the table; ``cpe`` is part, vendor and product; ``base`` the product that it is made of."""

    vendor: str
    product: str
    aliases: tuple[str, ...] = ()
    cpe: str | None = None
    base: str | None = None
    family: Scheme = "minor"


class _Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    vendors: dict[str, tuple[str, ...]]
    os: dict[str, tuple[str, ...]]
    products: tuple[_Product, ...]


class _Releases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names of builds of one product: of its release, or of the operating system it comes with."""

    product: str
    names: Literal["edition", "os"]
    source: str
    builds: dict[str, str]


class _ReleaseFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tables: tuple[_Releases, ...]


class _Table:
    """The files, read once and turned about for looking up."""

    def __init__(self) -> None:
        data = files("smtpsurvey.classify") / "data"
        texts = [(data / name).read_bytes() for name in (NAMES, RELEASES)]
        names = msgspec.convert(tomllib.loads(texts[0].decode()), _Names)
        releases = msgspec.convert(tomllib.loads(texts[1].decode()), _ReleaseFile)
        self.digest = hashlib.sha256(b"".join(texts)).digest()
        self.vendors = _turned(names.vendors)
        self.os = _turned(names.os)
        self.products = {(row.vendor, row.product): row for row in names.products}
        self.by_product = {row.product: row for row in names.products}
        self.releases = {(table.product, table.names): table.builds for table in releases.tables}
        self.aliases: dict[str, set[_Product]] = {}
        for row in names.products:
            for alias in (row.product, *row.aliases):
                for text in (alias, f"{row.vendor} {alias}"):
                    self.aliases.setdefault(_folded(text), set()).add(row)


@functools.cache
def _table() -> _Table:
    return _Table()


def digest() -> bytes:
    """Give a hash of the tables: with other names the same rules give other verdicts."""
    return _table().digest


def canonical(vendor: str | None, product: str) -> Name:
    """Give the one name of a product that a rule set calls so; what the table does not know keeps its own.

    An alias counts if it names the vendor too, or if the vendor given is the product's own, or none is.
    """
    table = _table()
    maker = None if vendor is None else table.vendors.get(_folded(vendor), vendor)
    known = {row for row in table.aliases.get(_folded(product), ()) if maker in (None, row.vendor)}
    known |= table.aliases.get(_folded(f"{vendor} {product}"), set())
    if len(known) == 1:
        (row,) = known
        return Name(row.vendor, row.product)
    return Name(maker, product)


@functools.lru_cache(maxsize=4096)
def operating_system(text: str) -> str:
    """Give the one name of an operating system."""
    return _table().os.get(_folded(text), text)


@functools.lru_cache(maxsize=4096)
def release(product: str, version: str, of: Literal["edition", "os"] = "edition") -> str | None:
    """Name the release of a product, or the operating system, by a build number: ``15.2.1118.7`` is ``2019 CU12``.

    The first three numbers tell; security updates count up the fourth.
    """
    builds = _table().releases.get((product, of))
    numbers = re.findall(r"[0-9]{1,9}", version[:MAX_VERSION])[:3]
    return builds.get(".".join(str(int(number)) for number in numbers)) if builds else None


def based_on(product: str, other: str) -> bool:
    """Say whether one of two products is, or is made of, the other, so that both may show at once."""
    return product == other or product in _bases(other) or other in _bases(product)


def _bases(product: str) -> list[str]:
    """Name what a product is made of, and what that is made of."""
    row = _table().by_product.get(product)
    return [row.base, *_bases(row.base)] if row and row.base else []


def family(product: str, version: str) -> str:
    """Group a version: ``4.97.1`` of Exim is of ``4.9x``, ``3.7.11`` of Postfix of ``3.7``; else the version itself."""
    row = _table().by_product.get(product)
    scheme = row.family if row else "minor"
    if scheme == "release":
        return (release(product, version) or version).partition(" ")[0]
    match = _TWO_NUMBERS.match(version)
    if match is None:
        return version
    major, _, minor = match[0].partition(".")
    if scheme == "major":
        return major
    return f"{major}.{minor[:-1]}x" if scheme == "tens" and len(minor) > 1 else match[0]


def sort_key(version: str) -> SortKey:
    """Give a key by which versions sort: ``4.97-RC1`` < ``4.97`` < ``4.97.1`` < ``4.100``."""
    return (*(_part(match) for match in _TOKEN.finditer(version[:MAX_VERSION].lower())), _END)


def _part(match: re.Match[str]) -> tuple[int, int, str]:
    if match["snapshot"]:
        return -1, int(match["snapshot"]), ""
    if match["number"]:
        return 2, int(match["number"]), ""
    return (-1 if match["word"] in _BEFORE_RELEASE else 1), 0, match["word"]


@functools.lru_cache(maxsize=4096)
def cpe(name: Name, version: str | None) -> str | None:
    """Give the CPE 2.3 formatted string (NISTIR 7695) of a product, ``None`` where NVD's dictionary has none."""
    row = _table().products.get((name.vendor or "", name.product))
    if row is None or row.cpe is None:
        return None
    number, update = _version_and_update(row, version)
    return f"cpe:2.3:{row.cpe}:{number}:{update}:*:*:*:*:*:*"


def _version_and_update(row: _Product, version: str | None) -> tuple[str, str]:
    """Part a version as NVD's dictionary does; Microsoft's products go by the name of the release."""
    version = (version or "")[:MAX_VERSION]
    if not re.search(r"[0-9A-Za-z]", version):
        return "*", "*"
    if row.family == "release":
        named = release(row.product, version)
        number, _, level = (named or "").partition(" ")
        update = level.partition(" ")[0].lower().replace("cu", "cumulative_update_").replace("rtm", "-")
        return (number, update or "*") if number[:1].isdigit() else ("*", "*")
    match = _UPDATE.fullmatch(version)
    return (_bound(match["version"]), _bound(match["update"])) if match else (_bound(version), "*")


def _bound(text: str) -> str:
    """Write a value as a formatted string does: lower case, printable ASCII, all but letters and digits escaped."""
    printable = re.sub(r"[^!-~]", "_", text.lower())
    return re.sub(r"[^a-z0-9._-]", lambda found: f"\\{found[0]}", printable)


def _folded(text: str) -> str:
    """Fold what does not tell names apart: case, blanks, punctuation."""
    return re.sub(r"[\W_]+", "", text.casefold())


def _turned(aliases: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Turn name to aliases about; a name is an alias of itself."""
    return {_folded(alias): name for name, others in aliases.items() for alias in (name, *others)}
