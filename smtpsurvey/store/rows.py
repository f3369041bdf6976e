r"""Items to rows and back.

A reply is stored as the bytes that came, and its text is made of them again. Where that would not
give the text of the item (an imported item has no bytes, and a pipeline may have changed a text),
the text itself stands in the column ``texts``, so an item always comes back as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from smtpsurvey.items import EhloItem, Interruption, ReplyItem, SecondTlsItem, SmtpItem, Software, TlsItem
from smtpsurvey.smtp.certificate import Certificate
from smtpsurvey.smtp.reply import text_of, unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Row

    from smtpsurvey.items import Observation
    from smtpsurvey.smtp.reply import Reply

_CODE = 4  # bytes of a line before its text: three digits and a separator
_ENCODER = msgspec.json.Encoder()
_NO_TLS = TlsItem()
NO_SOFTWARE = (None,) * 5
NO_MORE = (None,) * 5
_UNREAD = (None,) * 8


def to_row(item: SmtpItem) -> tuple[Any, ...]:
    """Give the values of an observation's columns, in the order of the schema."""
    seen = item.observation
    texts: dict[str, str] = {}
    ehlo, tls, broken, software = item.ehlo, item.tls or _NO_TLS, item.interrupted, item.software
    leaf = tls.certificate
    return (
        valid(item.survey),
        item.ip,
        item.port,
        valid(item.name),
        valid(item.tag),
        valid(item.source),
        item.time,
        item.duration,
        _word(item.outcome),
        valid(item.reason),
        *_reply("greeting", item.greeting, seen, texts),
        *_reply("ehlo", ehlo, seen, texts),
        json_text(ehlo and ehlo.extensions),
        *_reply("helo", item.helo, seen, texts),
        _word(item.starttls),
        *_reply("starttls_reply", item.starttls_reply, seen, texts),
        *_reply("quit", item.quit, seen, texts),
        _word(broken.stage if broken else None),
        _word(broken.reason if broken else None),
        json_text(item.flags),
        item.asn,
        item.prefix,
        item.country,
        None if item.tls is None else True,
        tls.version,
        tls.cipher,
        _word(tls.error),
        *_reply("tls_ehlo", tls.ehlo, seen, texts),
        json_text(tls.ehlo and tls.ehlo.extensions),
        _stray(tls.stray_plaintext, seen, texts),
        leaf and leaf.sha256,
        json_text(tls.chain),
        tls.trusted,
        _word(tls.trust_error),
        tls.matches_name,
        *(NO_SOFTWARE if software is None else verdict(software)),
        json_text(texts or None),
        *(NO_MORE if software is None else verdict_more(software)),
        valid(item.domain),
        tls.group,
        tls.sni,
        tls.matches_domain,
        _word(tls.staple),
        json_text(tls.second),
        _word(tls.dane),
    )


def certificates(item: SmtpItem) -> Iterator[tuple[str, Certificate | None, bytes | None]]:
    """Give the certificates an item refers to: SHA-256, what was read (of the leaf alone), and DER if it is known."""
    if item.tls is None:
        return
    seen = item.observation
    ders: dict[str, bytes] = {}
    leaves = [item.tls.certificate]
    for facts in (seen and seen.tls, seen and seen.second and seen.second.facts):
        if facts:
            ders |= zip(facts.hashes, facts.chain, strict=True)
            leaves.append(facts.certificate)
    for leaf in {leaf.sha256: leaf for leaf in leaves if leaf is not None}.values():
        yield leaf.sha256, leaf, ders.pop(leaf.sha256, None)
    for digest, der in ders.items():
        yield digest, None, der


def certificate_row(digest: str, read: Certificate | None, der: bytes | None) -> tuple[Any, ...]:
    """Give the values of a certificate's columns, in the order of the schema."""
    if read is None:
        return (digest, der, *_UNREAD)
    names = json_text(read.names)
    dates = read.not_before, read.not_after
    return digest, der, read.subject, read.issuer, names, *dates, read.key, read.signature, read.self_signed


def from_row(row: Row[Any]) -> SmtpItem:
    """Make the item of a row: an observation's columns, joined with its leaf's certificate."""
    texts = json_value(row.texts) or {}
    return SmtpItem(
        survey=row.survey,
        ip=row.ip,
        port=row.port,
        name=row.name,
        tag=row.tag,
        source=row.source,
        time=row.time,
        duration=row.duration,
        outcome=row.outcome,
        reason=row.reason,
        greeting=_reply_item("greeting", row, texts),
        ehlo=_ehlo_item("ehlo", row.extensions, row, texts),
        helo=_reply_item("helo", row, texts),
        starttls=row.starttls,
        starttls_reply=_reply_item("starttls_reply", row, texts),
        quit=_reply_item("quit", row, texts),
        tls=_tls_item(row, texts) if row.tls else None,
        interrupted=row.interrupted_stage and Interruption(row.interrupted_stage, row.interrupted_reason),
        flags=json_value(row.flags),
        asn=row.asn,
        prefix=row.prefix,
        country=row.country,
        software=software_of(row),
        domain=row.domain,
    )


def software_of(row: Row[Any]) -> Software | None:
    """Give the verdict that a row's columns hold."""
    if row.product is None:
        return None
    return Software(
        *(row.vendor, row.product, row.version, row.rule, row.evidence),
        *(row.edition, row.os, row.cpe, row.certainty, json_value(row.claims)),
    )


def valid(text: str | None) -> str | None:
    r"""Write lone surrogates, which no database takes, as ``\udcNN``."""
    return text if text is None or text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _word(value: str | None) -> str | None:
    """Give the plain string of a member of an enumeration, which drivers take at once."""
    return None if value is None else str(value)


def json_text(value: object) -> str | None:
    """Write what a column of JSON holds."""
    return None if value is None else _ENCODER.encode(value).decode()


def json_value(text: str | None) -> Any:
    """Read it."""
    return None if text is None else msgspec.json.decode(text)


def _reply(
    name: str, item: ReplyItem | EhloItem | None, seen: Observation | None, texts: dict[str, str]
) -> tuple[int | None, bytes | None]:
    if item is None:
        return None, None
    reply: Reply | None = getattr(seen, name, None)
    raw = _written(item) if reply is None else reply.raw
    if (_text(item.code, raw) if reply is None else reply.text) != item.text:
        texts[name] = item.text
    return item.code, raw


def _stray(text: str | None, seen: Observation | None, texts: dict[str, str]) -> bytes | None:
    if text is None:
        return None
    raw = seen.tls.stray_plaintext if seen and seen.tls else None
    raw = text.encode() if raw is None else raw
    if text_of(raw) != text:
        texts["stray_plaintext"] = text
    return raw


def verdict(software: Software) -> tuple[str | None, ...]:
    """Give the columns from ``vendor`` to ``evidence``."""
    return software.vendor, software.product, software.version, software.rule, _word(software.evidence)


def verdict_more(software: Software) -> tuple[str | None, ...]:
    """Give the columns from ``edition`` to ``claims``."""
    return software.edition, software.os, software.cpe, _word(software.certainty), json_text(software.claims)


def _written(item: ReplyItem | EhloItem) -> bytes:
    """Write a reply of which only the text is known, as its server most likely did (RFC 5321 section 4.2)."""
    if item.code is None:
        return item.text.encode()
    *lines, last = item.text.split("\n")
    return "".join([*(f"{item.code:03}-{line}\r\n" for line in lines), f"{item.code:03} {last}\r\n"]).encode()


def _text(code: int | None, raw: bytes) -> str:
    """Read the text of a reply of its bytes, as ``smtp/reply.py`` does."""
    if code is None:
        return unfinished(raw).text
    return text_of(b"\n".join([line[_CODE:].rstrip(b"\r") for line in raw[:-1].split(b"\n")]))


def _reply_item(name: str, row: Row[Any], texts: dict[str, str]) -> ReplyItem | None:
    raw = getattr(row, name)
    if raw is None:
        return None
    code = getattr(row, f"{name}_code")
    return ReplyItem(code, texts[name] if name in texts else _text(code, raw))


def _ehlo_item(name: str, extensions: str | None, row: Row[Any], texts: dict[str, str]) -> EhloItem | None:
    reply = _reply_item(name, row, texts)
    return None if reply is None else EhloItem(reply.code, reply.text, json_value(extensions))


def _tls_item(row: Row[Any], texts: dict[str, str]) -> TlsItem:
    stray = row.stray_plaintext
    leaf = None
    if row.certificate is not None:
        leaf = Certificate(
            *(row.subject, row.issuer, json_value(row.names), row.not_before, row.not_after, row.key),
            *(row.certificate, row.signature, row.self_signed),
        )
    return TlsItem(
        row.tls_version,
        row.tls_cipher,
        json_value(row.chain),
        leaf,
        row.trusted,
        row.trust_error,
        row.matches_name,
        _ehlo_item("tls_ehlo", row.tls_extensions, row, texts),
        row.tls_error,
        None if stray is None else texts.get("stray_plaintext", text_of(stray)),
        row.tls_group,
        row.sni,
        row.matches_domain,
        row.staple,
        None if row.second_tls is None else msgspec.json.decode(row.second_tls, type=SecondTlsItem),
        row.dane,
    )
