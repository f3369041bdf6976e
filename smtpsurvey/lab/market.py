"""The market of the simulated Internet, read from TOML (``data/market.toml`` says what the keys mean)."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import TYPE_CHECKING

import msgspec

from smtpsurvey.lab import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.resources.abc import Traversable
    from pathlib import Path

PLACEHOLDERS = ("host", "version", "date", "stamp", "id", "number", "client", "client_ip")
TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")


class MarketError(LabError):
    """A market file that cannot be used; the message names file and reason."""


class Product(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way a product is met on the wire. Shares are 0-1, ``delay`` is in seconds."""

    vendor: str
    product: str
    weight: float
    greeting: tuple[str, ...]
    ehlo: tuple[str, ...]
    starttls_reply: tuple[str, ...]
    quit: tuple[str, ...]
    unknown: tuple[str, ...]
    starttls: float
    tls: dict[str, float]
    delay: float
    versions: dict[str, float] = {}
    hidden: str = "220 {host} ESMTP"

    @property
    def shows_version(self) -> bool:
        """Whether the greeting holds the version."""
        return any("{version}" in line for line in self.greeting)

    @property
    def greets_by_name(self) -> bool:
        """Whether the greeting names the product: some, as qmail, never do."""
        return self.greeting != (self.hidden,)


class _MarketFile(msgspec.Struct, forbid_unknown_fields=True):
    product: list[Product]


def load_market(path: Path | None = None) -> tuple[Product, ...]:
    """Read the market of ``path``, or the one that comes with the lab. Raises :class:`MarketError`."""
    files: Iterable[Path | Traversable]
    if path is None:
        data = resources.files("smtpsurvey.lab") / "data"
        files = sorted((file for file in data.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    else:
        files = [path]
    return tuple(product for file in files for product in _read(file))


def _read(file: Path | Traversable) -> list[Product]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        products = msgspec.convert(content, _MarketFile).product
        for product in products:
            _check(product)
    except OSError as error:
        raise MarketError(f"{file}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, not TOML, not a market
        raise MarketError(f"{file}: {error}") from error
    if not products:
        raise MarketError(f"{file}: no product")
    return products


def _check(product: Product) -> None:
    """Raise ValueError, saying what is wrong with a product."""
    if product.weight < 0 or not 0 <= product.starttls <= 1 or product.delay < 0:
        raise ValueError(f"{product.product}: weight, starttls or delay out of range")
    if product.starttls and not product.tls:
        raise ValueError(f"{product.product}: offers STARTTLS but says no TLS version")
    if unknown := set(product.tls) - set(TLS_VERSIONS):
        raise ValueError(f"{product.product}: unknown TLS version {unknown.pop()}")
    if not product.greeting or not product.ehlo:
        raise ValueError(f"{product.product}: no greeting or no EHLO reply")
    values = dict.fromkeys(PLACEHOLDERS, "x")
    for line in (*product.greeting, product.hidden, *product.ehlo, *product.starttls_reply, *product.quit):
        try:
            render(line, values)
        except (KeyError, IndexError) as error:
            raise ValueError(f"{product.product}: unknown placeholder {error} in {line!r}") from error


def render(line: str, values: Mapping[str, str]) -> str:
    """Fill the placeholders of one line of wording."""
    return line.format_map(values)
