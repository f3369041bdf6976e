"""What a new classification changed, and what no rule knows, on a terminal or as JSON; all text is hostile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table as Grid
from rich.text import Text

from smtpsurvey.report.text import shown, visible

if TYPE_CHECKING:
    from collections import Counter

    from rich.console import Console

    from smtpsurvey.classify.changes import Change, Example
    from smtpsurvey.classify.templates import Templates
    from smtpsurvey.store.classifications import Run

ROWS = 40
"""Kinds of changes on the terminal."""
NOT_IDENTIFIED = "not identified"


def show_changes(run: Run, console: Console) -> None:
    """Print what a run changed, most frequent first, with examples."""
    sources = ", ".join(map(visible, run.sources))
    console.print(
        Text(
            f"{run.observations:,} observations by rules {run.rules} ({sources}): "
            f"{run.changed:,} verdicts changed (run {run.number})"
        )
    )
    ranked = run.changes.ranked()
    if not ranked:
        return
    grid = _grid()
    grid.add_column("count", justify="right")
    for heading in ("from", "to", "for example"):
        grid.add_column(heading, overflow="fold")
    for change in ranked[:ROWS]:
        grid.add_row(
            Text(f"{change.count:,}"),
            Text(_name(change.before)),
            Text(_after(change)),
            Text("\n".join(_example(change, each) for each in change.examples)),
        )
    hidden = ranked[ROWS:]
    left = sum(change.count for change in hidden) + run.changes.others
    if left:
        grid.caption = Text(f"and {left:,} changes of other kinds{': --json has more' if hidden else ''}")
    console.print(grid)


def changes_json(survey: str, run: Run) -> dict[str, Any]:
    """Give the same for ``--json``."""
    return {
        "survey": survey,
        "run": run.number,
        "rules": run.rules,
        "sources": run.sources,
        "started": run.started,
        "finished": run.finished,
        "observations": run.observations,
        "changed": run.changed,
        "changes": [
            {
                "from": change.before,
                "to": change.after,
                "fields": change.fields,
                "count": change.count,
                "examples": [
                    {"ip": each.ip, "port": each.port, "greeting": each.greeting, "from": each.before, "to": each.after}
                    for each in change.examples
                ],
            }
            for change in run.changes.ranked()
        ],
        "others": run.changes.others,
    }


def show_unknown(found: Templates, top: int, console: Console) -> None:
    """Print the most frequent templates, each with an example and what goes with it."""
    console.print(Text(f"{found.observations:,} servers not identified, {len(found):,} templates{_bound(found)}"))
    groups = found.top(top)
    if not groups:
        return
    grid = _grid()
    grid.add_column("count", justify="right")
    grid.add_column("greeting, and what goes with it", overflow="fold")
    for group in groups:
        lines = [
            shown(_greeting(group.code, group.template)),
            f"  for example: {visible(group.ip)} {shown(_greeting(group.code, group.greeting))}",
            *(
                f"  {name} ({times / group.count:.0%}): {shown(text)}"
                for name, counter in (("extensions", group.extensions), ("QUIT", group.quits))
                for text, times in counter.most_common(1)
                if 2 * times >= group.count  # what most of them have helps to write a rule
            ),
        ]
        grid.add_row(Text(f"{group.count:,}"), Text("\n".join(lines)))
    console.print(grid)


def unknown_json(survey: str, found: Templates, top: int) -> dict[str, Any]:
    """Give the same for ``--json``; ``missed`` is how much a count may be too low."""
    return {
        "survey": survey,
        "observations": found.observations,
        "templates": len(found),
        "missed": found.missed,
        "unknown": [
            {
                "count": group.count,
                "code": group.code,
                "template": group.template,
                "ip": group.ip,
                "greeting": group.greeting,
                "extensions": _companions(group.extensions),
                "quit": _companions(group.quits),
            }
            for group in found.top(top)
        ],
    }


def _grid() -> Grid:
    return Grid(box=None, pad_edge=False, header_style="bold")


def _name(product: str | None) -> str:
    return NOT_IDENTIFIED if product is None else shown(product)


def _after(change: Change) -> str:
    """Say the new product, or what of the same one is new."""
    return f"{_name(change.after)} ({', '.join(change.fields)})" if change.fields else _name(change.after)


def _example(change: Change, example: Example) -> str:
    version = f"{_name(example.before)} → {_name(example.after)}: " if "version" in change.fields else ""
    return f"{visible(example.ip)} {version}{shown(example.greeting)}"


def _greeting(code: int | None, text: str) -> str:
    return text if code is None else f"{code} {text}"


def _bound(found: Templates) -> str:
    if not found.missed:
        return ""
    return f" kept of more (the rarest were forgotten; counts may be up to {found.missed:,} too low)"


def _companions(counter: Counter[str]) -> list[dict[str, Any]]:
    return [{"text": text, "count": count} for text, count in counter.most_common()]
