"""The egg that nodes run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from doubles.crawl import REPOSITORY

from smtpsurvey.fleet import FleetError
from smtpsurvey.fleet.egg import build_egg

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = REPOSITORY / "smtpsurvey"


@pytest.fixture(scope="module")
def egg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = sorted(path.name for path in REPOSITORY.iterdir())
    made = build_egg(REPOSITORY, tmp_path_factory.mktemp("egg"))
    assert sorted(path.name for path in REPOSITORY.iterdir()) == before  # nothing is left in the project
    return made


def test_all_modules_and_data_files_are_in_the_egg(egg: Path) -> None:
    inside = set(zipfile.ZipFile(egg).namelist())
    files = {path.relative_to(REPOSITORY) for path in PACKAGE.rglob("*") if path.is_file()}
    wanted = {str(path) for path in files if path.suffix not in {".pyc", ".pyo"} and "__pycache__" not in path.parts}
    assert {"smtpsurvey/spiders/smtp.py", "smtpsurvey/report/data/page.css"} <= wanted
    assert wanted <= inside, sorted(wanted - inside)


def test_the_egg_runs_by_itself_and_reads_its_data_from_the_archive(egg: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.meta_path = [finder for finder in sys.meta_path if '__editable__' not in repr(finder)]\n"
    )
    code = (
        "import smtpsurvey\n"
        "from smtpsurvey.classify.load import load\n"
        "rules = load(['builtin'])\n"
        "print(smtpsurvey.__file__)\n"
        "from scrapy.cmdline import execute\n"
        "execute(['scrapy', 'list'])\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{egg}{os.pathsep}{tmp_path}"}
    environment["SCRAPY_SETTINGS_MODULE"] = "smtpsurvey.settings"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    where, *spiders = done.stdout.split()
    assert where.startswith(str(egg))
    assert "smtp" in spiders


def test_a_project_that_cannot_be_built_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match=r"no pyproject.toml beside scrapy.cfg"):
        build_egg(tmp_path, tmp_path / "work")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 3\n")
    with pytest.raises(FleetError, match=r"the egg cannot be built: ") as caught:
        build_egg(tmp_path, tmp_path / "work")
    assert "\n" not in str(caught.value)
    shutil.rmtree(tmp_path / "work", ignore_errors=True)
