"""What the dispatcher decides, and what it decides on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpsurvey.fleet.jobs import Job, State


@attrs.frozen
class Start:
    """Hand a shard to a node."""

    node: str
    job: Job


@attrs.frozen
class Cancel:
    """End a job that is of no use any more; ``kill`` when it did not end for a long time."""

    node: str
    job: Job
    kill: bool = False


@attrs.frozen
class Collect:
    """Fetch what a job has found, check and import it; then tell :meth:`Plan.imported` or :meth:`Plan.failed`."""

    node: str
    job: Job


@attrs.frozen
class Discard:
    """Let a node delete the files of a job, which has ``failed`` or is of no use any more."""

    node: str
    job: Job
    failed: bool = False


Action = Start | Cancel | Collect | Discard


@attrs.frozen
class Seen:
    """A job as a node shows it; ``heartbeat`` is the age of its last sign of life in seconds."""

    state: State
    done: int = 0
    heartbeat: float | None = None


@attrs.frozen
class View:
    """A node as it shows itself; ``fit``: it may be given work."""

    slots: int
    busy: int
    jobs: Mapping[Job, Seen]
    fit: bool = True
