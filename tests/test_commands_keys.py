"""``scrapy keys`` from the command line's side: what it prints and writes, and its exit status."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rsakeys import certificate, prime
from scrapy.cmdline import execute
from scrapy.settings import Settings
from surveys import store, write

from smtpsurvey.items import Observation, SecondHandshake, SmtpItem, Target
from smtpsurvey.outcomes import Outcome, TlsSecond
from smtpsurvey.smtp.certificate import describe
from smtpsurvey.smtp.tls import TlsFacts
from smtpsurvey.store.shown import shown, stored

if TYPE_CHECKING:
    from smtpsurvey.store.shards import Shards

REPOSITORY = Path(__file__).parents[1]
SOUND = prime(0) * prime(1)
PAIR = prime(2) * prime(3), prime(2) * prime(4)


def facts(*ders: bytes) -> TlsFacts:
    hashes = tuple(hashlib.sha256(der).hexdigest() for der in ders)
    return TlsFacts("TLSv1.3", "C", ders, hashes, describe(ders[0]))


def probed(number: int, *ders: bytes, asn: int | None, second: bytes | None = None) -> SmtpItem:
    target = Target(f"192.0.2.{number}", asn=asn)
    more = None if second is None else SecondHandshake(TlsSecond.NO_NAME, facts(second))
    return SmtpItem.from_observation(Observation(target, 0.0, 0.1, Outcome.OK, tls=facts(*ders), second=more), "now")


SHARED = certificate(SOUND, subject="a.example", serial=1)
OTHER = certificate(SOUND, subject="b.example", serial=2)
FIRST, SECOND = (certificate(modulus, subject="c.example", serial=9) for modulus in PAIR)
ISSUER = certificate(prime(5) * prime(6), subject="ca.example", serial=5)
BROKEN = b"no certificate"


def survey(url: str) -> Shards:
    shards = store([url])
    items = [
        probed(1, SHARED, ISSUER, asn=64500),
        probed(2, OTHER, ISSUER, asn=64501),
        probed(3, FIRST, asn=64500, second=SECOND),
        probed(4, SECOND, asn=None),
        probed(5, BROKEN, asn=64500),
    ]
    write(shards, "now", items)
    return shards


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'survey.sqlite3'}"
    survey(url).dispose()
    return url


def scrapy(urls: object, *argv: object) -> int:
    settings = Settings({"COMMANDS_MODULE": "smtpsurvey.commands", "SMTPSURVEY_SHARDS": urls})
    with pytest.raises(SystemExit) as ended:
        execute(["scrapy", "keys", *map(str, argv)], settings)
    return int(ended.value.code or 0)


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_weak_and_shared_keys_are_printed_and_written(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    out = tmp_path / "new" / "keys"
    assert scrapy([url], "--survey", "now", "--out", out) == 0
    said, told = capsys.readouterr()
    assert told == ""
    lines = " ".join(said.split())
    assert "No block lists in" in lines
    assert "1 certificates have no key that can be read." in lines
    assert "4 different keys" in lines
    assert "common_factor" in lines
    (shared,) = table(out, "shared_keys")
    assert (shared["subject"], shared["asns"]) == ("CN=a.example", "64500 64501")
    assert [shared[name] for name in ("certificates", "names", "hosts", "issuing", "ases")] == ["2", "2", "2", "0", "2"]
    weak = table(out, "weak_keys")
    assert [row["weaknesses"] for row in weak] == ["common_factor"] * 2
    assert len({row["factor"] for row in table(out, "shared_factors")}) == 1
    assert json.loads((out / "key_weaknesses.json").read_bytes()) == [
        {"weakness": None, "keys": 2, "certificates": 3, "hosts": 2, "share_of_keys": 0.5},
        {"weakness": "common_factor", "keys": 2, "certificates": 2, "hosts": 2, "share_of_keys": 0.5},
    ]


def test_block_lists_are_looked_at_where_badkeys_has_them(tmp_path: Path, url: str) -> None:
    folder = tmp_path / "cache" / "badkeys"
    folder.mkdir(parents=True)
    digest = hashlib.sha256(SOUND.to_bytes(256, "big")).digest()
    (folder / "blocklist.dat").write_bytes(digest[:15] + b"\2")
    (folder / "badkeysdata.json").write_text('{"blocklists": [{"id": 2, "name": "debianweak"}]}')
    argv = [sys.executable, "-m", "scrapy", "keys", "--survey", "now", "--out", str(tmp_path / "out")]
    argv += ["-s", f"SMTPSURVEY_SHARDS={url}"]
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(argv, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "block list" not in done.stdout
    reasons = {row["subject"]: row["weaknesses"] for row in table(tmp_path / "out", "weak_keys")}
    assert reasons["CN=a.example"] == "listed:debianweak"


def test_a_second_handshakes_certificate_is_stored_and_each_is_read_once(tmp_path: Path) -> None:
    shards = survey(f"sqlite:///{tmp_path / 'one.sqlite3'}")
    found = shown(shards, "now")
    hashes = [hashlib.sha256(der).hexdigest() for der in (SHARED, OTHER, FIRST, SECOND, ISSUER, BROKEN)]
    assert set(found) == set(hashes)
    assert [found[digest].issuing for digest in hashes] == [0, 0, 0, 0, 2, 0]
    assert [dict(found[digest].leaf) for digest in hashes[2:4]] == [{64500: 1}, {None: 1}]
    assert sorted(digest for digest, _ in stored(shards, found)) == sorted(hashes)
    shards.dispose()


def test_certificates_of_which_only_the_hash_is_known_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = f"sqlite:///{tmp_path / 'survey.sqlite3'}"
    shards = store([url])
    imported = probed(1, SHARED, asn=None)
    imported._observation = None
    write(shards, "now", [imported])
    shards.dispose()
    assert scrapy([url], "--survey", "now") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 certificates are known by their hash alone (imported)." in said
    assert "0 different keys" in said


@pytest.mark.parametrize(
    ("url_of", "argv", "reason"),
    [
        ([], ["--survey", "now"], "SMTPSURVEY_SHARDS is empty"),
        (["sqlite:///{}/none.sqlite3"], ["--survey", "now"], "no such database"),
        (["sqlite:///{}/survey.sqlite3"], ["--survey", "then"], "no survey 'then'"),
        (["sqlite:///{}/survey.sqlite3"], ["--survey", "now", "--out", "{}/survey.sqlite3"], "File exists"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url_of: list[str], argv: list[str], reason: str
) -> None:
    survey(f"sqlite:///{tmp_path / 'survey.sqlite3'}").dispose()
    status = scrapy([text.format(tmp_path) for text in url_of], *(text.format(tmp_path) for text in argv))
    told = capsys.readouterr().err
    assert status == 1
    assert told.startswith("keys: ")
    assert reason in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("argv", [[], ["--survey", "now", "more"]])
def test_without_a_survey_there_is_nothing_to_do(argv: list[str]) -> None:
    assert scrapy([], *argv) == 2
