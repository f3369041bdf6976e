"""The rules of the rooms that a reader of the code may rely on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import smtpsurvey

ROOT = Path(smtpsurvey.__file__).parent
MODULES = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}
PURE = ("smtp", "admission", "classify", "analysis")
IMPURE_MODULES = ("smtpsurvey.admission.gate",)
FRAMEWORKS = ("twisted", "scrapy", "sqlalchemy")
REACTOR = "twisted.internet.reactor"


def imports(path: Path, *, everywhere: bool = True) -> set[str]:
    """Name what a module imports, ``from x import y`` as ``x.y``; at module level alone if not everywhere."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return found


def within(imported: str, *packages: str) -> bool:
    return any(imported == package or imported.startswith(f"{package}.") for package in packages)


def room(name: str) -> dict[str, set[str]]:
    """Give the modules of a room and what each imports."""
    return {module: imports(path) for module, path in MODULES.items() if within(module, f"smtpsurvey.{name}")}


def offences(modules: dict[str, set[str]], *packages: str, but: tuple[str, ...] = ()) -> list[str]:
    """Name each import of those packages."""
    return [
        f"{module} imports {imported}"
        for module, found in modules.items()
        for imported in sorted(found)
        if within(imported, *packages) and not within(imported, *but)
    ]


@pytest.mark.parametrize("name", PURE)
def test_pure_rooms_import_no_framework(name: str) -> None:
    modules = {module: found for module, found in room(name).items() if module not in IMPURE_MODULES}
    assert offences(modules, *FRAMEWORKS) == []


def test_smtp_imports_nothing_of_ours_but_outcomes_and_itself() -> None:
    modules = room("smtp")
    assert len(modules) >= 6
    assert offences(modules, "smtpsurvey", but=("smtpsurvey.smtp", "smtpsurvey.outcomes")) == []


def test_pipelines_never_import_one_another() -> None:
    modules = room("pipelines")
    assert len(modules) >= 2
    assert offences(modules, "smtpsurvey.pipelines") == []


@pytest.mark.parametrize("name", ["analysis", "report"])
def test_what_looks_at_results_does_not_import_what_probes(name: str) -> None:
    assert offences(room(name), "smtpsurvey.probe") == []


def test_the_reactor_is_imported_within_functions_only() -> None:
    modules = {module: imports(path, everywhere=False) for module, path in MODULES.items()}
    assert offences(modules, REACTOR) == []


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [module for module in MODULES if drawers & set(module.split("."))] == []


def test_no_class_manages() -> None:
    classes = [
        f"{module}.{node.name}"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert len(classes) > 20
    assert [name for name in classes if name.endswith("Manager")] == []


def test_no_module_is_longer_than_300_lines() -> None:
    lengths = {module: len(path.read_bytes().splitlines()) for module, path in MODULES.items()}
    assert {module: length for module, length in lengths.items() if length > 300} == {}


# A law that nothing can break holds nothing: each kind of offence, made up, is seen.
@pytest.mark.parametrize(
    ("code", "everywhere", "at_module_level"),
    [
        ("import scrapy", {"scrapy"}, {"scrapy"}),
        ("import scrapy.http as h", {"scrapy.http"}, {"scrapy.http"}),
        ("from twisted.internet import reactor", {REACTOR}, {REACTOR}),
        ("if True:\n    import re", {"re"}, {"re"}),
        ("class A:\n    import re", {"re"}, {"re"}),
        ("def f():\n    from twisted.internet import reactor", {REACTOR}, set()),
        ("class A:\n    async def f(self):\n        import re", {"re"}, set()),
    ],
)
def test_imports_are_seen(tmp_path: Path, code: str, everywhere: set[str], at_module_level: set[str]) -> None:
    (tmp_path / "module.py").write_text(code)
    assert imports(tmp_path / "module.py") == everywhere
    assert imports(tmp_path / "module.py", everywhere=False) == at_module_level


def test_offences_are_seen() -> None:
    modules = {"a": {"scrapy.http.Request", "scrapyd"}, "b": {"twisted"}, "c": {"smtpsurvey.smtp.reply.Reply"}}
    assert offences(modules, *FRAMEWORKS) == ["a imports scrapy.http.Request", "b imports twisted"]
    assert offences(modules, "smtpsurvey", but=("smtpsurvey.smtp",)) == []
    assert offences(modules, "smtpsurvey", but=("smtpsurvey.smt",)) == ["c imports smtpsurvey.smtp.reply.Reply"]
