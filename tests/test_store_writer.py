from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers.mariadb import MariaDb, running
from sqlalchemy import func, select, text

from smtpsurvey.items import (
    EhloItem,
    Interruption,
    Observation,
    ReplyItem,
    SmtpItem,
    Software,
    Target,
    TlsItem,
)
from smtpsurvey.outcomes import Flag, Outcome, Stage, StartTls, TlsError, Trouble, TrustError
from smtpsurvey.smtp.capabilities import extensions
from smtpsurvey.smtp.certificate import Certificate
from smtpsurvey.smtp.reply import Reply, complete, unfinished
from smtpsurvey.smtp.tls import TlsFacts
from smtpsurvey.store import StoreError
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Tally, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOSTILE = [
    "'; DROP TABLE observations_00; --",
    '"; DELETE FROM surveys WHERE ""="',
    "Robert\\'); DROP TABLE surveys;--\\",
    "%s %(ip)s {0} :ip ? \\",
    "a\x00b\x1a\x7f\r\n\t",
    "\N{PILE OF POO} \N{LATIN SMALL LETTER E WITH ACUTE}e\N{COMBINING ACUTE ACCENT} \U0010ffff",
    " blanks at the end  ",
    "",
    "x" * 70_000,
]
TEXT = st.text(max_size=30) | st.sampled_from(HOSTILE[:-1])
MAYBE = st.none() | TEXT
TRUTH = st.none() | st.booleans()
CODE = st.none() | st.integers(0, 999)
DIGEST = st.binary(max_size=2).map(lambda data: hashlib.sha256(data).hexdigest())
DIGESTS = itertools.count()
REPLIES = st.none() | st.builds(ReplyItem, CODE, TEXT)
EHLOS = st.none() | st.builds(EhloItem, CODE, TEXT, st.none() | st.dictionaries(TEXT, TEXT, max_size=4))


def imported(survey: str) -> st.SearchStrategy[SmtpItem]:
    """Any item that a feed may hold; one that was not made here has no raw bytes."""
    certificate = st.builds(
        Certificate,
        MAYBE,
        MAYBE,
        st.none() | st.lists(TEXT, max_size=3),
        *[st.none() | st.just("2026-11-25T01:02:03Z")] * 2,
        MAYBE,
        st.just(""),
    )
    chain = st.none() | st.lists(DIGEST, max_size=3)
    tls = st.builds(TlsItem, MAYBE, MAYBE, chain, st.none() | certificate, TRUTH, MAYBE, TRUTH, EHLOS, MAYBE, MAYBE)
    return st.builds(
        SmtpItem,
        st.just(survey),
        st.just("2001:db8::1"),
        st.just(25),
        MAYBE,
        MAYBE,
        MAYBE,
        st.just("2026-11-25T01:02:03.456Z"),
        st.floats(0, 1e6),
        st.sampled_from(list(Outcome)),
        MAYBE,
        REPLIES,
        EHLOS,
        REPLIES,
        st.none() | st.sampled_from(list(StartTls)),
        REPLIES,
        REPLIES,
        st.none() | tls,
        st.none() | st.builds(Interruption, st.sampled_from(list(Stage)), st.sampled_from(list(Trouble))),
        st.none() | st.lists(TEXT, max_size=2),
        st.none() | st.integers(0, 2**32 - 1),
        MAYBE,
        MAYBE,
        st.none() | st.builds(Software, MAYBE, TEXT, MAYBE, MAYBE, MAYBE),
    )


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with running(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def new_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Make empty databases, on SQLite and on a real MariaDB."""
    if request.param == "mariadb":
        return request.getfixturevalue("mariadb").url
    return lambda: f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'survey.sqlite3'}"


@pytest.fixture
def shards(new_url: Callable[[], str]) -> Iterator[Shards]:
    shards = Shards([new_url()])
    shards.create()
    yield shards
    shards.dispose()


def observe(ip: str = "192.0.2.1", survey: str = "2026-11", **facts: Any) -> SmtpItem:
    target = Target(ip, 25, facts.pop("name", None), source="file")
    return SmtpItem.from_observation(Observation(target, 1e9, 0.1, facts.pop("outcome", Outcome.OK), **facts), survey)


def column(shards: Shards, name: str) -> list[Any]:
    table = shards.schema.observations[0]
    with shards[0].begin() as connection:
        return list(connection.execute(select(table.c[name])).scalars())


def same(first: SmtpItem, second: SmtpItem) -> bool:
    return attrs.asdict(first) == attrs.asdict(second)


def test_every_field_comes_back_as_it_was(shards: Shards) -> None:
    ehlo = complete(b"250", b"250-mx.example.org\r\n250-STARTTLS\r\n250-SIZE 10240000\r\n250 8BITMIME\r\n")
    ders = (b"leaf", b"intermediate")
    hashes = tuple(hashlib.sha256(der).hexdigest() for der in ders)
    leaf = Certificate("CN=mx", "CN=ca", ["mx.example.org"], "2026-01-01T00:00:00Z", None, "ecdsa-p256", hashes[0])
    item = observe(
        name="mx.example.org",
        reason="none",
        greeting=complete(b"220", b"220-mx.example.org\n220 ESMTP Postfix\r\n"),
        ehlo=ehlo,
        extensions=extensions(ehlo.lines),
        helo=complete(b"250", b"250\r\n"),
        starttls=StartTls.FAILED,
        starttls_reply=complete(b"220", b"220 2.0.0 Ready to start TLS\r\n"),
        tls=TlsFacts(
            "TLSv1.3",
            "TLS_AES_256_GCM_SHA384",
            ders,
            hashes,
            leaf,
            trusted=False,
            trust_error=TrustError.EXPIRED,
            matches_name=True,
            error=TlsError.CLOSED,
            stray_plaintext=b"\xff",
        ),
        tls_ehlo=ehlo,
        quit=complete(b"221", b"221 2.0.0 Bye\r\n"),
        interrupted=Interruption(Stage.QUIT, Trouble.RESET),
        flags=(Flag.MIXED_CODES,),
    )
    item.tag, item.asn, item.prefix, item.country = "a tag", 4_294_967_295, "192.0.2.0/24", "NL"
    item.software = Software("Postfix", "Postfix", "3.7", "postfix", "greeting")
    Writer(shards).write(0, [item])
    (found,) = Reader(shards).items("2026-11")
    assert same(found, item)
    assert list(found.ehlo.extensions) == ["STARTTLS", "SIZE", "8BITMIME"]
    assert column(shards, "texts") == [None]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(item=imported("2026-11"))
def test_any_item_of_a_feed_comes_back_as_it_was(shards: Shards, item: SmtpItem) -> None:
    if item.tls and item.tls.certificate:
        item.tls.certificate.sha256 = f"{next(DIGESTS):064x}"  # one of its own: certificates do not change
    Writer(shards).write(0, [item])  # each example replaces the row of the one before
    (found,) = Reader(shards).items("2026-11")
    assert same(found, item)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(min_size=1), late=st.binary(max_size=20))
def test_replies_are_kept_bit_for_bit(shards: Shards, raw: bytes, late: bytes) -> None:
    whole = b"220-" + raw.replace(b"\n", b"\n220-") + b"\r\n220 " + late.replace(b"\n", b"") + b"\n"
    teaser = complete(b"220", b"220 first\r\n")
    greeting = Reply(220, teaser.raw + whole, teaser.lines + complete(b"220", whole).lines)
    item = observe(greeting=greeting, ehlo=unfinished(raw), tls=TlsFacts(stray_plaintext=raw))
    Writer(shards).write(0, [item])
    assert column(shards, "greeting") == [greeting.raw]
    assert column(shards, "ehlo") == column(shards, "stray_plaintext") == [raw]
    (found,) = Reader(shards).items("2026-11")
    assert same(found, item)


def test_texts_that_a_pipeline_changed_come_back_changed_and_the_bytes_stay(shards: Shards) -> None:
    item = observe(greeting=complete(b"220", b"220 secret\r\n"), tls=TlsFacts(stray_plaintext=b"250 secret\r\n"))
    item.greeting.text = item.tls.stray_plaintext = "removed"
    Writer(shards).write(0, [item])
    (found,) = Reader(shards).items("2026-11")
    assert same(found, item)
    assert column(shards, "greeting") == [b"220 secret\r\n"]
    assert column(shards, "stray_plaintext") == [b"250 secret\r\n"]


def test_a_reply_of_64_kib_and_more_is_kept_whole(shards: Shards) -> None:
    raw = b"250-" + b"\xf0\x9f\x98\x80'\\\x00" * 9000 + b"\r\n250 END\r\n"
    item = observe(ehlo=complete(b"250", raw), extensions={"X" * 65_536: "y" * 65_536})
    Writer(shards).write(0, [item])
    assert column(shards, "ehlo") == [raw]
    (found,) = Reader(shards).items("2026-11")
    assert same(found, item)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: repr(text[:12]))
def test_hostile_text_in_every_field_is_only_text(shards: Shards, hostile: str) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    reply, ehlo = ReplyItem(220, hostile), EhloItem(250, hostile, {hostile: hostile})
    leaf = Certificate(hostile, hostile, [hostile], None, None, hostile, digest)
    tls = TlsItem(
        hostile, hostile, [hostile], leaf, trust_error=hostile, ehlo=ehlo, error=hostile, stray_plaintext=hostile
    )
    software = Software(*[hostile] * 5)
    item = SmtpItem(
        (hostile.strip(" ") or "2026-11")[:255],
        "192.0.2.1",
        25,
        *[hostile] * 3,
        "2026-11-25T01:02:03.456Z",
        0.25,
        "ok",
        hostile,
        reply,
        ehlo,
        reply,
        "ok",
        reply,
        reply,
        tls,
        Interruption("quit", "closed"),
        [hostile],
        64500,
        hostile,
        hostile,
        software,
    )
    writer, reader = Writer(shards), Reader(shards)
    writer.begin_survey(item.survey, item.time, {hostile: hostile})
    writer.write(0, [item])
    tally = Tally(hostile, "excluded", hostile, 7)
    writer.write_tallies(item.survey, [tally])
    (found,) = reader.items(item.survey)
    assert same(found, item)
    (survey,) = reader.surveys()
    assert (survey.label, survey.settings, survey.observations) == (item.survey, {hostile: hostile}, 1)
    assert reader.tallies(item.survey) == [tally]


def test_lone_surrogates_are_written_as_escapes(shards: Shards) -> None:
    item = observe(name="mx\udcff")
    item.source = item.reason = "\ud800"
    Writer(shards).write(0, [item])
    (found,) = Reader(shards).items("2026-11")
    assert (found.name, found.source, found.reason) == ("mx\\udcff", "\\ud800", "\\ud800")


def test_a_second_contact_replaces_the_row(shards: Shards) -> None:
    writer, greeting = Writer(shards), complete(b"220", b"220 hello\r\n")
    writer.write(0, [observe(greeting=greeting), observe("192.0.2.2", outcome=Outcome.SILENT), observe(survey="other")])
    writer.write(0, [observe(outcome=Outcome.SILENT), observe("192.0.2.2", outcome=Outcome.CLOSED)])
    writer.write(0, [observe("192.0.2.2", outcome=Outcome.RESET), observe("192.0.2.2", greeting=greeting)])
    found = {item.ip: (item.outcome, item.greeting and item.greeting.text) for item in Reader(shards).items("2026-11")}
    assert found == {"192.0.2.1": ("silent", None), "192.0.2.2": ("ok", "hello")}
    assert len(list(Reader(shards).items("other"))) == 1


def test_labels_that_differ_in_case_or_accents_are_two_surveys(shards: Shards) -> None:
    writer, labels = Writer(shards), ["survey", "Survey", "s\u00fcrvey"]
    for label in labels:
        writer.begin_survey(label, "2026-11-25T01:02:03.456Z", {})
        writer.write(0, [observe(survey=label)])
    assert sorted((survey.label, survey.observations) for survey in Reader(shards).surveys()) == [
        ("Survey", 1),
        ("survey", 1),
        ("s\u00fcrvey", 1),
    ]


def test_a_batch_that_fails_leaves_nothing_behind(shards: Shards) -> None:
    broken = observe("192.0.2.2")
    broken.duration = None
    with pytest.raises(StoreError) as caught:
        Writer(shards).write(0, [observe(tls=_chain(b"leaf")), broken])
    assert str(caught.value).startswith(shards[0].name)
    assert "\n" not in str(caught.value)
    assert column(shards, "ip") == []
    assert _certificates(shards) == {}
    Writer(shards).write(0, [observe()])
    assert column(shards, "ip") == ["192.0.2.1"]


def _chain(*ders: bytes, subject: str | None = "CN=mx") -> TlsFacts:
    hashes = tuple(hashlib.sha256(der).hexdigest() for der in ders)
    leaf = Certificate(subject, "CN=ca", ["mx"], None, None, "ed25519", hashes[0])
    return TlsFacts("TLSv1.3", "C", ders, hashes, leaf)


def _certificates(shards: Shards) -> dict[str, tuple[Any, ...]]:
    table = shards.schema.certificates
    with shards[0].begin() as connection:
        return {row.sha256: (row.der, row.subject, row.names) for row in connection.execute(select(table))}


def test_a_certificate_is_stored_once_however_many_show_it(shards: Shards) -> None:
    writer, digest = Writer(shards), hashlib.sha256(b"leaf").hexdigest()
    for last in range(1, 4):
        writer.write(0, [observe(f"192.0.2.{last}", tls=_chain(b"leaf"))] * 2)
    assert _certificates(shards) == {digest: (b"leaf", "CN=mx", '["mx"]')}
    assert {item.tls.certificate.subject for item in Reader(shards).items("2026-11")} == {"CN=mx"}


def test_how_many_certificates_are_remembered_is_bounded(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpsurvey.store.writer._KNOWN", 2)
    writer = Writer(shards)
    for number in [*range(5), *range(5)]:
        writer.write(0, [observe(tls=_chain(b"leaf %d" % number))])
        assert len(writer._known[0]) <= 2
    assert len(_certificates(shards)) == 5


def test_what_is_known_of_a_certificate_only_grows(shards: Shards) -> None:
    writer, digest = Writer(shards), hashlib.sha256(b"ca").hexdigest()
    writer.write(0, [observe("192.0.2.1", tls=_chain(b"leaf", b"ca"))])
    assert _certificates(shards)[digest] == (b"ca", None, None)
    writer.write(0, [observe("192.0.2.2", tls=_chain(b"ca", subject="CN=ca"))])
    assert _certificates(shards)[digest] == (b"ca", "CN=ca", '["mx"]')
    from_feed = observe("192.0.2.3")
    from_feed.tls = TlsItem(certificate=Certificate("CN=ca", None, None, None, None, None, digest))
    for again in (writer, Writer(shards)):
        again.write(0, [from_feed])
    assert _certificates(shards)[digest] == (b"ca", "CN=ca", '["mx"]')


def test_a_resumed_survey_keeps_its_start_and_is_unfinished_again(shards: Shards) -> None:
    writer, reader = Writer(shards), Reader(shards)
    writer.begin_survey("2026-11", "2026-11-25T01:00:00.000Z", {"SMTPSURVEY_RATE": 1})
    writer.end_survey("2026-11", "2026-11-25T02:00:00.000Z")
    assert reader.surveys()[0].finished == "2026-11-25T02:00:00.000Z"
    for _ in range(2):  # the second time nothing changes, which MySQL may count as no row
        writer.begin_survey("2026-11", "2026-11-26T01:00:00.000Z", {"SMTPSURVEY_RATE": 2})
    (survey,) = reader.surveys()
    assert attrs.astuple(survey) == ("2026-11", "2026-11-25T01:00:00.000Z", None, {"SMTPSURVEY_RATE": 2}, 0)


@pytest.mark.parametrize("label", ["", " ", "2026-11 ", " 2026-11", "x" * 256])
def test_a_label_that_is_no_key_is_refused(shards: Shards, label: str) -> None:
    with pytest.raises(StoreError, match="1 to 255 characters"):
        Writer(shards).begin_survey(label, "2026-11-25T01:00:00.000Z", {})


def test_tallies_replace_those_of_the_same_sources_alone(shards: Shards) -> None:
    writer, reader = Writer(shards), Reader(shards)
    writer.write_tallies("2026-11", [Tally("a", "timeout", None, 1), Tally("a ", "refused", None, 2)])
    writer.write_tallies("2026-12", [Tally("a", "timeout", None, 3)])
    writer.write_tallies("2026-11", [Tally("a", "excluded", "opt-out", 4), Tally("b", "timeout", None, 5)])
    writer.write_tallies("2026-11", [])
    assert sorted(map(attrs.astuple, reader.tallies("2026-11"))) == [
        ("a", "excluded", "opt-out", 4),
        ("a ", "refused", None, 2),
        ("b", "timeout", None, 5),
    ]
    assert reader.tallies("2026-12") == [Tally("a", "timeout", None, 3)]


def test_counts_and_items_are_summed_over_servers_and_tables(new_url: Callable[[], str]) -> None:
    shards = Shards([new_url(), new_url()], 3)
    shards.create()
    writer, reader, place = Writer(shards), Reader(shards), shards.placement
    writer.begin_survey("2026-11", "2026-11-25T01:00:00.000Z", {})
    items = [observe(f"192.0.2.{n}", outcome=Outcome.OK if n % 4 else Outcome.SILENT) for n in range(200)]
    for item in items[:50]:
        item.software = Software("Exim", "Exim")
    for server in range(2):
        writer.write(server, [item for item in items if place.server(item.ip) == server])
    assert {item.ip for item in reader.items("2026-11")} == {item.ip for item in items}
    assert reader.counts("2026-11", "outcome") == {"ok": 150, "silent": 50}
    assert reader.counts("2026-11", "product") == {"Exim": 50, None: 150}
    assert reader.counts("none", "outcome") == {}
    assert [survey.observations for survey in reader.surveys()] == [200]
    for server, shard in enumerate(shards):
        with shard.begin() as connection:
            for number, table in enumerate(shards.schema.observations):
                found = set(connection.execute(select(table.c.ip)).scalars())
                expected = {i.ip for i in items if (place.server(i.ip), place.table(i.ip)) == (server, number)}
                assert found == expected
                assert found
    shards.dispose()


def test_tallies_are_on_one_server_and_read_from_all(new_url: Callable[[], str]) -> None:
    shards = Shards([new_url(), new_url()])
    shards.create()
    Writer(shards).write_tallies("2026-11", [Tally("a", "timeout", None, 1)])
    counted = []
    for shard in shards:
        with shard.begin() as connection:
            counted.append(connection.execute(select(func.count()).select_from(shards.schema.tallies)).scalar())
    assert sorted(counted) == [0, 1]
    assert Reader(shards).tallies("2026-11") == [Tally("a", "timeout", None, 1)]
    shards.dispose()


def test_a_column_that_does_not_exist_cannot_be_counted(shards: Shards) -> None:
    with pytest.raises(KeyError):
        Reader(shards).counts("2026-11", "1; DROP TABLE surveys")


def test_a_table_that_is_gone_is_one_clear_line(shards: Shards) -> None:
    with shards[0].begin() as connection:
        connection.execute(text("drop table surveys"))
    with pytest.raises(StoreError, match="surveys") as caught:
        Reader(shards).surveys()
    assert "\n" not in str(caught.value)


def test_mariadb_keeps_text_binary_and_never_cuts_it(mariadb: MariaDb) -> None:
    shards = Shards([mariadb.url()])
    shards.create()
    with shards[0].begin() as connection:
        assert "STRICT_ALL_TABLES" in connection.execute(text("select @@sql_mode")).scalar()
        created = connection.execute(text("show create table observations_00")).all()[0][1]
    assert "ENGINE=InnoDB" in created
    assert "utf8mb4_bin" in created
    item = observe()
    item.outcome = "longer than any outcome there is"
    with pytest.raises(StoreError, match="outcome"):
        Writer(shards).write(0, [item])
    shards.dispose()


def test_a_wrong_password_is_one_line_that_does_not_show_it(mariadb: MariaDb) -> None:
    shards = Shards([mariadb.url().replace("not-in-any-log", "s3cret")])
    with pytest.raises(StoreError, match="Access denied") as caught:
        shards.create()
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)
