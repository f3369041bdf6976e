from __future__ import annotations

import gc
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.mariadb import MariaDb, running
from sqlalchemy import func, select
from surveys import store, write

from smtpsurvey.classify.load import load
from smtpsurvey.items import EhloItem, ReplyItem, SmtpItem, Software, TlsItem
from smtpsurvey.smtp.certificate import Certificate
from smtpsurvey.store import StoreError, classifications, verdicts
from smtpsurvey.store.classifications import Earlier, earlier, runs
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.verdicts import Reclassification, require_survey, unidentified
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIME = "2026-11-25T01:02:03.456Z"
LATER = "2026-12-01T00:00:00.000Z"
OLD = Software("Old", "Old MTA", "1", "old", "greeting")
KILLED = 9


@attrs.define
class Rules:
    """Rules that know a product by the first word after the host's name; ``version`` tells them apart."""

    version: str = "a" * 16
    prefix: str = ""
    asked: list[str] = attrs.Factory(list)
    fails_at: str | None = None
    fails_after: int | None = None
    skipped: tuple[()] = ()

    def classify_item(self, item: SmtpItem) -> Software | None:
        if item.ip == self.fails_at or len(self.asked) == self.fails_after:
            raise RuntimeError("the power is gone")
        self.asked.append(item.ip)
        assert item.greeting is not None
        words = item.greeting.text.split()
        if len(words) < 2 or words[1] == "unknown":
            return None
        return Software("V", self.prefix + words[1], *words[2:3], rule="r", evidence="greeting")

    def contenders(self, _item: SmtpItem) -> list[Any]:
        return []


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with running(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shards]:
    if request.param == "mariadb":
        server = request.getfixturevalue("mariadb")
        urls = [server.url(), server.url()]
    else:
        urls = [f"sqlite:///{tmp_path / name}.sqlite3" for name in "ab"]
    shards = store(urls, 2)
    yield shards
    shards.dispose()


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "RANGE", 7)


def seen(number: int, greeting: str, software: Software | None = None, *, outcome: str = "ok") -> SmtpItem:
    item = SmtpItem("s", f"192.0.2.{number}", 25, None, None, "list", TIME, 0.1, outcome)
    item.greeting = ReplyItem(220, greeting)
    item.software = software
    return item


def fill(shards: Shards, count: int = 60) -> None:
    """Every third is unknown, every fifth has an old verdict, the others are as the rules say."""
    items = []
    for number in range(1, count + 1):
        words = f"mx{number} " + ("unknown" if number % 3 == 0 else f"Acme {number % 4}")
        verdict = Rules().classify_item(seen(number, words))
        items.append(seen(number, words, OLD if number % 5 == 0 else verdict))
    write(shards, "s", items)


def classify(shards: Shards, rules: Rules, survey: str = "s", told: list[int] | None = None) -> classifications.Run:
    heard = [] if told is None else told
    return Reclassification(shards, survey, rules, lambda: LATER).run(["mine.toml"], heard.append)


def stored(shards: Shards, survey: str = "s") -> dict[str, Software | None]:
    return {item.ip: item.software for item in Reader(shards).items(survey)}


def plain(software: Software | None) -> dict[str, Any] | None:
    return None if software is None else attrs.asdict(software)


def same(shards: Shards, rules: Rules) -> bool:
    """Whether every observation has the verdict of these rules."""
    return all(plain(item.software) == plain(rules.classify_item(item)) for item in Reader(shards).items("s"))


def history(shards: Shards) -> int:
    total = 0
    for shard in shards:
        with shard.begin() as connection:
            total += connection.scalar(select(func.count()).select_from(shards.schema.verdicts)) or 0
    return total


def test_new_verdicts_are_written_and_the_old_ones_kept_where_they_changed(shards: Shards) -> None:
    fill(shards)
    before = {item.ip: item for item in Reader(shards).items("s")}
    told: list[int] = []
    run = classify(shards, Rules(), told=told)
    assert (run.number, run.rules, run.sources) == (1, "a" * 16, ["mine.toml"])
    assert (run.started, run.finished) == (LATER, LATER)
    assert (run.observations, run.changed, sum(told)) == (60, 12, 60)
    assert same(shards, Rules())
    assert history(shards) == 12
    assert plain(earlier(shards, "s", "192.0.2.5", 25)[0].software) == plain(OLD)
    assert earlier(shards, "s", "192.0.2.1", 25) == []
    assert {(each.before, each.after): each.count for each in run.changes.ranked()} == {
        ("Old MTA", "Acme"): 8,
        ("Old MTA", None): 4,
    }
    # Nothing but the verdict is touched.
    for item in Reader(shards).items("s"):
        item.software = before[item.ip].software
        assert attrs.asdict(item) == attrs.asdict(before[item.ip])


def test_the_collector_is_set_back(shards: Shards) -> None:
    fill(shards)
    before = gc.get_threshold()
    inside = []
    Reclassification(shards, "s", Rules(), lambda: LATER).run([], lambda _: inside.append(gc.get_threshold()))
    assert set(inside) != {before}
    assert gc.get_threshold() == before


def test_a_run_that_is_repeated_changes_nothing(shards: Shards) -> None:
    fill(shards)
    classify(shards, Rules())
    again = classify(shards, Rules())
    assert (again.number, again.observations, again.changed, again.changes.total) == (2, 60, 0, 0)
    assert history(shards) == 12
    assert [run.number for run in runs(shards, "s")] == [1, 2]


def test_every_verdict_that_ever_was_can_be_told(shards: Shards) -> None:
    write(shards, "s", [seen(1, "mx Acme 1"), seen(2, "mx unknown", OLD)])
    made = [
        {"192.0.2.1": None, "192.0.2.2": OLD},
        {"192.0.2.1": Software("V", "Acme", "1", "r", "greeting"), "192.0.2.2": None},
        {"192.0.2.1": Software("V", "new Acme", "1", "r", "greeting"), "192.0.2.2": None},
        {"192.0.2.1": Software("V", "Acme", "1", "r", "greeting"), "192.0.2.2": None},
    ]
    for rules in (Rules(), Rules("b" * 16, "new "), Rules()):
        classify(shards, rules)
    for ip in made[0]:
        known: list[Earlier] = earlier(shards, "s", ip, 25)
        for number, wanted in enumerate(made):
            later = [each.software for each in known if each.number > number]
            assert plain(later[0] if later else stored(shards)[ip]) == plain(wanted[ip])
    assert [(run.number, run.rules) for run in runs(shards, "s")] == [(1, "a" * 16), (2, "b" * 16), (3, "a" * 16)]
    assert history(shards) == 4


def test_a_run_that_broke_off_goes_on_and_tells_all_that_it_changed(shards: Shards) -> None:
    fill(shards)
    with pytest.raises(RuntimeError):
        classify(shards, Rules(fails_after=30))
    (broken,) = runs(shards, "s")
    assert broken.finished is None
    assert 0 < broken.observations < 60
    told: list[int] = []
    rules = Rules()
    run = classify(shards, rules, told=told)
    assert (run.number, run.observations, run.changed, run.changes.total) == (1, 60, 12, 12)
    assert run.finished == LATER
    assert len(rules.asked) == 60 - broken.observations
    assert same(shards, Rules())
    assert history(shards) == 12


def test_a_run_of_other_rules_is_not_gone_on_with(shards: Shards) -> None:
    fill(shards)
    with pytest.raises(RuntimeError):
        classify(shards, Rules(fails_after=30))
    other = Rules("b" * 16, "new ")
    run = classify(shards, other)
    assert (run.number, run.rules, run.observations) == (2, "b" * 16, 60)
    assert same(shards, Rules("b" * 16, "new "))
    assert [each.finished for each in runs(shards, "s")] == [None, LATER]


class Twice(Rules):
    """Rules that are run once more, by somebody else, while they are run."""

    def among(self, shards: Shards) -> Twice:
        self.shards = shards
        return self

    def classify_item(self, item: SmtpItem) -> Software | None:
        if not self.asked:
            self.asked.append("")
            classify(self.shards, Rules())
        return super().classify_item(item)


def test_two_runs_at_once_do_not_write_over_each_other(shards: Shards) -> None:
    fill(shards)
    with pytest.raises(StoreError):  # the same row of an earlier verdict, or the run is not where it was
        classify(shards, Twice().among(shards))
    assert same(shards, Rules())
    assert history(shards) == 12
    with pytest.raises(StoreError, match="another process is classifying this survey at the same time"):
        classify(shards, Twice().among(shards))
    assert history(shards) == 12
    assert [(run.number, run.observations) for run in runs(shards, "s")] == [(1, 60), (2, 60)]


def test_an_observation_that_is_replaced_meanwhile_keeps_the_verdict_on_what_is_there_now(shards: Shards) -> None:
    fill(shards, 10)

    class Slow(Rules):
        def classify_item(self, item: SmtpItem) -> Software | None:
            if item.ip == "192.0.2.5":
                new = seen(5, "mx5 Other", Software("V", "Other", None, "crawl", "greeting"))
                new.time = LATER
                Writer(shards).write(shards.placement.server(new.ip), [new])
            return super().classify_item(item)

    run = classify(shards, Slow())
    found = stored(shards)["192.0.2.5"]
    assert found is not None
    assert found.rule == "crawl"
    assert run.changed == 1
    assert earlier(shards, "s", "192.0.2.5", 25) == []


def test_only_the_survey_that_is_asked_for_and_only_servers_that_answered_are_classified(shards: Shards) -> None:
    write(shards, "s", [seen(1, "mx Acme"), seen(2, "mx Acme", outcome="closed")])
    write(shards, "other", [seen(1, "mx Acme")])
    rules = Rules()
    classify(shards, rules)
    assert rules.asked == ["192.0.2.1"]
    assert stored(shards)["192.0.2.2"] is None
    assert stored(shards, "other") == {"192.0.2.1": None}
    assert runs(shards, "other") == []


def test_ports_of_one_address_are_told_apart(shards: Shards) -> None:
    items = [seen(1, f"mx Acme {port}") for port in range(1, 20)]
    for port, item in enumerate(items, 1):
        item.port = port
    write(shards, "s", items)
    assert classify(shards, Rules()).changed == 19
    found = {item.port: item.software.version for item in Reader(shards).items("s") if item.software}
    assert found == {port: str(port) for port in range(1, 20)}


def test_those_that_no_rule_knows_are_given_once(shards: Shards) -> None:
    fill(shards)
    classify(shards, Rules())
    found = Counter(item.ip for item in unidentified(shards, "s"))
    assert found == Counter(f"192.0.2.{number}" for number in range(3, 61, 3))


def test_rules_see_in_a_stored_observation_what_they_saw_in_the_item(shards: Shards) -> None:
    certificate = Certificate("CN=mx", "CN=ca", ["mx"], TIME, TIME, "rsa-2048", "ab" * 32)
    item = seen(1, "mx\nsecond \x00é")
    item.ehlo = EhloItem(250, "mx\nSIZE 1\nDSN", {"SIZE": "1", "DSN": ""})
    item.starttls_reply, item.quit = ReplyItem(220, "go"), ReplyItem(221, "bye")
    item.tls = TlsItem("TLSv1.3", certificate=certificate, ehlo=EhloItem(250, "mx\nDSN", {"DSN": ""}))
    write(shards, "s", [item])
    (found,) = unidentified(shards, "s")
    for name in ("greeting", "ehlo", "starttls_reply", "quit"):
        assert attrs.asdict(getattr(found, name)) == attrs.asdict(getattr(item, name))
    assert found.tls is not None
    assert found.tls.certificate is not None
    assert (found.tls.certificate.subject, found.tls.certificate.issuer) == ("CN=mx", "CN=ca")
    assert found.tls.ehlo is not None
    assert found.tls.ehlo.extensions == {"DSN": ""}


def test_the_built_in_rules_give_a_stored_observation_the_verdict_of_its_item(shards: Shards) -> None:
    rules = load(["builtin"])
    items = [seen(1, "mx.example.com ESMTP Postfix"), seen(2, "mx.example.com ESMTP Exim 4.96 Wed, 1 Jan 2025")]
    items[0].ehlo = EhloItem(250, "mx.example.com\nPIPELINING", {"PIPELINING": ""})
    write(shards, "s", items)
    Reclassification(shards, "s", rules, lambda: LATER).run(["builtin"], lambda _: None)
    for item in Reader(shards).items("s"):
        wanted = rules.classify_item(item)
        assert wanted is not None
        assert item.software is not None
        assert (item.software.product, item.software.version) == (wanted.product, wanted.version)


def test_a_survey_or_a_database_that_is_not_there_is_told(shards: Shards, tmp_path: Path) -> None:
    fill(shards, 3)
    assert require_survey(shards, "s") == 3
    with pytest.raises(StoreError, match="no observations of survey 'none'; the store holds s"):
        require_survey(shards, "none")
    missing = Shards([f"sqlite:///{tmp_path / 'none.sqlite3'}"])
    with pytest.raises(StoreError, match="no such database"):
        require_survey(missing, "s")
    assert not (tmp_path / "none.sqlite3").exists()


KILL = """\
import os, sys
from smtpsurvey.store import verdicts
from smtpsurvey.store.shards import Shards
sys.path.insert(0, sys.argv[1])
from test_store_verdicts import Rules
verdicts.RANGE = 7
done = 0
def tell(count):
    global done
    done += count
    if done >= 20:
        os.kill(os.getpid(), 9)
shards = Shards(sys.argv[2:], 2)
verdicts.Reclassification(shards, "s", Rules(), lambda: "2026-12-01T00:00:00.000Z").run(["mine.toml"], tell)
"""


def test_a_process_that_is_killed_leaves_a_run_that_goes_on(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    urls = [f"sqlite:///{tmp_path / name}.sqlite3" for name in "ab"]
    shards = store(urls, 2)
    fill(shards)
    killed = subprocess.run([sys.executable, "-c", KILL, str(request.path.parent), *urls], check=False, timeout=60)
    assert killed.returncode == -KILLED
    assert runs(shards, "s")[0].finished is None
    run = classify(shards, Rules())
    assert (run.number, run.observations, run.changed) == (1, 60, 12)
    assert same(shards, Rules())
    assert history(shards) == 12
    shards.dispose()


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["Acme", "unknown", "Acme 2", ""]), st.sampled_from([None, OLD])),
        min_size=1,
        max_size=20,
    ),
    st.integers(0, 25),
)
def test_wherever_a_run_breaks_off_the_end_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, hosts: list[tuple[str, Software | None]], broken: int
) -> None:
    shards = store([f"sqlite:///{tmp_path_factory.mktemp('db') / 'a'}"], 2)
    write(shards, "s", [seen(number, f"mx {words}", old) for number, (words, old) in enumerate(hosts)])
    wrong = sum(plain(old) != plain(Rules().classify_item(seen(0, f"mx {words}"))) for words, old in hosts)
    try:
        classify(shards, Rules(fails_at=f"192.0.2.{broken}"))
    except RuntimeError:
        assert broken < len(hosts)
    run = next(run for run in [classify(shards, Rules()), *runs(shards, "s")] if run.number == 1)
    assert (run.observations, run.changed, run.changes.total) == (len(hosts), wrong, wrong)
    assert same(shards, Rules())
    assert history(shards) == wrong
    shards.dispose()
