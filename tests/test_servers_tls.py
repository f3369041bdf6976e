"""TLS facts of Postfix and Exim with certificates good and bad; openssl gives a second opinion on each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import pytest
from conftest import CACHE
from servers.certificate import ServerCertificate, sha256_of
from servers.clients import Handshake, fits, shake_hands
from servers.crawl import Item, schema_errors, start_crawl
from servers.namespace import Namespace
from servers.pki import END, PAST, START, Pki
from servers.tls import EXIM, POSTFIX, start_tls_exim, start_tls_postfix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NAME = "mx.test.example"
SERVERS = {"postfix": POSTFIX, "exim": EXIM}
FIRST_PORT = 3001


class Case(NamedTuple):
    """What a listener shows (files of the PKI, the leaf first), and what has to be found."""

    chain: tuple[str, ...]
    kind: str = "rsa"
    key: str = "rsa-2048"
    signature: str = "rsa-sha256"
    trust_error: str | None = None
    matches: bool = True
    self_signed: bool = False
    name: str = NAME


CASES = {
    "rsa": Case(("rsa-leaf", "intermediate")),
    "ecdsa": Case(("ecdsa-leaf", "intermediate"), "ecdsa", "ecdsa-p256"),
    "ed25519": Case(("ed25519-leaf", "intermediate"), "ed25519", "ed25519"),
    "expired": Case(("expired", "intermediate"), trust_error="expired"),
    "not yet valid": Case(("future", "intermediate"), trust_error="not_yet_valid"),
    "wrong name": Case(("wrong", "intermediate"), matches=False),
    "wildcard": Case(("wildcard", "intermediate")),
    "wildcard too high": Case(("wildcard", "intermediate"), matches=False, name="a.mx.test.example"),
    "idna": Case(("idna", "intermediate"), name="bücher.test.example"),
    "self-signed": Case(("own",), trust_error="self_signed", self_signed=True),
    "private CA": Case(("private-leaf", "private-intermediate"), trust_error="unknown_issuer"),
    "private CA, leaf alone": Case(("private-leaf",), trust_error="unknown_issuer"),
    "leaf alone": Case(("rsa-leaf",), trust_error="unknown_issuer"),
    "leaf alone that points to its issuer": Case(("pointing",), trust_error="incomplete_chain"),
    "wrong order": Case(("rsa-leaf", "root", "intermediate")),
    "1024 bits": Case(("short", "intermediate"), "rsa-1024", "rsa-1024", trust_error="weak"),
    "sha-1": Case(("sha1", "intermediate"), signature="rsa-sha1", trust_error="weak"),
}
SORTED = ("rsa-leaf", "intermediate", "root")  # GnuTLS, which Exim uses, puts it in order
STAPLING = ("exim", "ecdsa")  # Postfix cannot
VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
PORTS = {name: FIRST_PORT + number for number, name in enumerate((*CASES, *VERSIONS))}
# openssl's codes of X509_V_ERR at the security level 2.
CODES = {
    0: {None},
    9: {"not_yet_valid"},
    10: {"expired"},
    18: {"self_signed"},
    20: {"unknown_issuer", "incomplete_chain"},
    21: {"unknown_issuer", "incomplete_chain"},
    66: {"weak"},
    68: {"weak"},
}
GROUPS = {"X25519": "x25519", "prime256v1": "secp256r1", "secp521r1": "secp521r1", "secp384r1": "secp384r1"}
STAPLES = {"no response sent": "none", "good": "good"}
OLD = ("-cipher", "ALL:@SECLEVEL=0")
Items = dict[tuple[str, int], Item]


class Lab(NamedTuple):
    """The servers, up; and what authority to trust."""

    namespace: Namespace
    folder: Path
    pki: Pki

    def crawl(self, folder: Path, ports: Sequence[int], *arguments: str) -> Items:
        names = {PORTS[name]: case.name for name, case in CASES.items()}
        targets = [f"{ip},{names.get(port, NAME)},,{port}" for ip in SERVERS.values() for port in ports]
        settings = {"SMTPSURVEY_ALLOW": "127.0.0.0/8", "SMTPSURVEY_CA_FILE": str(self.pki.certificate("root"))}
        items = start_crawl(self.namespace, folder, targets, settings, arguments=arguments).finish()
        assert len(items) == len(targets)
        return {(item["ip"], item["port"]): item for item in items}

    def handshake(self, ip: str, port: int, *options: str) -> Handshake | None:
        trust = ("-CAfile", self.pki.certificate("root"), "-auth_level", "2")
        return shake_hands(self.namespace, ip, port, (*trust, *options))


def make_pki(folder: Path) -> Pki:
    pki = Pki(folder)
    pki.authority("root")
    pki.authority("intermediate", "root")
    pki.authority("private")
    pki.authority("private-intermediate", "private")
    for kind in ("rsa", "ecdsa", "ed25519"):
        pki.leaf(f"{kind}-leaf", kind)
    pki.leaf("expired", dates=(PAST, START))
    pki.leaf("future", dates=("20980101000000Z", END))
    pki.leaf("wrong", names="DNS:other.test.example")
    pki.leaf("wildcard", names="DNS:*.test.example")
    pki.leaf("idna", names="DNS:xn--bcher-kva.test.example")
    pki.leaf("own", issuer="own")
    pki.leaf("private-leaf", issuer="private-intermediate")
    pki.leaf("pointing", options=("-extensions", "pointing"))
    pki.leaf("short", "rsa-1024")
    pki.leaf("sha1", options=("-extensions", "leaf", "-md", "sha1"))
    return pki


@pytest.fixture(scope="module")
def lab(server_folder: Path) -> Iterator[Lab]:
    with ExitStack() as stack:
        namespace = Namespace("tls")
        stack.callback(namespace.close)
        pki = make_pki(server_folder / "pki")
        chains = {PORTS[name]: pki.chain(str(PORTS[name]), case.kind, *case.chain) for name, case in CASES.items()}
        versions = {PORTS[version]: version for version in VERSIONS}
        plain = pki.chain("plain", "rsa", "rsa-leaf", "intermediate")
        nameless = pki.chain("nameless", "ecdsa", "ecdsa-leaf", "intermediate")
        pairs = {port: (chain, chain) for port, chain in chains.items()} | dict.fromkeys(versions, (plain, plain))
        pairs[PORTS["rsa"]] = (plain, nameless)
        shown = ServerCertificate(plain, pki.key("rsa"))
        staples = {PORTS["ecdsa"]: pki.staple("ecdsa-leaf", "intermediate")}
        started = (
            (start_tls_postfix(namespace, server_folder / "tls-postfix", shown, chains, versions), POSTFIX),
            (start_tls_exim(namespace, server_folder / "tls-exim", CACHE / "exim", pairs, versions, staples), EXIM),
        )
        for daemon, _ in started:
            stack.callback(daemon.stop)
        for daemon, ip in started:
            daemon.wait_until_listening(ip, FIRST_PORT)
        yield Lab(namespace, server_folder, pki)


@pytest.fixture(scope="module")
def items(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Items:
    """Crawl all listeners as a survey does."""
    return lab.crawl(tmp_path_factory.mktemp("default"), list(PORTS.values()))


@pytest.fixture(scope="module")
def legacy(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Items:
    """Crawl the listeners of one version each with all versions, and then with the deprecated ones alone."""
    ports = [PORTS[name] for name in (*VERSIONS, "1024 bits", "rsa")]
    return lab.crawl(tmp_path_factory.mktemp("legacy"), ports, "-a", "tls=legacy", "-a", "connections=2")


@pytest.fixture(scope="module")
def both(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Items:
    """Crawl one listener of each server with its name, and then without."""
    ports = [PORTS["rsa"], PORTS["TLSv1.1"]]
    return lab.crawl(tmp_path_factory.mktemp("both"), ports, "-a", "sni=both", "-a", "connections=2")


@pytest.fixture(scope="module")
def opinions(lab: Lab) -> dict[tuple[str, int], Handshake | None]:
    """Ask openssl about each listener."""
    asked = [(ip, port) for ip in SERVERS.values() for port in PORTS.values()]
    names = {PORTS[name]: case.name.encode("idna").decode() for name, case in CASES.items()}
    with ThreadPoolExecutor(4) as pool:
        told = pool.map(
            lambda key: lab.handshake(*key, "-servername", names.get(key[1], NAME), *options(key[1])), asked
        )
        return dict(zip(asked, told, strict=True))


def options(port: int) -> tuple[str, ...]:
    """Have openssl offer versions below 1.2 where the listener speaks nothing else."""
    by_port = {PORTS["TLSv1"]: ("-tls1", *OLD), PORTS["TLSv1.1"]: ("-tls1_1", *OLD), PORTS["1024 bits"]: OLD}
    return by_port.get(port, ())


def each_case() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", CASES)


each_server = pytest.mark.parametrize("server", SERVERS)


@each_server
@each_case()
def test_the_facts_of_a_certificate(lab: Lab, items: Items, server: str, case: str) -> None:
    item, wanted = items[SERVERS[server], PORTS[case]], CASES[case]
    tls = item["tls"]
    assert item["starttls"] == "ok", tls
    sent = SORTED if (server, case) == ("exim", "wrong order") else wanted.chain
    assert tls["chain"] == [sha256_of(lab.pki.certificate(name).read_text("ascii")) for name in sent]
    assert tls["certificate"]["key"] == wanted.key
    assert tls["certificate"]["signature"] == wanted.signature
    assert tls["certificate"]["self_signed"] is wanted.self_signed
    assert (tls["trusted"], tls["trust_error"]) == (wanted.trust_error is None, wanted.trust_error)
    assert tls["matches_name"] is wanted.matches
    assert tls["sni"] is True
    assert tls["staple"] == ("good" if (server, case) == STAPLING else "none")


@each_server
@each_case()
def test_openssl_has_the_same_opinion(
    items: Items, opinions: dict[tuple[str, int], Handshake | None], server: str, case: str
) -> None:
    key = SERVERS[server], PORTS[case]
    tls, opinion = items[key]["tls"], opinions[key]
    assert opinion is not None
    assert tls["chain"] == opinion.chain
    assert (tls["version"], tls["cipher"]) == (opinion.version, opinion.cipher)
    assert opinion.group is not None
    assert tls["group"] == GROUPS[opinion.group]
    assert tls["trust_error"] in CODES[opinion.verified]
    assert tls["matches_name"] is fits(opinion.leaf, items[key]["name"])
    assert tls["staple"] == STAPLES[opinion.staple]


@each_server
@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_of_one_version(
    items: Items, legacy: Items, opinions: dict[tuple[str, int], Handshake | None], server: str, version: str
) -> None:
    key = SERVERS[server], PORTS[version]
    old = version in {"TLSv1", "TLSv1.1"}
    assert items[key]["starttls"] == ("failed" if old else "ok")
    assert items[key]["tls"]["error"] == ("protocol_version" if old else None)
    assert items[key]["tls"]["version"] == (None if old else version)
    tls, opinion = legacy[key]["tls"], opinions[key]
    assert opinion is not None
    assert tls["version"] == opinion.version == version
    assert tls["chain"] == opinion.chain
    assert tls["second"] == (
        None
        if old
        else {"offers": "deprecated", "version": None, "cipher": None, "chain": None, "error": "protocol_version"}
    )


@each_server
def test_the_second_connection_shows_what_deprecated_version_a_server_still_speaks(
    lab: Lab, legacy: Items, server: str
) -> None:
    key = SERVERS[server], PORTS["rsa"]
    tls, opinion = legacy[key]["tls"], lab.handshake(*key, "-servername", NAME, "-tls1_1", *OLD)
    assert tls["version"] == "TLSv1.3"
    assert opinion is not None
    assert tls["second"] == {
        "offers": "deprecated",
        "version": opinion.version,
        "cipher": opinion.cipher,
        "chain": opinion.chain,
        "error": None,
    }


def test_without_its_name_a_server_may_show_another_certificate(lab: Lab, both: Items) -> None:
    for ip, kind in ((POSTFIX, "rsa"), (EXIM, "ecdsa")):
        key = ip, PORTS["rsa"]
        tls, opinion = both[key]["tls"], lab.handshake(*key, "-noservername")
        assert tls["chain"][0] == sha256_of(lab.pki.certificate("rsa-leaf").read_text("ascii"))
        assert tls["second"]["offers"] == "no_name"
        assert opinion is not None
        assert tls["second"]["chain"] == opinion.chain
        assert opinion.chain[0] == sha256_of(lab.pki.certificate(f"{kind}-leaf").read_text("ascii"))
        assert tls["second"]["version"] == opinion.version


def test_where_the_first_handshake_fails_there_is_no_second_for_a_name(both: Items) -> None:
    for ip in SERVERS.values():
        tls = both[ip, PORTS["TLSv1.1"]]["tls"]
        assert (tls["error"], tls["second"]) == ("protocol_version", None)


def test_every_item_validates_against_the_published_schema(items: Items, legacy: Items, both: Items) -> None:
    assert schema_errors([*items.values(), *legacy.values(), *both.values()]) == []
