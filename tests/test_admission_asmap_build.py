"""An AS map made of announced prefixes answers as the most specific of them says."""

from __future__ import annotations

import random
from ipaddress import ip_network
from typing import TYPE_CHECKING

import maxminddb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsurvey.admission import AdmissionError
from smtpsurvey.admission.asmap import Announcement, AsMap, Details
from smtpsurvey.admission.asmap_build import Tables, read_all, write_map
from smtpsurvey.admission.delegated import Holding

if TYPE_CHECKING:
    from pathlib import Path

    from smtpsurvey.admission.asmap import Origins
    from smtpsurvey.admission.ranges import Network


def test_where_a_prefix_comes_again_the_later_line_counts(tmp_path: Path) -> None:
    for name, asn in (("a", 1), ("b", 2)):
        (tmp_path / name).write_text(f"1.0.0.0/8\t7\n1.0.0.0/8\t{asn}\n", "ascii")
    found = read_all([str(tmp_path / "a"), str(tmp_path / "b")], pytest.fail)
    assert found == Tables({ip_network("1.0.0.0/8"): (2,)}, {})


def test_a_row_whose_count_is_no_power_of_two_is_held_in_several_networks(tmp_path: Path) -> None:
    (tmp_path / "rir").write_text(
        "arin|US|ipv4|9.0.0.0|768|20110811|assigned|x\narin|CA|ipv4|9.0.2.0|256||assigned|y", "ascii"
    )
    us, ca = Holding("US", "arin:x"), Holding("CA", "arin:y")
    found = read_all([str(tmp_path / "rir")], pytest.fail)
    assert found == Tables({}, {ip_network("9.0.0.0/23"): us, ip_network("9.0.2.0/24"): ca})


def nested(version: int) -> st.SearchStrategy[Network]:
    """Networks within a /8 or a /16, up to five bits longer: they nest and touch."""
    base = ip_network("9.0.0.0/8" if version == 4 else "2a00::/16")

    def within(part: int, extra: int) -> Network:
        return list(base.subnets(extra))[part >> (5 - extra)]

    return st.builds(within, st.integers(0, 31), st.integers(0, 5))


ASN = st.integers(1, 2**32 - 1)
ORIGINS = st.lists(ASN | st.lists(ASN, min_size=2, max_size=3, unique=True).map(tuple), min_size=1, max_size=2).map(
    tuple
)
HOLDING = st.builds(
    Holding, st.sampled_from([None, "AU", "BR"]), st.sampled_from([None, "apnic:A1", "arin:" + "f" * 32])
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(nested(4) | nested(6), ORIGINS, max_size=20),
    st.dictionaries(nested(4) | nested(6), HOLDING, max_size=10),
)
def test_the_most_specific_prefix_and_holding_answer_wherever_they_cut_into_each_other(
    tmp_path_factory: pytest.TempPathFactory, announced: dict[Network, Origins], held: dict[Network, Holding]
) -> None:
    out = tmp_path_factory.mktemp("map") / "as.mmdb"
    built = write_map(announced, str(out), held)
    assert built.prefixes == len(announced)
    as_map = AsMap(out)
    ends = [network for table in (announced, held) for network in table]
    for edge in {edge for network in ends for edge in (network[0], network[-1], network[0] - 1, network[-1] + 1)}:
        ip = str(edge)
        prefix = max((n for n in announced if edge in n), key=lambda network: network.prefixlen, default=None)
        place = max((n for n in held if edge in n), key=lambda network: network.prefixlen, default=None)
        holding = Holding(None, None) if place is None else held[place]
        origins = () if prefix is None else announced[prefix]
        members = [asn for each in origins for asn in ((each,) if isinstance(each, int) else each)]
        assert as_map.details(ip) == Details(origins, holding.holder)
        assert as_map.lookup(ip) == Announcement(
            members[0] if members else None,
            None if prefix is None else str(prefix),
            holding.country,
            tuple(dict.fromkeys(members)),
        )


def test_a_record_holds_prefix_origins_country_and_holder(tmp_path: Path) -> None:
    out = tmp_path / "as.mmdb"
    write_map(
        {ip_network("9.2.0.0/16"): (64501, (64502, 64500))},
        str(out),
        {ip_network("9.0.0.0/8"): Holding("AU", "apnic:A1")},
    )
    with maxminddb.open_database(out) as reader:
        assert reader.get("9.2.0.1") == {
            "autonomous_system_number": 64501,
            "prefix": "9.2.0.0/16",
            "origins": [64501, [64502, 64500]],
            "country": "AU",
            "holder": "apnic:A1",
        }
        assert reader.get("9.3.0.1") == {"country": "AU", "holder": "apnic:A1"}
        assert (reader.get("8.0.0.1"), reader.metadata().database_type) == (None, "smtpsurvey-AS")


def test_an_as_set_alone_is_kept_as_one(tmp_path: Path) -> None:
    out = tmp_path / "as.mmdb"
    assert write_map({ip_network("9.2.0.0/16"): ((64502, 64501),)}, str(out)).ases == 2
    assert AsMap(out).details("9.2.0.1").origins == ((64502, 64501),)
    assert AsMap(out).lookup("9.2.0.1").origins == (64502, 64501)


def test_a_table_of_real_size_in_any_order_is_answered_right(tmp_path: Path) -> None:
    rnd = random.Random(1)
    truth = {f"127.{i}.0.0/16": 64512 + i for i in range(128)}
    truth |= {f"{rnd.randrange(1, 100)}.{i >> 8 & 255}.{i & 255}.0/24": rnd.randrange(1, 60000) for i in range(4000)}
    lines = [f"{cidr}\t{asn}\n" for cidr, asn in truth.items()]
    lines += rnd.sample(lines, 500)
    rnd.shuffle(lines)
    (tmp_path / "routes.dat").write_text("".join(lines), "ascii")
    out = tmp_path / "as.mmdb"
    built = write_map(read_all([str(tmp_path / "routes.dat")], pytest.fail).announced, str(out))
    assert built == (len(truth), len(set(truth.values())), out.stat().st_size)
    as_map = AsMap(out)
    for cidr, asn in truth.items():
        found = as_map.lookup(str(ip_network(cidr)[7]))
        assert (found.asn, found.prefix) == (asn, cidr)


def test_several_origins_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "as.mmdb"
    built = write_map({ip_network("9.2.0.0/16"): (64501, 64500)}, str(out))
    assert built.ases == 2
    assert AsMap(out).lookup("9.2.0.1") == Announcement(64501, "9.2.0.0/16", None, (64501, 64500))


def test_a_map_in_use_is_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "as.mmdb"
    write_map({ip_network("9.2.0.0/16"): (1,)}, str(out))
    in_use = AsMap(out)
    write_map({ip_network("9.2.0.0/16"): (2,)}, str(out))
    assert in_use.lookup("9.2.0.1").asn == 1
    assert AsMap(out).lookup("9.2.0.1").asn == 2
    assert [path.name for path in tmp_path.iterdir()] == ["as.mmdb"]


def test_a_map_that_cannot_be_written_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    for out, reason in ((tmp_path / "missing" / "as.mmdb", "No such file"), (tmp_path / "taken", "Is a directory")):
        with pytest.raises(AdmissionError, match=rf"^{out}: {reason}"):
            write_map({ip_network("9.2.0.0/16"): (1,)}, str(out))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
