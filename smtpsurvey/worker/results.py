"""What commands find, on its way to the pipelines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from smtpsurvey.items import iso_time
from smtpsurvey.kinds import Line, LogItem

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpsurvey.worker.commands import Command


class Results:
    """Hands items over under the label of the survey, and makes those that need nothing else."""

    def __init__(self, survey: str, submit: Callable[[Any], Any]) -> None:
        """Give each item to ``submit``."""
        self.survey = survey
        self.submit = submit

    async def log(self, command: Command) -> None:
        """LOG: put a line into the results."""
        self.submit(LogItem(self.survey, now(), command.arguments[0], line_of(command)))


def now() -> str:
    """Give the time as items have it."""
    return iso_time(time.time())


def line_of(command: Command) -> Line:
    """Say which line an item is from."""
    return Line(command.file, command.line)
