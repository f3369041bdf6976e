r"""Items to rows and back.

A reply is stored as the bytes that came, and its text is made of them again. Where that would not
give the text of the item (an imported item has no bytes, and a pipeline may have changed a text),
the text itself stands in the column ``texts``, so an item always comes back as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from smtpsurvey.items import EhloItem, Interruption, ReplyItem, SmtpItem, Software, TlsItem
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
_NO_SOFTWARE = (None,) * 5
_NO_MORE = (None,) * 5
_UNREAD = (None,) * 6


def to_row(item: SmtpItem) -> tuple[Any, ...]:
    """Give the values of an observation's columns, in the order of the schema."""
    seen = item.observation
    texts: dict[str, str] = {}
    ehlo, tls, broken, software = item.ehlo, item.tls or _NO_TLS, item.interrupted, item.software
    leaf = tls.certificate
    return (
        _valid(item.survey),
        item.ip,
        item.port,
        _valid(item.name),
        _valid(item.tag),
        _valid(item.source),
        item.time,
        item.duration,
        _word(item.outcome),
        _valid(item.reason),
        *_reply("greeting", item.greeting, seen, texts),
        *_reply("ehlo", ehlo, seen, texts),
        _json(ehlo and ehlo.extensions),
        *_reply("helo", item.helo, seen, texts),
        _word(item.starttls),
        *_reply("starttls_reply", item.starttls_reply, seen, texts),
        *_reply("quit", item.quit, seen, texts),
        _word(broken.stage if broken else None),
        _word(broken.reason if broken else None),
        _json(item.flags),
        item.asn,
        item.prefix,
        item.country,
        None if item.tls is None else True,
        tls.version,
        tls.cipher,
        _word(tls.error),
        *_reply("tls_ehlo", tls.ehlo, seen, texts),
        _json(tls.ehlo and tls.ehlo.extensions),
        _stray(tls.stray_plaintext, seen, texts),
        leaf and leaf.sha256,
        _json(tls.chain),
        tls.trusted,
        _word(tls.trust_error),
        tls.matches_name,
        *(_NO_SOFTWARE if software is None else _verdict(software)),
        _json(texts or None),
        *(_NO_MORE if software is None else _more(software)),
    )


def certificates(item: SmtpItem) -> Iterator[tuple[str, Certificate | None, bytes | None]]:
    """Give the certificates an item refers to: SHA-256, what was read (of the leaf alone), and DER if it is known."""
    if item.tls is None:
        return
    facts = item.observation and item.observation.tls
    ders = dict(zip(facts.hashes, facts.chain, strict=True)) if facts else {}
    leaf = item.tls.certificate
    if leaf is not None:
        yield leaf.sha256, leaf, ders.pop(leaf.sha256, None)
    for digest, der in ders.items():
        yield digest, None, der


def certificate_row(digest: str, read: Certificate | None, der: bytes | None) -> tuple[Any, ...]:
    """Give the values of a certificate's columns, in the order of the schema."""
    if read is None:
        return (digest, der, *_UNREAD)
    names = _json(read.names)
    return digest, der, read.subject, read.issuer, names, read.not_before, read.not_after, read.key


def from_row(row: Row[Any]) -> SmtpItem:
    """Make the item of a row: an observation's columns, joined with its leaf's certificate."""
    texts = _value(row.texts) or {}
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
        flags=_value(row.flags),
        asn=row.asn,
        prefix=row.prefix,
        country=row.country,
        software=None
        if row.product is None
        else Software(
            row.vendor,
            row.product,
            row.version,
            row.rule,
            row.evidence,
            row.edition,
            row.os,
            row.cpe,
            row.certainty,
            _value(row.claims),
        ),
    )


def _valid(text: str | None) -> str | None:
    r"""Write lone surrogates, which no database takes, as ``\udcNN``."""
    return text if text is None or text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _word(value: str | None) -> str | None:
    """Give the plain string of a member of an enumeration, which drivers take at once."""
    return None if value is None else str(value)


def _json(value: object) -> str | None:
    return None if value is None else _ENCODER.encode(value).decode()


def _value(text: str | None) -> Any:
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


def _verdict(software: Software) -> tuple[str | None, ...]:
    return software.vendor, software.product, software.version, software.rule, _word(software.evidence)


def _more(software: Software) -> tuple[str | None, ...]:
    return software.edition, software.os, software.cpe, _word(software.certainty), _json(software.claims)


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
    return None if reply is None else EhloItem(reply.code, reply.text, _value(extensions))


def _tls_item(row: Row[Any], texts: dict[str, str]) -> TlsItem:
    stray = row.stray_plaintext
    leaf = None
    if row.certificate is not None:
        leaf = Certificate(
            row.subject, row.issuer, _value(row.names), row.not_before, row.not_after, row.key, row.certificate
        )
    return TlsItem(
        row.tls_version,
        row.tls_cipher,
        _value(row.chain),
        leaf,
        row.trusted,
        row.trust_error,
        row.matches_name,
        _ehlo_item("tls_ehlo", row.tls_extensions, row, texts),
        row.tls_error,
        None if stray is None else texts.get("stray_plaintext", text_of(stray)),
    )
