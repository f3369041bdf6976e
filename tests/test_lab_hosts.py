"""Who lives on the simulated Internet."""

from __future__ import annotations

import functools
import ipaddress
from collections import Counter

import pytest

from smtpsurvey.lab import LabError
from smtpsurvey.lab.behaviours import NASTY
from smtpsurvey.lab.certificates import Pool, make_pool
from smtpsurvey.lab.hosts import DOMAINS, Host, Plan, Settler, draw_addresses
from smtpsurvey.lab.market import load_market
from smtpsurvey.lab.truth import truth_of


@functools.cache
def pool() -> Pool:
    return make_pool(DOMAINS, rsa_leaves=0)


def settle(plan: Plan) -> list[Host]:
    _, live = draw_addresses(plan)
    return Settler(plan, load_market(), pool(), 1.0e9).settle(live)


def keywords(ehlo: bytes) -> list[bytes]:
    return [line[4:].strip().upper() for line in ehlo.splitlines()]


def test_addresses_are_distinct_spread_and_never_in_the_real_loopback_network() -> None:
    targets, live = draw_addresses(Plan(hosts=20_000, seed=7))
    addresses = [ipaddress.IPv4Address(ip) for ip, _ in targets]
    assert len(set(addresses)) == 20_000
    assert len(live) == 320
    assert set(live) <= set(targets)
    assert not any(address in ipaddress.ip_network("127.0.0.0/16") for address in addresses)
    assert all(address in ipaddress.ip_network("127.0.0.0/8") for address in addresses)
    assert max(address.packed[1] for address in addresses) <= 254
    assert len({address.packed[:3] for address in addresses}) > 15_000
    assert addresses != sorted(addresses)
    assert 0.8 < sum(name is not None for _, name in targets) / 20_000 < 0.9


def test_live_hosts_lie_anywhere_in_the_list() -> None:
    targets, live = draw_addresses(Plan(hosts=1000, seed=7, live=0.1))
    places = [targets.index(target) for target in live]
    assert min(places) < 200
    assert max(places) > 800


def test_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    def world(seed: int) -> list[tuple[object, ...]]:
        hosts = settle(Plan(hosts=200, seed=seed, live=1.0))
        return [(host.ip, host.name, host.behaviour.name, host.wire.greeting, host.delay) for host in hosts]

    assert world(5) == world(5)
    assert world(5) != world(6)


def test_shares_are_as_asked() -> None:
    hosts = settle(Plan(hosts=3000, seed=1, live=1.0, nasty=0.1, hidden=0.3))
    behaviours = Counter(host.behaviour.name for host in hosts)
    assert behaviours["polite"] == 2700
    assert set(behaviours) == {"polite", *(behaviour.name for behaviour in NASTY)}
    assert sum(host.hidden for host in hosts) / len(hosts) == pytest.approx(0.32, abs=0.04)
    products = Counter(host.product.product for host in hosts)
    assert products["Postfix"] / len(hosts) == pytest.approx(0.34, abs=0.06)


def test_hidden_host_tells_neither_product_nor_version_in_its_greeting() -> None:
    hosts = settle(Plan(hosts=500, seed=1, live=1.0, nasty=0, hidden=1.0))
    for host in hosts:
        truth = truth_of(host, 25)
        assert truth["hidden"]
        assert not truth["named"]
        assert host.product.product.lower() not in truth["greeting"].lower()
        assert not host.version or host.version not in truth["greeting"]


def test_only_hosts_that_offer_starttls_say_so() -> None:
    for host in settle(Plan(hosts=1000, seed=2, live=1.0, nasty=0.2)):
        assert (host.context is not None) == (b"STARTTLS" in keywords(host.wire.ehlo))
        assert b"STARTTLS" not in keywords(host.wire.ehlo_tls)
        assert (host.context is None) == (host.leaf is None) == (host.tls_version is None)


def test_truth_is_consistent() -> None:
    for host in settle(Plan(hosts=2000, seed=3, live=1.0, nasty=0.3)):
        truth = truth_of(host, 25)
        assert (truth["outcome"] == "ok") == (truth["greeting_code"] is not None)
        assert (truth["starttls"] == "ok") == (truth["tls_version"] is not None)
        assert (truth["starttls"] == "ok") == (truth["certificate_sha256"] is not None)
        assert (truth["starttls"] == "failed") == (truth["tls_error"] is not None)


@pytest.mark.parametrize(
    "plan",
    [Plan(0, 1), Plan(-1, 1), Plan(17_000_000, 1), Plan(10, 1, live=1.5), Plan(10, 1, nasty=-1), Plan(10, 1, hidden=2)],
)
def test_impossible_plan_is_refused(plan: Plan) -> None:
    with pytest.raises(LabError, match=r"^--\w+: "):
        draw_addresses(plan)
