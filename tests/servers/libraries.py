"""Servers of SMTP libraries: aiosmtpd (Python) and nodemailer's smtp-server (Node.js)."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from servers.daemon import Daemon

if TYPE_CHECKING:
    from pathlib import Path

    from servers.certificate import ServerCertificate
    from servers.namespace import Namespace

NODE_SERVER = """\
const {{SMTPServer}} = require({module});
const fs = require('fs');
const server = new SMTPServer({{
  authOptional: true, banner: '', name: 'node.test.example',
  key: fs.readFileSync({key}), cert: fs.readFileSync({certificate}),
}});
server.on('error', () => {{}});
server.listen(2525, '127.0.1.8');
process.on('SIGTERM', () => process.exit(0));
"""


def start_aiosmtpd(namespace: Namespace, folder: Path, tls: ServerCertificate) -> Daemon:
    """Start aiosmtpd as its own command does."""
    argv: list[str | Path] = [sys.executable, "-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Sink"]
    argv += ["-l", "127.0.1.6:2525", "--tlscert", tls.certificate, "--tlskey", tls.key, "--no-requiretls"]
    return Daemon(namespace, argv, folder / "aiosmtpd.log")


def start_smtp_server(namespace: Namespace, folder: Path, tls: ServerCertificate, node_modules: Path) -> Daemon:
    """Start nodemailer's smtp-server out of ``node_modules``."""
    script = folder / "server.js"
    names = {"module": node_modules / "smtp-server", "key": tls.key, "certificate": tls.certificate}
    script.write_text(NODE_SERVER.format(**{name: json.dumps(str(path)) for name, path in names.items()}), "utf-8")
    return Daemon(namespace, ["node", script], folder / "smtp-server.log")
