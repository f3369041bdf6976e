"""Host names as target lists write them."""

from __future__ import annotations

import re

import idna

from smtpsurvey.targets.address import BadTargetError, shown

MAX_NAME = 253
"""Characters of a name at most, without the last dot (RFC 1035 section 3.1, as text)."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# A last label of digits would be (mistaken for) an address: RFC 1123 section 2.1.
_NAME = re.compile(rf"(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}")


def host_name(text: str) -> str:
    """Return ``text`` as a lower-case name of A-labels without the last dot.

    RFC 1123 section 2.1, and ``_`` besides, which names of real mail servers have. Names in other
    scripts are encoded (IDNA 2008 after the mapping of UTS 46). Raises :class:`BadTargetError` for the rest.
    """
    name = text.lower()
    if not name.isascii() and len(name) <= MAX_NAME:
        try:
            mapped = idna.uts46_remap(name, std3_rules=False)
            name = ".".join(label if label.isascii() else idna.alabel(label).decode() for label in mapped.split("."))
        except idna.IDNAError as error:
            raise BadTargetError(f"{shown(text)} is no host name ({str(error)[:80]})") from None
    name = name.removesuffix(".")
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise BadTargetError(f"{shown(text)} is no host name")
    return name
