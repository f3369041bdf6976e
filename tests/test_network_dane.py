"""DANE from the zone to the item: Postfix, nsd with signed zones, and an unbound that validates them."""

from __future__ import annotations

import hashlib
import re
import ssl
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from doubles.crawl import FREE, QUICK, REPOSITORY, SCRAPY, items
from servers.certificate import ServerCertificate
from servers.dns import nsd, unbound
from servers.namespace import Namespace
from servers.pki import Pki
from servers.signing import signed
from servers.tls import POSTFIX, start_tls_postfix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n NS ns\nns A 127.0.0.53\n"
OTHER = "00" * 32
CASES = {
    "key": "secure-match",
    "leaf": "secure-match",
    "anchor": "secure-match",
    "rollover": "secure-match",
    "mismatch": "secure-mismatch",
    "pkix": "none",
    "absent": "none",
}
"""Hosts below signed.example; each has records of its own, and all are one server."""
OUTSIDE = {
    "anchor.other.example": "secure-mismatch",
    "key.plain.example": "insecure",
    "key.bogus.example": "not_measured",
}


class Lab:
    """One server, whose chain is a leaf for ``*.signed.example`` and its issuer, and the zones."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self.namespace = namespace
        pki = Pki(folder / "dane-pki")
        pki.authority("root")
        pki.authority("intermediate", "root")
        pki.leaf("leaf", names="DNS:*.signed.example")
        self.chain = pki.chain("dane", "rsa", "leaf", "intermediate")
        self.shown = ServerCertificate(self.chain, pki.key("rsa"))
        leaf, issuer = (pki.certificate(name).read_text("ascii") for name in ("leaf", "intermediate"))
        spki = x509.load_pem_x509_certificate(leaf.encode()).public_key()
        key = spki.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        by_key = f"3 1 1 {hashlib.sha256(key).hexdigest()}"
        by_anchor = f"2 0 1 {hashlib.sha256(ssl.PEM_cert_to_DER_cert(issuer)).hexdigest()}"
        self.records = {
            "key": [by_key],
            "leaf": [f"3 0 2 {hashlib.sha512(ssl.PEM_cert_to_DER_cert(leaf)).hexdigest()}"],
            "anchor": [by_anchor],
            "rollover": [f"3 1 1 {OTHER}", by_key],
            "mismatch": [f"3 1 1 {OTHER}"],
            "pkix": [f"1 1 1 {by_key.rsplit(maxsplit=1)[-1]}"],
            "absent": [],
        }
        self.zones = {"plain.example": HEAD + _tlsa("key", [by_key])}
        texts = (
            "".join(_tlsa(name, records) for name, records in self.records.items()) + "mail MX 10 key\n MX 20 anchor\n"
        )
        good, anchor = signed("signed.example", f"{HEAD}{texts}key A {POSTFIX}\nanchor A {POSTFIX}\n")
        other, other_anchor = signed("other.example", HEAD + _tlsa("anchor", [by_anchor]))
        bogus, bogus_anchor = signed("bogus.example", HEAD + _tlsa("key", [f"3 1 1 {OTHER}"]))
        assert OTHER in bogus
        self.zones |= {"signed.example": good, "other.example": other}
        self.zones["bogus.example"] = bogus.replace(OTHER, by_key.rsplit(maxsplit=1)[-1])
        self.anchor = f'{anchor}"\n  trust-anchor: "{other_anchor}"\n  trust-anchor: "{bogus_anchor}'
        self.resolver = ""

    def crawl(self, folder: Path, what: str, lines: list[str], *more: str) -> list[dict[str, Any]]:
        """Crawl a list of targets or domains; give the probes."""
        (folder / "list.txt").write_text("".join(f"{line}\n" for line in lines))
        identity = ("-s", "SMTPSURVEY_HELO=survey.test.example", "-s", "SMTPSURVEY_CONTACT=a@test.example")
        settings = (*QUICK, *FREE, *identity, "-s", f"SMTPSURVEY_DNS_SERVERS={self.resolver}")
        arguments = ("-a", f"{what}={folder}/list.txt", "-O", folder / "out.jsonl")
        done = subprocess.run(
            self.namespace.command(SCRAPY, "crawl", "smtp", *arguments, *settings, *more),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return [item for item in items(folder / "out.jsonl") if "kind" not in item]

    def opinion(self, name: str, records: list[str]) -> str:
        """Ask openssl what it makes of records of a host."""
        argv = ["openssl", "s_client", "-starttls", "smtp", "-connect", f"{POSTFIX}:25", "-dane_tlsa_domain", name]
        argv += [part for record in records for part in ("-dane_tlsa_rrdata", record)]
        shown = self.namespace.run(*argv, "-dane_ee_no_namechecks", stdin="QUIT\n").stdout
        (code, *_) = re.findall(r"Verify return code: (\d+)", shown)
        return "secure-match" if code == "0" else "secure-mismatch"


def _tlsa(name: str, records: list[str]) -> str:
    return "".join(f"_25._tcp.{name} TLSA {record}\n" for record in records)


@pytest.fixture(scope="module")
def lab(server_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("dane")
    with ExitStack() as stack:
        namespace = Namespace("dane")
        stack.callback(namespace.close)
        lab = Lab(namespace, server_folder)
        stack.enter_context(nsd(namespace, folder / "nsd", lab.zones))
        lab.resolver = stack.enter_context(unbound(namespace, folder / "unbound", lab.zones, anchor=lab.anchor))
        postfix = start_tls_postfix(namespace, server_folder / "dane-postfix", lab.shown, {25: lab.chain}, {})
        stack.callback(postfix.stop)
        postfix.wait_until_listening(POSTFIX, 25)
        yield lab


@pytest.fixture(scope="module")
def found(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, str]:
    """Probe the server under each of its names, and under none; give the results by name."""
    names = [*(f"{name}.signed.example" for name in CASES), *OUTSIDE]
    lines = [*(f"{POSTFIX},{name}" for name in names), POSTFIX]
    probes = lab.crawl(tmp_path_factory.mktemp("named"), "targets", lines, "-a", "dane=1")
    assert [item["starttls"] for item in probes] == ["ok"] * len(lines)
    return {item["name"]: item["tls"]["dane"] for item in probes}


@pytest.mark.parametrize(
    ("name", "result"), [*((f"{name}.signed.example", r) for name, r in CASES.items()), *OUTSIDE.items()]
)
def test_each_zone_gives_its_result(found: dict[str | None, str], name: str, result: str) -> None:
    assert found[name] == result


def test_without_a_name_nothing_is_measured(found: dict[str | None, str]) -> None:
    assert found[None] == "not_measured"


@pytest.mark.parametrize("name", [name for name, result in CASES.items() if result != "none"])
def test_openssl_comes_to_the_same_result(lab: Lab, found: dict[str | None, str], name: str) -> None:
    host = f"{name}.signed.example"
    assert lab.opinion(host, lab.records[name]) == found[host]


def test_openssl_too_wants_a_name_below_a_trust_anchor(lab: Lab, found: dict[str | None, str]) -> None:
    assert lab.opinion("anchor.other.example", lab.records["anchor"]) == found["anchor.other.example"]


def test_the_exchanges_of_a_domain_are_checked_too(lab: Lab, tmp_path: Path) -> None:
    (item,) = lab.crawl(tmp_path, "domains", ["mail.signed.example"], "-a", "dane=1")
    assert (item["name"], item["domain"], item["tls"]["dane"]) == (
        "key.signed.example",
        "mail.signed.example",
        "secure-match",
    )


def test_who_does_not_ask_for_dane_gets_nothing_of_it(lab: Lab, tmp_path: Path) -> None:
    (item,) = lab.crawl(tmp_path, "targets", [f"{POSTFIX},key.signed.example"])
    assert item["tls"]["dane"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-a", "dane=2"), "dane='2' is neither 0 nor 1"),
        (("-a", "dane=1", "-a", "tls=0"), "dane=1 compares what TLS shows: it needs tls=1 or tls=legacy"),
        (("-a", "dane=1", "-s", "SMTPSURVEY_DNS_SERVERS=127.0.0.99:9"), "no DNS server works"),
    ],
)
def test_what_cannot_be_done_is_one_line(lab: Lab, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "list.txt").write_text("127.0.3.1,key.signed.example\n")
    argv = (SCRAPY, "crawl", "smtp", "-a", f"targets={tmp_path}/list.txt", *QUICK, *arguments)
    done = lab.namespace.run("env", "-C", REPOSITORY, *argv)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
