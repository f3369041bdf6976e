"""Every number here is counted by hand: 20 hosts answered, 16 were asked, 10 agreed on TLS."""

from __future__ import annotations

from collections import Counter

from smtpsurvey.analysis.encryption import Session, ciphers, keys, starttls, tls_errors, tls_versions, trust


def session(kind: str | None, **facts: str | bool | None) -> Session:
    return Session(**dict.fromkeys(Session._fields) | {"starttls": kind} | facts)


SESSIONS = Counter(
    {
        session("ok", version="TLSv1.3", cipher="AES256", trusted=True, matches_name=True): 5,
        session("ok", version="TLSv1.3", cipher="CHACHA", trusted=False, trust_error="self_signed"): 1,
        session("ok", version="TLSv1.2", cipher="AES256", trusted=False, trust_error="expired", matches_name=False): 4,
        session("failed", error="protocol_version"): 1,
        session("failed", error="closed", trusted=False, trust_error="expired", matches_name=False): 1,
        session("not_offered"): 4,
        session("not_asked"): 3,
        session(None): 1,
    }
)


def test_starttls_shares_are_of_all_and_of_those_asked() -> None:
    table = starttls(SESSIONS)
    assert table.columns == ("starttls", "hosts", "share_of_answering", "share_of_asked")
    assert table.rows == (
        ("ok", 10, 0.5, 0.625),
        ("not_offered", 4, 0.2, 0.25),
        ("not_asked", 3, 0.15, None),
        ("failed", 2, 0.1, 0.125),
        (None, 1, 0.05, None),
    )


def test_versions_and_ciphers_are_those_of_completed_handshakes() -> None:
    versions = tls_versions(SESSIONS)
    assert versions.columns == ("version", "hosts", "share_of_tls")
    assert versions.rows == (("TLSv1.3", 6, 0.6), ("TLSv1.2", 4, 0.4))
    assert ciphers(SESSIONS).rows == (
        ("TLSv1.3", "AES256", 5, 0.5),
        ("TLSv1.2", "AES256", 4, 0.4),
        ("TLSv1.3", "CHACHA", 1, 0.1),
    )


def test_failed_handshakes_are_told_by_error() -> None:
    table = tls_errors(SESSIONS)
    assert table.columns == ("error", "hosts", "share_of_failed")
    assert table.rows == (("closed", 1, 0.5), ("protocol_version", 1, 0.5))


def test_trust_counts_every_certificate_shown_that_of_a_failed_handshake_too() -> None:
    table = trust(SESSIONS)
    assert table.columns == ("trusted", "trust_error", "matches_name", "hosts", "share_of_certificates")
    assert table.rows == (
        (False, "expired", False, 5, 5 / 11),
        (True, None, True, 5, 5 / 11),
        (False, "self_signed", None, 1, 1 / 11),
    )


def test_keys_have_shares_of_the_certificates_shown() -> None:
    table = keys(Counter({"rsa-2048": 6, "ecdsa-p256": 3, None: 3}))
    assert table.columns == ("key", "hosts", "share_of_certificates")
    assert table.rows == (("rsa-2048", 6, 0.5), ("ecdsa-p256", 3, 0.25), (None, 3, 0.25))


def test_without_hosts_there_are_no_rows() -> None:
    for make in (starttls, tls_versions, ciphers, tls_errors, trust):
        assert make(Counter()).rows == ()
    assert keys(Counter()).rows == ()
