"""Sendmail 8.17, unpacked below the cache."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from servers.daemon import Daemon

if TYPE_CHECKING:
    from pathlib import Path

    from servers.certificate import ServerCertificate
    from servers.namespace import Namespace

# Certificate and key must lie below no world-writable folder, or Sendmail offers no STARTTLS. Modify=A: no AUTH, whose
# mechanisms would depend on the SASL modules of this machine.
CONFIGURATION = """\
divert(0)dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `sendmail.test.example')dnl
define(`QUEUE_DIR', `{folder}/mq')dnl
define(`STATUS_FILE', `{folder}/etc/statistics')dnl
define(`HELP_FILE', `{unpacked}/etc/mail/helpfile')dnl
define(`confSERVICE_SWITCH_FILE', `{folder}/etc/service.switch')dnl
define(`confPID_FILE', `{folder}/sendmail.pid')dnl
define(`ALIAS_FILE', `')dnl
define(`confDEF_USER_ID', `mail:mail')dnl
define(`confTO_IDENT', `0s')dnl
define(`confPRIVACY_FLAGS', `')dnl
define(`confDONT_BLAME_SENDMAIL', `GroupReadableKeyFile,GroupWritableDirPathSafe,WorldWritableForwardFile')dnl
define(`confCACERT_PATH', `/etc/ssl/certs')dnl
define(`confCACERT', `{tls.certificate}')dnl
define(`confSERVER_CERT', `{tls.certificate}')dnl
define(`confSERVER_KEY', `{tls.key}')dnl
define(`confCLIENT_CERT', `')dnl
define(`confDELIVERY_MODE', `queue')dnl
define(`confMAX_DAEMON_CHILDREN', `200')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unqualified_senders')dnl
FEATURE(`accept_unresolvable_domains')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.1.4, Port=2525, Family=inet, Modify=A')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
"""


def start_sendmail(namespace: Namespace, folder: Path, tls: ServerCertificate, unpacked: Path) -> Daemon:
    """Start Sendmail from the packages below ``unpacked``."""
    (folder / "mq").mkdir(parents=True, mode=0o700)
    (folder / "etc").mkdir()
    (folder / "etc/statistics").touch()
    (folder / "etc/service.switch").write_text("hosts files\naliases files\n", "ascii")
    macros = folder / "etc/sendmail.mc"
    macros.write_text(CONFIGURATION.format(folder=folder, tls=tls, unpacked=unpacked), "ascii")
    m4_library = unpacked / "usr/share/sendmail/cf"
    argv = ["m4", f"-D_CF_DIR_={m4_library}/", f"{m4_library}/m4/cf.m4", str(macros)]
    made = subprocess.run(argv, check=True, capture_output=True)
    configuration = folder / "etc/sendmail.cf"
    configuration.write_bytes(made.stdout)
    # With a host name without a dot it would wait 60 s before it listens.
    start = 'hostname sendmail.test.example; exec "$1" "-C$2" -bD'
    binary = unpacked / "usr/libexec/sendmail/sendmail"
    return Daemon(
        namespace,
        ["unshare", "--uts", "sh", "-ec", start, "sendmail", binary, configuration],
        folder / "output.log",
    )
