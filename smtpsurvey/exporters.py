"""The feed exporter for JSON lines: one C call an item (Scrapy's costs more than the probe)."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, cast

import msgspec
from scrapy.exporters import JsonLinesItemExporter

from smtpsurvey.kinds import MASS

if TYPE_CHECKING:
    from io import BytesIO


class FastJsonLinesItemExporter(JsonLinesItemExporter):
    """Writes observations and look-ups through msgspec, and every other item, or chosen fields, as Scrapy does."""

    def __init__(self, file: IO[bytes], **kwargs: Any) -> None:
        """Write to a file opened by the feed."""
        super().__init__(cast("BytesIO", file), **kwargs)
        self._encode = msgspec.json.Encoder().encode

    def export_item(self, item: Any) -> None:
        """Write one line."""
        if isinstance(item, MASS) and self.fields_to_export is None:
            self.file.write(self._encode(item) + b"\n")
        else:
            super().export_item(item)
