"""Brings batches to one shard: at once while it writes, by way of the spool while it does not."""

from __future__ import annotations

import logging
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from smtpsurvey.store import StoreError
from smtpsurvey.store.refusals import Refusals
from smtpsurvey.store.spool import claim
from smtpsurvey.store.writer import SLOW, Batch, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smtpsurvey.items import SmtpItem
    from smtpsurvey.store.kinds import Rows
    from smtpsurvey.store.shards import Shards
    from smtpsurvey.store.spool import Spool
    from smtpsurvey.store.writer import Record, Writer

logger = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between two tries of a shard that is away: each twice the last
FULL_PAUSE = 1.0  # seconds between two looks whether the spool's disk has room


class Delivery:
    """The way to one shard. One thread may call :meth:`store` and :meth:`deliver`; another replays the spool.

    While anything is spooled, what comes later is spooled too, so the order holds.
    """

    def __init__(self, shards: Shards, writer: Writer, server: int, folder: Path, slow: float = SLOW) -> None:
        """Deliver to a server of ``shards``; spool into ``folder`` if a write fails or takes ``slow`` seconds."""
        self._writer = writer
        self._server = server
        self._name = shards[server].name
        self._schema = shards.schema
        self._folder = folder
        self._slow = slow
        self._refusals = Refusals(folder, self._name, shards.schema)
        self._spool: Spool | None = None
        self._away = False  # what comes is spooled
        self._proved = False  # it has written again since
        self._full = False  # but there is no room for the spool
        self._replayed = 0
        self._lock = Lock()  # of the spool, and of the change between the two ways
        self._stopped = Event()
        self._thread: Thread | None = None

    def open(self) -> None:
        """Take up what an earlier run has left in the spool; raises :class:`StoreError`."""
        try:
            self._spool = claim(self._folder, self._name, self._schema, create=False)
        except OSError as error:
            raise StoreError(f"{self._folder}: {error.strerror}") from None
        if self._spool is not None and not self._spool.empty:
            self._leave(f"{self._name}: {self._spool.rows} rows of an earlier run are spooled", 0)

    def store(self, items: list[SmtpItem | Rows]) -> None:
        """Return when items are in the database, in the spool, or refused and set apart; blocks.

        Raises :class:`StoreError` when :meth:`stop` is called before that.
        """
        batch = self._with_room(lambda: self._refusals.batch(self._writer, self._server, items))
        self.deliver(batch)
        self._writer.remember(self._server, batch)

    def deliver(self, record: Record) -> None:
        """Do the same with one record."""
        self._with_room(lambda: self._deliver(record))

    def stop(self) -> None:
        """Stop waiting, for room or for the shard; what is under way ends."""
        self._stopped.set()

    def finish(self) -> tuple[int, Path] | None:
        """Try the shard a last time; say how many rows stay in which file, if any record does. Blocks."""
        self.stop()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()
        if self._away:
            self._replay()
        if self._spool is None:
            return None
        left = None if self._spool.empty else (self._spool.rows, self._spool.path)
        self._spool.close()
        return left

    def _deliver(self, record: Record) -> None:
        """Write or spool; raises :class:`OSError`."""
        while True:
            if not self._away or (self._full and self._nothing_spooled()):
                began = monotonic()
                try:
                    self._refusals.apply(self._writer, self._server, record)
                except UnavailableError as error:
                    self._leave(str(error), FIRST_PAUSE)
                else:
                    if self._away:
                        self._return()
                    elif monotonic() - began > self._slow:
                        self._leave(f"{self._name}: a write took over {self._slow:.0f} s", FIRST_PAUSE, proved=True)
                    return
            with self._lock:
                if self._away:
                    if self._spool is None:
                        self._spool = claim(self._folder, self._name, self._schema)
                    self._spool.append(record)
                    return

    def _with_room(self, step: Callable[[], T]) -> T:
        """Take a step that needs room on the disk; wait for it where there is none."""
        while True:
            try:
                result = step()
            except OSError as error:
                where = f"no room for {self._name} in {self._folder} ({error.strerror})"
                if not self._full:
                    self._full = True
                    logger.warning("Store: %s; the survey waits until there is, or the shard is back", where)
                if self._stopped.wait(FULL_PAUSE):
                    raise StoreError(f"{where}: rows are lost") from None
            else:
                if self._full:
                    self._full = False
                    logger.warning("Store: rows for %s are safe again; the survey goes on", self._name)
                return result

    def _nothing_spooled(self) -> bool:
        with self._lock:
            return self._spool is None or self._spool.empty

    def _leave(self, why: str, pause: float, *, proved: bool = False) -> None:
        """Spool from now on, and try the shard again from time to time."""
        with self._lock:
            self._proved = proved
            if not self._away:
                self._away = True
                self._replayed = 0
                logger.warning("Store: %s; rows for it go by way of %s until it is back", why, self._folder)
            if self._thread is None:
                self._thread = Thread(target=self._retry, args=(pause,), name="spool", daemon=True)
                self._thread.start()

    def _return(self) -> None:
        """Write directly again."""
        self._away = False
        logger.warning("Store: %s is back, and has its %d spooled rows", self._name, self._replayed)

    def _retry(self, pause: float) -> None:
        while not self._stopped.wait(pause):
            if self._replay():
                return
            pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)

    def _replay(self) -> bool:
        """Write what is spooled, in order; ``True`` when that is all and the shard is back."""
        try:
            while (found := self._next()) is not None:
                record, after = found
                self._refusals.apply(self._writer, self._server, record)
                self._replayed += len(record) if isinstance(record, Batch) else 0
                self._done(record, after)
        except UnavailableError:
            return False
        except (OSError, StoreError) as error:
            logger.error("Store: %s: the spool cannot be replayed: %s", self._name, error)  # noqa: TRY400 - one line
            return False
        return not self._away

    def _next(self) -> tuple[Record, int] | None:
        """Give the first record; where there is none, the shard is back if it has written since."""
        with self._lock:
            found = self._spool.peek() if self._spool else None
            if found is None:
                if self._away and self._proved:
                    self._return()
                if not self._away:
                    self._thread = None
            return found

    def _done(self, record: Record, after: int) -> None:
        with self._lock:
            assert self._spool is not None  # noqa: S101 - the record came from it
            self._proved = True
            self._spool.drop(record, after)
