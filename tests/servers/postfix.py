"""Postfix 3.7 with one listener for each behaviour, and its smtp-sink."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from servers.daemon import Daemon

if TYPE_CHECKING:
    from pathlib import Path

    from servers.certificate import ServerCertificate
    from servers.namespace import Namespace

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.test.example
mydestination =
mynetworks = 127.0.0.0/8
local_transport = error:no local delivery
default_transport = discard
relay_transport = discard
alias_maps =
# Postfix wants addresses that are literally on an interface here; master.cf names the ones it listens on.
inet_interfaces = all
inet_protocols = all
smtpd_peername_lookup = no
smtpd_tls_security_level = may
smtpd_tls_cert_file = {tls.certificate}
smtpd_tls_key_file = {tls.key}
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
default_process_limit = 200
postscreen_greet_action = enforce
postscreen_greet_wait = 3s
postscreen_greet_banner = postscreen.test.example ESMTP please wait
postscreen_cache_map =
postscreen_access_list =
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
"""
# chroot "n" in every line
LISTENERS = """\
127.0.1.1:2525 inet n - n - - smtpd
[::1]:2526 inet n - n - - smtpd
127.0.2.4:2525 inet n - n - - smtpd
  -o smtpd_client_connection_count_limit=1 -o smtpd_client_event_limit_exceptions=
127.0.2.5:2525 inet n - n - - smtpd
  -o smtpd_tls_protocols=TLSv1 -o smtpd_tls_ciphers=low -o tls_low_cipherlist=ALL:@SECLEVEL=0
127.0.2.6:2525 inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
127.0.2.7:2525 inet n - n - - smtpd
  -o smtpd_banner=$myhostname
127.0.1.25:2525 inet n - n - 1 postscreen
"""
SERVICES = """\
smtpd     pass  - - n - - smtpd
dnsblog   unix  - - n - 0 dnsblog
tlsproxy  unix  - - n - 0 tlsproxy
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
error     unix  - - n - - error
discard   unix  - - n - - discard
proxymap  unix  - - n - - proxymap
anvil     unix  - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""


def start_postfix(namespace: Namespace, folder: Path, tls: ServerCertificate, listeners: str = LISTENERS) -> Daemon:
    """Start Postfix; ``folder`` must be one that the user postfix may enter."""
    for name in ("etc", "spool", "data"):
        (folder / name).mkdir(parents=True)
    shutil.chown(folder / "data", "postfix")
    (folder / "etc/main.cf").write_text(MAIN.format(folder=folder, tls=tls), "ascii")
    (folder / "etc/master.cf").write_text(listeners + SERVICES, "ascii")
    return Daemon(namespace, ["postfix", "-c", folder / "etc", "start-fg"], folder / "output.log")


def start_smtp_sink(namespace: Namespace, folder: Path) -> Daemon:
    """Start smtp-sink: no product name, and an empty last EHLO keyword."""
    argv: list[str | Path] = ["smtp-sink", "-u", "nobody", "-h", "sink.test.example", "127.0.1.11:2525", "1000"]
    return Daemon(namespace, argv, folder / "smtp-sink.log")
