"""One valid JSON line an item, whoever's item it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import attrs
import pytest
import scrapy
from hypothesis import given
from hypothesis import strategies as st
from scrapy.exporters import JsonLinesItemExporter

from smtpsurvey.exporters import FastJsonLinesItemExporter
from smtpsurvey.items import Observation, SmtpItem, Target
from smtpsurvey.outcomes import Outcome
from smtpsurvey.smtp.reply import unfinished


def export(item: Any, kind: type[JsonLinesItemExporter] = FastJsonLinesItemExporter, **options: Any) -> bytes:
    file = BytesIO()
    exporter = kind(file, **options)
    exporter.start_exporting()
    exporter.export_item(item)
    exporter.finish_exporting()
    return file.getvalue()


def item_of(greeting: bytes = b"220 \x00\x1b\xff\r\n", **target: Any) -> SmtpItem:
    seen = Observation(Target("127.0.0.1", **target), 0, 0.5, Outcome.NOT_SMTP, greeting=unfinished(greeting))
    return SmtpItem.from_observation(seen, "2026-11")


class Theirs(scrapy.Item):
    url = scrapy.Field(serializer=str.upper)


@attrs.define
class TheirAttrs:
    when: datetime
    price: float = attrs.field(metadata={"serializer": lambda value: f"{value:.2f}"})


@given(st.binary(max_size=200), st.text(max_size=50), st.text(max_size=50))
def test_hostile_texts_are_one_valid_line(greeting: bytes, name: str, tag: str) -> None:
    line = export(item_of(greeting, name=name, tag=tag))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == json.loads(export(item_of(greeting, name=name, tag=tag), JsonLinesItemExporter))


def test_chosen_fields_are_written_as_scrapy_does() -> None:
    fields = {"fields_to_export": ["ip", "outcome"]}
    assert json.loads(export(item_of(), **fields)) == {"ip": "127.0.0.1", "outcome": "not_smtp"}
    renamed = export(item_of(), fields_to_export={"ip": "address"})
    assert json.loads(renamed) == {"address": "127.0.0.1"}


@pytest.mark.parametrize(
    "item",
    [
        {"a": 1, "b": [None, "ü"]},
        Theirs(url="smtp://x"),
        TheirAttrs(datetime(2026, 11, 25, tzinfo=UTC), 1.5),
    ],
)
def test_other_peoples_items_are_written_as_scrapy_does(item: Any) -> None:
    assert json.loads(export(item)) == json.loads(export(item, JsonLinesItemExporter))
