"""Exim 4.96, unpacked below the cache; further ports greet with refusals of its connect ACL."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from servers.daemon import Daemon

if TYPE_CHECKING:
    from pathlib import Path

    from servers.certificate import ServerCertificate
    from servers.namespace import Namespace

# Only a code followed by a blank overrides the 550 of "drop".
CONFIGURATION = r"""
exim_path = {binary}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
never_users =
primary_hostname = exim.test.example
local_interfaces = 127.0.1.2
daemon_smtp_ports = 2525 : 2554 : 2421 : 2550
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts = *
tls_certificate = {tls.certificate}
tls_privatekey = {folder}/key.pem
smtp_accept_max = 200
smtp_accept_max_per_host = 0
smtp_accept_queue_per_connection = 0
queue_only
acl_smtp_connect = acl_connect
begin acl
acl_connect:
  deny condition = ${{if eq{{$received_port}}{{2554}}}}
       message = 554 No SMTP service here
  defer condition = ${{if eq{{$received_port}}{{2421}}}}
       message = 421 Try later
  drop condition = ${{if eq{{$received_port}}{{2550}}}}
       message = 554-go away\n554 Blocked - see http://bl.test.example
  accept
"""


def start_exim(namespace: Namespace, folder: Path, tls: ServerCertificate, unpacked: Path) -> Daemon:
    """Start Exim from the packages below ``unpacked``."""
    for name in ("spool", "log"):
        (folder / name).mkdir(parents=True)
        shutil.chown(folder / name, "Debian-exim", "Debian-exim")
    key = folder / "key.pem"
    shutil.copy(tls.key, key)
    shutil.chown(key, "Debian-exim")
    binary = unpacked / "usr/sbin/exim4"
    configuration = folder / "exim.conf"
    configuration.write_text(CONFIGURATION.format(binary=binary, folder=folder, tls=tls), "ascii")
    return Daemon(namespace, [binary, "-C", configuration, "-bdf"], folder / "output.log")
