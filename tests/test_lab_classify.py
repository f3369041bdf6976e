"""Every host of the lab that shows its product is named rightly by the built-in fingerprints."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from smtpsurvey.classify.classifier import Classifier
from smtpsurvey.classify.rules import Transcript
from smtpsurvey.lab.certificates import make_pool
from smtpsurvey.lab.hosts import DOMAINS, Host, Plan, Settler, draw_addresses
from smtpsurvey.lab.market import load_market
from smtpsurvey.lab.truth import truth_of

if TYPE_CHECKING:
    from smtpsurvey.items import Software

PRODUCTS = sorted({product.product for product in load_market() if product.greets_by_name})
SHY = sorted({product.product for product in load_market() if not product.greets_by_name})


@functools.cache
def hosts() -> dict[str, list[Host]]:
    """Hosts of each product that show its name, or whose product never does."""
    plan = Plan(hosts=4000, seed=9, live=1.0, nasty=0.1)
    _, live = draw_addresses(plan)
    found: dict[str, list[Host]] = {product: [] for product in PRODUCTS + SHY}
    for host in Settler(plan, load_market(), make_pool(DOMAINS, rsa_leaves=0), 1.76e9).settle(live):
        truth = truth_of(host, 25)
        if truth["named"] or truth["hidden"]:
            found[host.product.product].append(host)
    return found


@functools.cache
def classifier() -> Classifier:
    return Classifier.load(["builtin"])


def texts(reply: bytes) -> list[str]:
    """Lines of a reply without codes, as the visitor 127.0.0.1 sees them."""
    spoken = reply.replace(b"{client}", b"survey.example.org").replace(b"{client_ip}", b"127.0.0.1")
    return [line[4:].decode() for line in spoken.replace(b"\r", b"").splitlines()]


def verdict(host: Host) -> Software | None:
    wire = host.wire
    ehlo, ehlo_tls = texts(wire.ehlo), texts(wire.ehlo_tls)
    return classifier().classify(
        Transcript(
            greeting="\n".join(texts(wire.greeting)),
            ehlo=ehlo[0],
            extensions=" ".join(line.split()[0].upper() for line in ehlo[1:]),
            starttls_reply="\n".join(texts(wire.starttls)) if host.context else "",
            quit="\n".join(texts(wire.quit)),
            tls_extensions=" ".join(line.split()[0].upper() for line in ehlo_tls[1:]) if host.context else "",
        )
    )


@pytest.mark.parametrize("product", PRODUCTS)
def test_product_is_named_with_its_version_where_it_is_shown(product: str) -> None:
    assert hosts()[product]
    for host in hosts()[product]:
        software = verdict(host)
        assert software is not None, host.wire.greeting
        assert (software.vendor, software.product) == (host.product.vendor, host.product.product), host.wire.greeting
        if host.product.shows_version:
            assert software.version == host.version, host.wire.greeting


@pytest.mark.parametrize("product", SHY)
def test_product_that_never_greets_by_name_is_never_named_wrongly(product: str) -> None:
    assert hosts()[product]
    for host in hosts()[product]:
        software = verdict(host)
        assert software is None or software.product == product, software
