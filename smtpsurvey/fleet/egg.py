"""The egg that nodes run: the project with its data files, built from its pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from smtpsurvey.fleet import FleetError

if TYPE_CHECKING:
    from pathlib import Path

_SETUP = "from setuptools import setup; setup()"  # all else is in pyproject.toml


def build_egg(project: Path, work: Path) -> Path:
    """Build the egg of the project in a folder; nothing is written there but to ``work``.

    Raises :class:`FleetError` with the last line of what setuptools said.
    """
    if not (project / "pyproject.toml").exists():
        raise FleetError(f"{project}: no pyproject.toml beside scrapy.cfg, so there is nothing to build an egg from")
    made = work / "eggs"
    command = [sys.executable, "-W", "ignore", "-c", _SETUP, "--quiet"]
    command += ["egg_info", "--egg-base", str(work), "build", "--build-base", str(work / "build")]
    command += ["bdist_egg", "--bdist-dir", str(work / "bdist"), "--dist-dir", str(made)]
    done = subprocess.run(command, cwd=project, check=False, capture_output=True, text=True)  # noqa: S603 - ourselves
    eggs = sorted(made.glob("*.egg"))
    if done.returncode or len(eggs) != 1:
        lines = done.stderr.strip().splitlines() or ["no egg was made"]
        raise FleetError(f"{project}: the egg cannot be built: {lines[-1]}")
    return eggs[0]
