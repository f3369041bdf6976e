"""``scrapy lab`` that also writes how often each address was contacted: ``counting_lab.py FILE lab …``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from scrapy import cmdline

from smtpsurvey.lab import server
from smtpsurvey.lab.session import Tally

if TYPE_CHECKING:
    from smtpsurvey.lab.session import Session

CONTACTS: Counter[str] = Counter()


class Sessions(dict["Session", float]):
    """The open sessions of the lab, each counted as it begins."""

    def __setitem__(self, session: Session, since: float) -> None:
        CONTACTS[session.host.ip] += 1
        super().__setitem__(session, since)


@attrs.define
class CountingTally(Tally):
    open: dict[Session, float] = attrs.field(factory=Sessions)


def main() -> None:
    path = Path(sys.argv.pop(1))
    server.Tally = CountingTally
    try:
        cmdline.execute()
    finally:
        path.write_text(json.dumps(CONTACTS))


if __name__ == "__main__":
    main()
