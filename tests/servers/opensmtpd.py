"""OpenSMTPD 6.8, unpacked below the cache.

Debian 12's build offers STARTTLS, shows its certificate, and then fails every handshake
(OpenSMTPD issues 1171 and 1239).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from servers.daemon import Daemon

if TYPE_CHECKING:
    from pathlib import Path

    from servers.certificate import ServerCertificate
    from servers.namespace import Namespace

CONFIGURATION = """\
pki test cert "{tls.certificate}"
pki test key "{tls.key}"
listen on 127.0.1.3 port 2525 tls pki test hostname opensmtpd.test.example
action "hole" mda "cat >/dev/null"
match from any for any action "hole"
"""
# Its folders are compiled in: they come from memory, in the mount namespace that `ip netns exec` gives each command.
START = """
mkdir -p /var/lib/opensmtpd /var/spool/smtpd
mount -t tmpfs -o mode=755 tmpfs /var/lib/opensmtpd && mkdir /var/lib/opensmtpd/empty
mount -t tmpfs -o mode=711 tmpfs /var/spool/smtpd
mount --bind "$3" "$(readlink -f /var/run)"
exec "$1" -d -f "$2"
"""


def start_opensmtpd(namespace: Namespace, folder: Path, tls: ServerCertificate, unpacked: Path) -> Daemon:
    """Start OpenSMTPD from the package below ``unpacked``."""
    sockets = folder / "run"
    sockets.mkdir(parents=True)
    configuration = folder / "smtpd.conf"
    configuration.write_text(CONFIGURATION.format(tls=tls), "ascii")
    argv: list[str | Path] = ["sh", "-ec", START, "smtpd", unpacked / "usr/sbin/smtpd", configuration, sockets]
    return Daemon(namespace, argv, folder / "output.log")
