"""The order of the report: its sections, and for each table what it tells."""

from __future__ import annotations

from typing import NamedTuple

ROWS = 15
"""Rows of a long table on the page; its files have them all."""


class Shown(NamedTuple):
    """A table on the page: title, what it counts, the column its bars show, and how many rows (``None``: all)."""

    name: str
    title: str
    says: str
    bars: str | None = None
    rows: int | None = ROWS


class Section(NamedTuple):
    """A section of the page; tables that a report lacks are left out."""

    title: str
    tables: tuple[Shown, ...]


SECTIONS = (
    Section(
        "Market shares",
        (
            Shown(
                "shares_product",
                "Products",
                "Hosts that answered SMTP, by the software they run.",
                "share_of_answering",
            ),
            Shown("shares_vendor", "Vendors", "The same by who makes it.", "share_of_answering"),
            Shown(
                "history",
                "The leading products, survey by survey",
                "The five products that lead in this survey, in every survey compared, by start.",
                rows=None,
            ),
            Shown(
                "shares_version",
                "Versions",
                "Versions as servers tell them; many products do not tell.",
                "share_of_answering",
            ),
        ),
    ),
    Section(
        "Response",
        (
            Shown("outcomes", "Outcomes", "What became of every target of the survey.", "share_of_targets"),
            Shown("exclusions", "Never contacted", "Targets left out, and trouble on our own side, by reason."),
            Shown(
                "response_by_source",
                "By source of targets",
                "Hosts that answered SMTP, by the list they came from.",
                "share_of_contacted",
            ),
            Shown(
                "response_by_as",
                "By AS",
                "Hosts that answered SMTP, by the AS that announces them.",
                "share_of_answering",
            ),
            Shown(
                "response_by_country",
                "By country",
                "Hosts that answered SMTP, by country of allocation.",
                "share_of_answering",
            ),
        ),
    ),
    Section(
        "Encryption",
        (
            Shown("starttls", "STARTTLS", "What became of STARTTLS on the hosts that answered.", "share_of_answering"),
            Shown("tls_versions", "TLS versions", "Hosts whose handshake was completed.", "share_of_tls"),
            Shown("ciphers", "Cipher suites", "Hosts whose handshake was completed.", "share_of_tls"),
            Shown(
                "tls_errors", "Failed handshakes", "Hosts that agreed to STARTTLS and then failed.", "share_of_failed"
            ),
            Shown("keys", "Keys", "Keys of the certificates that hosts showed.", "share_of_certificates"),
            Shown(
                "trust",
                "Trust and names",
                "Whether the chain leads to a trust anchor, and whether the certificate fits the name looked for.",
                "share_of_certificates",
            ),
        ),
    ),
    Section(
        "Change",
        (
            Shown(
                "changes",
                "Since the surveys compared",
                "Hosts (address and port) that answered then or now.",
                rows=None,
            ),
            Shown("changes_by_as", "Changes by AS", "The same in each AS."),
        ),
    ),
)

SUMMARY = ("shares_product", "outcomes", "starttls", "tls_versions", "trust", "history", "changes")
"""The tables that are shown on a terminal."""
