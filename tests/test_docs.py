"""The documentation says what the code does: names, defaults, options, links, and examples that run."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from scrapy.commands import ScrapyCommand
from scrapy.commands import list as list_command
from scrapy.settings import Settings
from servers.local import smtp_server

from smtpsurvey import outcomes
from smtpsurvey.addon import COMPONENTS, LISTENERS, OVERRIDES
from smtpsurvey.admission.optout import read_optout
from smtpsurvey.defaults import SETTINGS
from smtpsurvey.items import EhloItem, Interruption, ReplyItem, SecondTlsItem, SmtpItem, Software, Target, TlsItem
from smtpsurvey.kinds import (
    AsItem,
    CapabilitiesItem,
    DnsItem,
    DnsRecord,
    Exchange,
    HeartbeatItem,
    Hop,
    HttpItem,
    Line,
    LogItem,
    MtaStsItem,
    MxItem,
    RouteItem,
)
from smtpsurvey.smtp.certificate import Certificate
from smtpsurvey.spider import SurveySpider
from smtpsurvey.spiders.dns import DnsSpider
from smtpsurvey.spiders.mta_sts import MtaStsSpider
from smtpsurvey.spiders.mx import MxSpider
from smtpsurvey.spiders.ptr import PtrSpider
from smtpsurvey.spiders.smtp import SmtpSpider
from smtpsurvey.spiders.traceroute import TracerouteSpider
from smtpsurvey.spiders.worker import WorkerSpider
from smtpsurvey.targets.lines import HostName, TargetLines

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "smtpsurvey"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ENUMS = {
    name: kind
    for name, kind in vars(outcomes).items()
    if inspect.isclass(kind) and kind.__module__ == outcomes.__name__
}
# Headings of outcomes.md, in its order.
TITLES = (
    "Outcome",
    "Reason",
    "StartTls",
    "Stage",
    "Trouble",
    "Flag",
    "TlsError",
    "TrustError",
    "Evidence",
    "Certainty",
    "DnsOutcome",
    "MxFlag",
    "Dane",
    "MtaSts",
    "TlsRpt",
    "Staple",
    "TlsSecond",
    "KeyWeakness",
    "HttpOutcome",
    "RouteStop",
)


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def first_cells(text: str) -> list[str]:
    """List the names in the first column of tables, where they stand as code."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_fields_are_documented() -> None:
    text = read("docs/reference/items.md")
    assert first_cells(text)[: len(attrs.fields(SmtpItem))] == [field.name for field in attrs.fields(SmtpItem)]
    documented = set(re.findall(r"`(\w+)`", text))
    kinds = (SmtpItem, ReplyItem, EhloItem, TlsItem, SecondTlsItem, Certificate, Interruption, Software)
    kinds += (DnsItem, DnsRecord, MxItem, Exchange, MtaStsItem)
    kinds += (Hop, RouteItem)
    kinds += (Line, AsItem, HttpItem, LogItem, HeartbeatItem, CapabilitiesItem)
    assert {field.name for kind in kinds for field in attrs.fields(kind)} <= documented


def test_outcomes_are_documented_value_by_value() -> None:
    tables = re.split(r"^\| value \| cause \|$", read("docs/reference/outcomes.md"), flags=re.MULTILINE)[1:]
    assert set(TITLES) == set(ENUMS)
    for name, text in zip(TITLES, tables, strict=True):
        values = [value for value in first_cells(text) if "<" not in value]
        assert values == [str(value) for value in ENUMS[name]], name


def test_settings_are_documented_with_their_defaults() -> None:
    found = re.findall(r"^### (\w+)\n\nDefault: `(.+)`$", read("docs/reference/settings.md"), re.MULTILINE)
    assert {name: ast.literal_eval(default) for name, default in found} == {s.name: s.default for s in SETTINGS}
    assert len(found) == len(SETTINGS)


def test_each_setting_has_a_paragraph() -> None:
    paragraphs = re.findall(r"^Default: `.+`\n\n(.+)", read("docs/reference/settings.md"), re.MULTILINE)
    assert len(paragraphs) == len(SETTINGS)
    assert all(re.match(r"[A-Z`]", paragraph) for paragraph in paragraphs)


def test_what_the_addon_changes_is_documented() -> None:
    text = read("docs/reference/settings.md")
    single = re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \| (?!`|[0-9]+ )", text, re.MULTILINE)
    assert dict(single) == {name: str(value) for name, value in OVERRIDES.items()}
    entries = re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \| `?([\w.]+)`? \|$", text, re.MULTILINE)
    documented = {(name, key): value for name, key, value in entries}
    expected = {(name, key): str(value) for name, parts in COMPONENTS.items() for key, value in parts.items()}
    assert documented == expected
    assert {switch: path for path, switch in re.findall(r"^- `([\w.]+)` \(`(\w+)`\)$", text, re.MULTILINE)} == LISTENERS


def stat_names(path: Path) -> Iterator[str]:
    """Give the stats that a module names, ``<>`` for what is put in, constants resolved."""
    tree = ast.parse(path.read_text("utf-8"))
    constants = {
        statement.targets[0].id: statement.value.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr in {"inc_value", "set_value", "max_value", "min_value"} and node.args:
            name = stat_name(node.args[0], constants)
            if name is not None:
                yield name


def stat_name(node: ast.expr, constants: dict[str, Any]) -> str | None:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if not isinstance(node, ast.JoinedStr):
        return None  # a name read back, from a checkpoint
    parts = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(part.value)
        else:
            assert isinstance(part, ast.FormattedValue)
            name = part.value.id if isinstance(part.value, ast.Name) else ""
            parts.append(constants.get(name, "<>"))
    return "".join(parts)


def test_stats_are_documented() -> None:
    documented = {re.sub("<[^>]+>", "<>", name) for name in first_cells(read("docs/reference/stats.md"))}
    written = {name for path in PACKAGE.rglob("*.py") for name in stat_names(path)}
    assert written == documented
    assert all(name.startswith("smtpsurvey/") for name in written)


COMMANDS = {path.stem for path in (PACKAGE / "commands").glob("[a-z]*.py")}
SCRAPYS = {"crawl", "fetch"}  # with Scrapy's own options


def test_commands_are_documented() -> None:
    documented = set(re.findall(r"^## (\w+)$", read("docs/reference/commands.md"), re.MULTILINE))
    assert documented == COMMANDS | {"shell"}


SPIDERS = (SmtpSpider, MxSpider, PtrSpider, DnsSpider, MtaStsSpider, TracerouteSpider, WorkerSpider)


def parameters_of(spider: type[SurveySpider]) -> dict[str, inspect.Parameter]:
    """Give the arguments of a spider, those that it passes on included."""
    found: dict[str, inspect.Parameter] = {}
    for kind in spider.__mro__[: spider.__mro__.index(SurveySpider) + 1]:
        found |= {name: p for name, p in inspect.signature(kind).parameters.items() if name not in found}
    kept = {name: p for name, p in found.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    return {name: p for name, p in kept.items() if p.default is not p.empty}


@pytest.mark.parametrize("spider", [MxSpider, PtrSpider, DnsSpider, MtaStsSpider])
def test_arguments_of_the_other_spiders_are_documented_with_their_defaults(spider: type[SurveySpider]) -> None:
    text = read("docs/reference/commands.md").partition("## survey")[0]
    rows = re.findall(r"^\| ([a-z_, ]+) \| `(\w+)(?:=(\w+))?` \|", text, re.MULTILINE)
    documented = {name: default for spiders, name, default in rows if spider.name in spiders.split(", ")}
    shared = {"survey", "source", "strict", "shard"}
    own = {name: str(p.default) for name, p in parameters_of(spider).items() if name not in shared}
    assert documented == own
    assert shared < parameters_of(spider).keys()


def test_arguments_of_the_spider_are_documented_with_their_defaults() -> None:
    text = read("docs/reference/commands.md").partition("## survey")[0]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.+) \|$", text, re.MULTILINE)
    parameters = [
        parameter
        for parameter in inspect.signature(SmtpSpider).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    assert [name for name, _ in rows] == [parameter.name for parameter in parameters]
    for (name, default), parameter in zip(rows, parameters, strict=True):
        assert not parameter.default or default == str(parameter.default), name


@pytest.mark.parametrize("name", sorted(COMMANDS - SCRAPYS))
def test_options_of_our_own_commands_are_documented(name: str) -> None:
    def options(command: ScrapyCommand) -> set[str]:
        command.settings = Settings()
        parser = argparse.ArgumentParser()
        command.add_options(parser)
        return {option for action in parser._actions for option in action.option_strings if option.startswith("--")}

    own = options(import_module(f"smtpsurvey.commands.{name}").Command()) - options(list_command.Command())
    section = read("docs/reference/commands.md").partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    if name == "lab":
        section += read("docs/usage/lab.md")
    documented = set(re.findall(r"--[a-z]+", section))
    assert own - {"--output"} == documented & own  # which has a short form, -O
    assert own
    if "--output" in own:
        assert "-O" in section


def examples(page: str, heading: str) -> list[str]:
    """Give the lines of the first block under a heading that is indented by four, after the syntax."""
    section = read(page).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^    (.+)$", section, re.MULTILINE)


def test_the_lines_of_the_guide_to_target_lists_are_targets() -> None:
    bad: list[tuple[int, str]] = []
    lists = TargetLines("list.txt", None, 25, lambda number, reason: bad.append((number, reason)))
    text = "\n".join(examples("docs/usage/targets.md", "Lines")[1:]) + "\n"
    found = list(lists.feed(text.encode()))
    assert bad == []
    by_port = [target for target in found if target.port == 2525]
    assert [target.ip for target in by_port if isinstance(target, Target)] == ["2001:db8::26"]
    assert [host.name for host in found if isinstance(host, HostName)] == ["mx.example.net"] * 2
    assert len(found) == 4 + 16 + 17 + 2


def test_the_zmap_lines_of_the_guide_are_targets() -> None:
    bad: list[tuple[int, str]] = []
    lists = TargetLines("zmap.csv", None, 2525, lambda number, reason: bad.append((number, reason)))
    found = list(lists.feed("".join(f"{text}\n" for text in examples("docs/usage/targets.md", "ZMap")).encode()))
    assert bad == []
    assert [(target.ip, target.port) for target in found if isinstance(target, Target)] == [("192.0.2.10", 25)]


def test_the_opt_outs_of_the_guide_are_opt_outs(tmp_path: Path) -> None:
    lines = examples("docs/usage/targets.md", "Opt-outs")
    (tmp_path / "optout.txt").write_text("".join(f"{text}\n" for text in lines))
    entries = read_optout(str(tmp_path / "optout.txt"), with_as_map=True)
    assert [str(entry.subject) for entry in entries] == ["64500", "192.0.2.0/24", "198.51.100.7/32", "example.org"]


def test_dependencies_are_explained() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    wanted = [
        re.match(r"[\w.-]+", text) for text in (*project["dependencies"], *project["optional-dependencies"]["dev"])
    ]
    explained = re.findall(
        r"^\| ([\w.-]+) \| [^|]+ \|$", read("CONTRIBUTING.md").partition("## Dependencies")[2], re.MULTILINE
    )
    assert sorted(name for name in explained if name not in {"package", "---"}) == sorted(m[0] for m in wanted if m)


def anchors(path: Path) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"https?:", link):
            continue
        target, _, anchor = link.partition("#")
        path = page.parent / target if target else page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_only_settings_and_arguments_that_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    assert set(re.findall(r"\bSMTPSURVEY_\w+", text)) <= {setting.name for setting in SETTINGS}
    assert set(re.findall(r"-a (\w+)=", text)) <= {"NAME"}.union(*map(parameters_of, SPIDERS))
    for path in re.findall(r"`(smtpsurvey/[a-z_/]+\.(?:py|toml))`", text):
        assert (ROOT / path).exists(), path


def test_the_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) <= 120


def test_the_pipeline_package_of_the_guide_is_installed_and_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.+?)^```$", read("docs/usage/pipelines.md"), re.MULTILINE | re.DOTALL)
    (command,) = re.findall(
        r"-s COURTESY_TAGS=fragile -s '(ITEM_PIPELINES=.+)'$", read("docs/usage/pipelines.md"), re.MULTILINE
    )
    assert code == read("examples/courtesy/courtesy/__init__.py")
    package = shutil.copytree(ROOT / "examples" / "courtesy", tmp_path / "package")  # a build leaves its folders there
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
    install = [sys.executable, "-m", "pip", "install", *offline, "--target", tmp_path / "site", package]
    subprocess.run(install, check=True, timeout=60)
    with smtp_server() as (port, sessions):
        (tmp_path / "list.txt").write_text(f"127.0.0.1,,,{port}\n127.0.0.1,,fragile,{port}\n")
        settings = ("COURTESY_TAGS=fragile", command, "SMTPSURVEY_ALLOW=127.0.0.0/8", "SMTPSURVEY_SHARDS=")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "scrapy",
                "crawl",
                "smtp",
                "-a",
                "targets=list.txt",
                "-a",
                "record=all",
                "-O",
                "out.jsonl",
            ]
            + [part for setting in settings for part in ("-s", setting)],
            check=False,
            cwd=tmp_path,
            env=os.environ | {"SCRAPY_SETTINGS_MODULE": "smtpsurvey.settings", "PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    items = {item["tag"]: item for item in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())}
    assert (items["fragile"]["outcome"], items["fragile"]["reason"]) == ("excluded", "courtesy")
    assert items[None]["outcome"] == "ok"
    assert "'courtesy/without_starttls': 1" in done.stderr
    assert sessions.names == ["localhost"]
