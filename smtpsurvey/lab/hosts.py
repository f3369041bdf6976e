"""Who lives where on the simulated Internet: addresses, names, software and behaviour, all drawn by a seed."""

from __future__ import annotations

import functools
import random
from email.utils import formatdate
from typing import TYPE_CHECKING

import attrs

from smtpsurvey.lab import LIVE_SHARE, NASTY_SHARE, LabError
from smtpsurvey.lab.behaviours import NASTY, POLITE, Behaviour
from smtpsurvey.lab.certificates import server_context
from smtpsurvey.lab.market import Product, render

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    from smtpsurvey.lab.certificates import Leaf, Pool

# Second octet 1-254, so never 127.0.0.0/16; last octet 1-254, as hosts have it.
_SECOND, _THIRD, _LAST = 254, 256, 254
MAX_HOSTS = _SECOND * _THIRD * _LAST
_STEMS = [
    "alder",
    "birch",
    "cedar",
    "dune",
    "ember",
    "fjord",
    "grove",
    "heron",
    "island",
    "juniper",
    "kestrel",
    "lagoon",
    "meadow",
    "nectar",
    "osprey",
    "prairie",
    "quartz",
    "river",
    "summit",
    "tundra",
]
DOMAINS = tuple(f"{stem}.example" for stem in _STEMS)
_LABELS = ("mail", "mx", "mx1", "mx2", "smtp", "mail2", "relay", "mailgate", "post", "srv", "vps", "cp", "exchange")
_NAMED_SHARE = 0.85
_TRUSTED_SHARE = 0.7
_MODERN_TLS = ("TLSv1.2", "TLSv1.3")

Address = tuple[str, str | None]
"""An IPv4 address and the name that the target list gives it, if any."""


@attrs.frozen(eq=False)
class Wire:
    """Whole replies of one host as bytes, line ends included; ``{client}`` and ``{client_ip}`` are left open."""

    greeting: bytes
    ehlo: bytes
    ehlo_tls: bytes
    helo: bytes
    starttls: bytes
    quit: bytes
    unknown: bytes


@attrs.frozen(eq=False)
class Host:
    """One live address: what runs there, what it says and how it behaves. ``delay`` is in seconds.

    ``leaf``, ``tls_version`` (the highest) and ``context`` are None where STARTTLS is not offered.
    """

    ip: str
    name: str | None
    behaviour: Behaviour
    product: Product
    version: str | None
    hidden: bool
    wire: Wire
    delay: float
    leaf: Leaf | None
    tls_version: str | None
    context: ssl.SSLContext | None

    @property
    def name_on_wire(self) -> bytes:
        """The name it calls itself."""
        return _own_name(self.ip, self.name).encode()


@attrs.frozen
class Plan:
    """How a simulated Internet is made: addresses in all, and shares (0-1) of them, drawn by ``seed``.

    ``live`` is the share that listens; of those ``nasty`` misbehave and ``hidden`` do not greet with their
    product's name.
    """

    hosts: int
    seed: int
    live: float = LIVE_SHARE
    nasty: float = NASTY_SHARE
    hidden: float = 0.0


def draw_addresses(plan: Plan) -> tuple[list[Address], list[Address]]:
    """Draw the targets, in random order, and those of them that are live. Raises :class:`LabError`."""
    if not 0 < plan.hosts <= MAX_HOSTS:
        raise LabError(f"--hosts: {plan.hosts} is not in 1-{MAX_HOSTS}")
    for share in ("live", "nasty", "hidden"):
        if not 0 <= getattr(plan, share) <= 1:
            raise LabError(f"--{share}: {getattr(plan, share)} is not in 0-1")
    rng = random.Random(f"addresses {plan.seed}")  # noqa: S311 - a simulation
    targets = [(_address(number), _name(rng)) for number in rng.sample(range(MAX_HOSTS), plan.hosts)]
    return targets, rng.sample(targets, round(plan.hosts * plan.live))


def _address(number: int) -> str:
    rest, last = divmod(number, _LAST)
    second, third = divmod(rest, _THIRD)
    return f"127.{second + 1}.{third}.{last + 1}"


def _name(rng: random.Random) -> str | None:
    if rng.random() >= _NAMED_SHARE:
        return None
    label = rng.choice(_LABELS)
    number = rng.randrange(100) if label in ("srv", "vps", "cp") else ""
    return f"{label}{number}.{rng.choice(DOMAINS)}"


def _own_name(ip: str, name: str | None) -> str:
    return name or f"host-{ip.replace('.', '-')}.local"


class Settler:
    """Decides what runs on each live address."""

    def __init__(self, plan: Plan, market: Sequence[Product], pool: Pool, now: float) -> None:
        """``now`` is what the hosts' clocks say, in seconds since the epoch. Raises :class:`LabError`."""
        self._plan = plan
        self._market = market
        self._with_tls = [product for product in market if product.starttls]
        if not self._with_tls:
            raise LabError("the market has no product that offers STARTTLS")
        self._pool = pool
        self._now = now
        self._context = functools.cache(server_context)

    def settle(self, targets: Sequence[Address]) -> list[Host]:
        """Make the live hosts of these addresses."""
        return [
            self._host(ip, name, behaviour)
            for (ip, name), behaviour in zip(targets, self._behaviours(len(targets)), strict=True)
        ]

    def _behaviours(self, count: int) -> list[Behaviour]:
        """Draw the behaviours: each nasty one once as far as there is room, then by weight."""
        rng = random.Random(f"behaviours {self._plan.seed}")  # noqa: S311 - a simulation
        nasty = round(count * self._plan.nasty)
        drawn = rng.sample(NASTY, min(nasty, len(NASTY)))
        drawn += rng.choices(NASTY, [behaviour.weight for behaviour in NASTY], k=nasty - len(drawn))
        behaviours = drawn + [POLITE] * (count - nasty)
        rng.shuffle(behaviours)
        return behaviours

    def _host(self, ip: str, name: str | None, behaviour: Behaviour) -> Host:
        rng = random.Random(f"host {self._plan.seed} {ip}")  # noqa: S311 - a simulation
        products = self._with_tls if behaviour.tls else self._market
        product = rng.choices(products, [product.weight for product in products])[0]
        version = _pick(rng, product.versions)
        hidden = (rng.random() < self._plan.hidden or not product.greets_by_name) and behaviour.named
        offers = rng.random() < product.starttls if behaviour.tls is None else behaviour.tls
        tls_version = self._tls_version(rng, product, behaviour) if offers else None
        leaf = self._leaf(rng, name) if offers else None
        context = self._context(leaf, tls_version) if leaf is not None and tls_version is not None else None
        wire = _wire(product, behaviour, _values(rng, _own_name(ip, name), version, self._now), (hidden, offers))
        delay = product.delay * rng.lognormvariate(0, 0.5)
        return Host(ip, name, behaviour, product, version, hidden, wire, delay, leaf, tls_version, context)

    def _tls_version(self, rng: random.Random, product: Product, behaviour: Behaviour) -> str | None:
        """Draw the highest version; a nasty host fails in its own way, not for the age of its TLS."""
        versions = dict(product.tls)
        if behaviour is not POLITE:
            versions = {version: versions[version] for version in _MODERN_TLS if version in versions} or {"TLSv1.2": 1}
        return _pick(rng, versions)

    def _leaf(self, rng: random.Random, name: str | None) -> Leaf:
        domain = "" if name is None else name.partition(".")[2]
        if domain in self._pool.trusted and rng.random() < _TRUSTED_SHARE:
            return self._pool.trusted[domain]
        return rng.choice(self._pool.others)


def _pick(rng: random.Random, weights: Mapping[str, float]) -> str | None:
    return rng.choices(list(weights), list(weights.values()))[0] if weights else None


def _values(rng: random.Random, host: str, version: str | None, now: float) -> dict[str, str]:
    """Say what the placeholders stand for on one host; those of the client stay as they are."""
    day, hour, minute = rng.randint(1, 28), rng.randint(0, 23), rng.randint(0, 59)
    return {
        "host": host,
        "version": version or "",
        "date": formatdate(now).replace("-0000", "+0000"),
        "stamp": f"11/{day:02}/26 {hour:02}:{minute:02}:07",
        "id": f"{rng.getrandbits(128):032x}",
        "number": f"{rng.randint(1, 999):03}",
        "client": "{client}",
        "client_ip": "{client_ip}",
    }


def _wire(
    product: Product,
    behaviour: Behaviour,
    values: Mapping[str, str],
    shown: tuple[bool, bool],
) -> Wire:
    """Write out the replies of a host; ``shown``: whether its greeting is hidden, whether it offers STARTTLS."""
    hidden, offers = shown
    greeting = _whole((product.hidden,) if hidden else product.greeting, values)
    if behaviour.greeting is not None:
        greeting = behaviour.greeting.replace(b"{host}", values["host"].encode())
    with_starttls = [line for line in product.ehlo if offers or line.upper() != "STARTTLS"]
    in_tls = [line for line in product.ehlo if line.upper() != "STARTTLS"]
    wire = Wire(
        greeting=greeting,
        ehlo=_coded(with_starttls, values),
        ehlo_tls=_coded(in_tls, values),
        helo=_coded(product.ehlo[:1], values),
        starttls=_whole(product.starttls_reply, values),
        quit=_whole(product.quit, values),
        unknown=_whole(product.unknown, values),
    )
    change = _CHANGES.get(behaviour.change or "")
    return wire if change is None else change(wire)


def _whole(lines: Sequence[str], values: Mapping[str, str]) -> bytes:
    return b"".join(render(line, values).encode() + b"\r\n" for line in lines)


def _coded(lines: Sequence[str], values: Mapping[str, str]) -> bytes:
    """Put the code 250 before the lines of a reply."""
    return _whole([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"], values)


def _bare_lf(wire: Wire) -> Wire:
    return Wire(*(reply.replace(b"\r\n", b"\n") for reply in attrs.astuple(wire)))


def _lower_case(wire: Wire) -> Wire:
    return attrs.evolve(wire, ehlo=wire.ehlo.lower(), ehlo_tls=wire.ehlo_tls.lower())


def _teaser(wire: Wire) -> Wire:
    """Put two lines before the greeting, the first as postscreen's: the greeting's own."""
    first = wire.greeting.splitlines()[0][4:]
    return attrs.evolve(wire, greeting=b"220-%b\r\n220-Please wait.\r\n%b" % (first, wire.greeting))


_CHANGES = {"bare_lf": _bare_lf, "lower_case": _lower_case, "teaser": _teaser}
