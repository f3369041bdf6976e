"""Every SMTPSURVEY_* setting: name, default, one sentence (``docs/reference/settings.md`` says more)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings


class Setting(NamedTuple):
    """One setting of this project."""

    name: str
    default: Any
    meaning: str


SETTINGS = (
    Setting("SMTPSURVEY_HELO", None, "Our fully qualified host name, said in EHLO; needed off loopback."),
    Setting("SMTPSURVEY_CONTACT", None, "URL or mail address of the people behind the survey; needed off loopback."),
    Setting("SMTPSURVEY_RATE", 500, "New targets a second in all; 0 means no limit."),
    Setting("SMTPSURVEY_PREFIX_RATE", 2, "New targets a second in one /24 (IPv4) or /48 (IPv6); 0 means no limit."),
    Setting("SMTPSURVEY_AS_RATE", 50, "New targets a second in one AS; 0 means no limit."),
    Setting("SMTPSURVEY_CONCURRENCY", 10_000, "Connections in flight at most, never above what RLIMIT_NOFILE allows."),
    Setting(
        "SMTPSURVEY_TIMEOUTS",
        {"connect": 8, "greeting": 35, "reply": 15, "tls": 15, "total": 90},
        "Seconds to wait for the connection, the greeting, a reply, the TLS handshake, and in all.",
    ),
    Setting(
        "SMTPSURVEY_LIMITS",
        {"line": 4096, "lines": 256, "bytes": 65536},
        "Bytes a line, lines a reply, bytes a conversation at most.",
    ),
    Setting("SMTPSURVEY_ALLOW", [], "CIDRs that are probed although they are reserved (the lab)."),
    Setting("SMTPSURVEY_OPTOUT", None, "Opt-out file: ASes, CIDRs, addresses and domains, one a line."),
    Setting("SMTPSURVEY_AS_MAP", None, "AS map (MMDB), made by `scrapy asmap build`."),
    Setting(
        "SMTPSURVEY_SHARDS", ["sqlite:///survey.sqlite3"], "Database URLs; an empty list means no database, feeds only."
    ),
    Setting("SMTPSURVEY_TABLES_PER_SHARD", 1, "Observation tables on each database server."),
    Setting("SMTPSURVEY_FINGERPRINTS", ["builtin"], "Rule sets that name the software."),
    Setting("SMTPSURVEY_DNS_SERVERS", [], "DNS servers to ask, which recurse for us; else those of resolv.conf."),
    Setting("SMTPSURVEY_DNS_RATE", 500, "Queries a second to each DNS server; 0 means no limit."),
    Setting("SMTPSURVEY_DNS_CONCURRENCY", 250, "Queries in flight to each DNS server at most."),
    Setting("SMTPSURVEY_DNS_TIMEOUTS", [2, 3, 4, 5, 5, 5], "Seconds to wait for an answer, one for each try."),
    Setting("SMTPSURVEY_DNS_PROBE", ". NS", "Name and type that a DNS server must answer to be asked anything else."),
    Setting("SMTPSURVEY_EXCHANGE_CACHE", 67_108_864, "Bytes for what is known of mail exchanges, the last used."),
    Setting("SMTPSURVEY_MANIFEST", None, "File that tells what the run did (JSON), kept up to date while it runs."),
    Setting("SMTPSURVEY_FLEET", "fleet.toml", "File that lists the scrapyd nodes of `scrapy fleet`."),
    Setting(
        "SMTPSURVEY_FLEET_GRACE", 300, "Seconds that a node may be away or unfit before its shards go to other nodes."
    ),
    Setting("SMTPSURVEY_REACH", [], "Mail servers of which one must greet, for a node to be fit for work."),
    Setting("SMTPSURVEY_FETCH_PAUSES", [5, 30, 120, 600], "Seconds to wait before each further try of COMMAND-FETCH."),
    Setting("SMTPSURVEY_PAGE_SIZE", 262_144, "Bytes of a page that HTTP-FETCH keeps."),
    Setting("SMTPSURVEY_STATUS_ADDRESS", "127.0.0.1", "Address on which SERVICE-THREAD listens."),
    Setting("SMTPSURVEY_TRACE_RATE", 500, "Packets a second of all traceroutes together, 1 to 10,000."),
    Setting(name="SMTPSURVEY_ROUTE_CHECK", default=False, meaning="Also honour opt-outs of ASes on the route."),
    Setting("SMTPSURVEY_ROUTE_AGE", 604_800, "Seconds that a stored route is good for the route check."),
    Setting("SMTPSURVEY_CA_FILE", None, "Trust anchors (PEM); else certifi's."),
)
"""Each becomes a Scrapy setting of this default when the add-on is on."""


def apply_defaults(settings: BaseSettings) -> None:
    """Give every setting of ours that is not set its default."""
    for setting in SETTINGS:
        if setting.name not in settings:
            settings.set(setting.name, setting.default, "default")
