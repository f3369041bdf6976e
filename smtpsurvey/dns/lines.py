"""Lists of domain names, one a line, for look-ups."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from zlib import crc32

import attrs
import idna

from smtpsurvey.targets.lines import MAX_LINE, TargetLines
from smtpsurvey.targets.names import MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Any label of printable ASCII: the DNS has more names than hosts have (RFC 2181 section 11).
_LABEL = r"[!-+/-~-]{1,63}"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}|\.")


@attrs.frozen(eq=False)
class ListedName:
    """A name of a list, in lower case, as A-labels, without the last dot (the root is ``.``).

    ``position`` counts from 0. Where ``good`` is false, ``name`` is the text of the list as it stands,
    which no name of the DNS can be (RFC 1035 section 2.3.4).
    """

    name: str
    position: int
    good: bool = True


class NameLines(TargetLines):
    """Reads such a list from blocks of bytes, with the same bounds, comments and counts as a list of targets."""

    def __init__(self, path: str, on_bad: Callable[[int, str], object]) -> None:
        """Read the list at ``path``; ``on_bad`` is called for lines that are no text or too long."""
        super().__init__(path, None, 0, on_bad)

    def _read(self, complete: bytes) -> Iterator[ListedName]:  # type: ignore[override]  # what its feed() yields
        first = self.lines + 1
        for number, raw in enumerate(complete.split(b"\n"), first):
            self.lines = number
            if len(raw) > MAX_LINE:
                self._refuse_long()
                continue
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                self._refuse("not UTF-8")
                continue
            if number == 1:
                text = text.removeprefix("\ufeff")
            text = text.partition("#")[0].strip()
            if text:
                position = self.targets
                self.targets = position + 1
                name = dns_name(text)
                yield ListedName(text, position, good=False) if name is None else ListedName(name, position)


def dns_name(text: str) -> str | None:
    """Return a name of the DNS in lower case, A-labels, without its last dot; ``None`` for what is none."""
    name = text.lower()
    if not name.isascii():
        if len(name) > MAX_NAME:
            return None
        try:
            mapped = idna.uts46_remap(name, std3_rules=False)
            name = ".".join(label if label.isascii() else idna.alabel(label).decode() for label in mapped.split("."))
        except idna.IDNAError:
            return None
    if len(name) > 1:
        name = name.removesuffix(".")
    return name if len(name) <= MAX_NAME and _NAME.fullmatch(name) else None


def shard_of_name(name: str, count: int) -> int:
    """Return the shard of a name, from 0 to ``count - 1``, as :func:`~smtpsurvey.targets.shard.shard_of` does."""
    return (crc32(name.encode()) * count) >> 32
