"""The page for the host that probes: whoever finds us in a log reads there who we are and how to make it stop."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

_STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;"
    "padding:0 1rem;overflow-wrap:anywhere}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}"
    "code,pre{font-family:ui-monospace,monospace}pre{overflow:auto}label{display:block;margin:.5rem 0}"
    "input{width:100%;font:inherit;box-sizing:border-box}"
)
# The page needs nothing but itself, so nothing else is allowed: no script, no picture, no font.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action {form}; base-uri 'none'"


@attrs.frozen
class Notice:
    """What the page says. ``contact`` is a URL or mail address; ``optout`` the mail address for opt-outs.

    ``rates`` are new contacts a second: in all, per /24 or /48, per AS; 0 is no limit. ``form`` is the URL
    that takes the opt-out form, ``None`` where there is none.
    """

    host: str
    contact: str
    optout: str
    ranges: Sequence[str]
    rates: tuple[float, float, float]
    form: str | None = None


def page(notice: Notice) -> str:
    """Write the page as HTML, complete and without anything to load."""
    host, contact, optout = escape(notice.host), _link(notice.contact), _link(notice.optout)
    ranges = "".join(f"<li><code>{escape(text)}</code></li>" for text in notice.ranges)
    policy = _POLICY.format(form=escape(notice.form) if notice.form else "'none'")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{host}: a survey of mail servers</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{host} makes a survey of mail servers</h1>
<p>You are here because this host connected to yours. It measures which mail servers the Internet runs and how they
encrypt. It is no attack, it sends no mail, and it tries no passwords. <a href="#stop">Below</a> is how to make it
stop.</p>
<h2>What it does</h2>
<p>It opens one connection to TCP port 25, waits for the greeting, and says what follows. Nothing else is sent: no
<code>MAIL</code>, <code>RCPT</code>, <code>VRFY</code>, <code>EXPN</code> or <code>AUTH</code>.</p>
<pre>EHLO {host}
STARTTLS      (where it is offered; then EHLO once more, encrypted)
QUIT</pre>
<p>Kept are the replies, the certificate, and the time. {_rates(notice.rates)}</p>
<h2>Where it comes from</h2>
<ul>{ranges}</ul>
<h2 id="stop">How to make it stop</h2>
<p>You need not give a reason. Write to {optout}, with one line for each address, network (CIDR), domain or AS that
is to be left alone:</p>
<pre>opt-out: 192.0.2.0/24
opt-out: example.org</pre>
<p>It takes effect in surveys that are running too, and in all later ones.</p>
{_form(notice.form)}<h2>Who answers for it</h2>
<p>{contact}</p>
</main>
</body>
</html>
"""


def _rates(rates: tuple[float, float, float]) -> str:
    """Say how fast we are."""
    places = ("in all", "in one /24 (IPv4) or /48 (IPv6)", "in one AS")
    limits = [f"{rate:g} {place}" for rate, place in zip(rates, places, strict=True) if rate]
    return f"New connections a second, at most: {', '.join(limits)}." if limits else ""


def _link(contact: str) -> str:
    text = contact.removeprefix("mailto:")
    target = text if text.startswith(("http://", "https://")) else f"mailto:{text}"
    return f'<a href="{escape(target)}">{escape(text)}</a>'


def _form(url: str | None) -> str:
    if url is None:
        return ""
    return f"""<form method="post" action="{escape(url)}">
<label>Address, network, domain or AS <input name="what" required maxlength="253"></label>
<label>Who you are (a mail address) <input name="who" required maxlength="253"></label>
<label>Why, if you like <input name="why" maxlength="500"></label>
<button>Leave us alone</button>
</form>
"""
