"""Keeps reserved addresses and everyone who opted out from being probed, and names the AS of the rest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from smtpsurvey.admission import Exclude
from smtpsurvey.admission.asmap import AsMap
from smtpsurvey.admission.exclusions import Exclusions, networks_of
from smtpsurvey.admission.optout import OptOutFile
from smtpsurvey.admission.reserved import SPECIAL_PURPOSE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrapy.crawler import Crawler

    from smtpsurvey.admission.ranges import Network
    from smtpsurvey.items import Target


class AsFilterPipeline:
    """Raises Exclude in :meth:`admit` for what must not be probed; fills ``asn``, ``prefix`` and ``country``.

    The AS map is read once; the opt-out file again whenever it changes, within about a second.
    """

    def __init__(
        self,
        allow: Sequence[Network] = (),
        optout: OptOutFile | None = None,
        as_map: AsMap | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Filter with these lists; ``clock`` gives seconds and says when to look at the file again."""
        self._allow = allow
        self._optout = optout
        self._as_map = as_map
        self._clock = clock
        self._put_together()

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Read the lists; raises AdmissionError, whose message is one line, when one cannot be used."""
        settings = crawler.settings
        allow = networks_of("SMTPSURVEY_ALLOW", settings.getlist("SMTPSURVEY_ALLOW"))
        as_map = AsMap(path) if (path := settings.get("SMTPSURVEY_AS_MAP")) else None
        optout = settings.get("SMTPSURVEY_OPTOUT")
        return cls(allow, OptOutFile(optout, with_as_map=as_map is not None) if optout else None, as_map)

    def admit(self, target: Target) -> None:
        """Raise Exclude if the target must not be probed, else fill in what the AS map knows of it."""
        if self._optout is not None and self._optout.changed(self._clock()):
            self._put_together()
        exclusion = self._exclusions.of_target(target.ip, target.name)
        if exclusion is None and self._as_map is not None:
            target.asn, target.prefix, target.country, origins = self._as_map.lookup(target.ip)
            exclusion = self._exclusions.of_origins(origins)
        if exclusion is not None:
            raise Exclude(exclusion.reason)

    def process_item(self, item: Any) -> Any:
        """Return the item: what there is to do is done before the probe."""
        return item

    def _put_together(self) -> None:
        self._exclusions = Exclusions(SPECIAL_PURPOSE, self._allow, self._optout.entries if self._optout else ())
