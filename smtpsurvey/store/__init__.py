"""The store: SQLite by default, sharded MySQL or MariaDB in production (SQLAlchemy Core)."""

from __future__ import annotations

from smtpsurvey.errors import SurveyError


class StoreError(SurveyError):
    """A database cannot be opened, read or written: one line that names it, never its password."""
