"""``fleet.toml``: the nodes of the fleet. It holds no credentials."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from smtpsurvey.fleet import FleetError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@attrs.frozen
class NodeConfig:
    """A scrapyd node. ``weight`` is its share when there are fewer shards than slots; 0: it gets none.

    ``settings`` are for the jobs on this node alone, such as the name that it says in EHLO.
    """

    name: str
    url: str
    weight: float = 1.0
    tags: frozenset[str] = frozenset()
    settings: dict[str, str] = attrs.field(factory=dict)


def read_fleet(path: Path, tags: Collection[str] = ()) -> list[NodeConfig]:
    """Read the nodes of a file, of those with one of the ``tags`` if any are given.

    Raises :class:`FleetError` that names file, node and reason.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise FleetError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # TOML, or no UTF-8
        raise FleetError(f"{path}: {error}") from None
    entries = data.pop("nodes", None)
    if data or not isinstance(entries, list) or not entries:
        other = f"{next(iter(data))!r} is not known, " if data else ""
        raise FleetError(f"{path}: {other}[[nodes]] lists the nodes")
    nodes = []
    for number, entry in enumerate(entries, 1):
        try:
            nodes.append(_node(entry))
        except (ValueError, TypeError, AttributeError) as error:
            raise FleetError(f"{path}: node {number}: {error}") from None
    for what, given in (("name", [node.name for node in nodes]), ("url", [node.url for node in nodes])):
        if twice := next((value for value in given if given.count(value) > 1), None):
            raise FleetError(f"{path}: two nodes have the {what} {twice!r}")
    chosen = [node for node in nodes if not tags or node.tags & set(tags)]
    if not chosen:
        raise FleetError(f"{path}: no node has the tag {' or '.join(sorted(tags))}")
    return chosen


def _node(entry: dict[str, Any]) -> NodeConfig:
    known = {field.name for field in attrs.fields(NodeConfig)}
    if unknown := sorted(entry.keys() - known):
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(sorted(known))}")
    name, url = entry.get("name"), entry.get("url")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"its name is {name!r}: 1 to 64 letters, digits, dots and hyphens are needed")
    parts = urlsplit(url if isinstance(url, str) else "")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{name}: the url is not http://HOST:PORT/ or https://")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{name}: the url holds more than host, port and path; credentials belong into netrc")
    weight, tags, settings = entry.get("weight", 1), entry.get("tags", []), entry.get("settings", {})
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
        raise ValueError(f"{name}: the weight {weight!r} is no number from 0")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError(f"{name}: tags is no list of words")
    if not isinstance(settings, dict) or not all(isinstance(value, str | int | float) for value in settings.values()):
        raise ValueError(f"{name}: settings is no table of names and values")
    given = {key: str(value) for key, value in settings.items()}
    return NodeConfig(name, parts.geturl().rstrip("/"), float(weight), frozenset(tags), given)
