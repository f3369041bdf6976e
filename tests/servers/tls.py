"""Postfix and Exim with a listener for each certificate and each version of TLS."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from servers.daemon import Daemon
from servers.postfix import start_postfix

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from servers.certificate import ServerCertificate
    from servers.namespace import Namespace

POSTFIX, EXIM = "127.0.3.1", "127.0.3.2"
EXIM_CONFIGURATION = """\
exim_path = {binary}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
never_users =
primary_hostname = exim.test.example
local_interfaces = {address}
daemon_smtp_ports = {ports}
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts = *
tls_certificate = {folder}/chains/${{received_port}}${{if eq{{$tls_in_sni}}{{}}{{-nameless}}}}.pem
tls_ocsp_file = ${{if exists{{{folder}/chains/${{received_port}}.ocsp}}{{{folder}/chains/${{received_port}}.ocsp}}}}
tls_require_ciphers = {ciphers}
smtp_accept_max = 200
smtp_accept_max_per_host = 0
smtp_accept_queue_per_connection = 0
queue_only
acl_smtp_connect = accept
"""
_POSTFIX_VERSIONS = "-o smtpd_tls_protocols={only} -o smtpd_tls_ciphers=low -o tls_low_cipherlist=ALL:@SECLEVEL=0"
_GNUTLS_VERSIONS = "NORMAL:-VERS-ALL:+VERS-{only}:+SHA1:+SIGN-RSA-SHA1:%VERIFY_ALLOW_SIGN_WITH_SHA1"


def start_tls_postfix(
    namespace: Namespace, folder: Path, tls: ServerCertificate, chains: Mapping[int, Path], versions: Mapping[int, str]
) -> Daemon:
    """Start Postfix: on each port the chain (a file with the key), or one version of TLS (``TLSv1`` to ``TLSv1.3``)."""
    listeners = [
        f"{POSTFIX}:{port} inet n - n - - smtpd\n  -o smtpd_tls_chain_files={chain}\n" for port, chain in chains.items()
    ]
    listeners += [
        f"{POSTFIX}:{port} inet n - n - - smtpd\n  {_POSTFIX_VERSIONS.format(only=only)}\n"
        for port, only in versions.items()
    ]
    return start_postfix(namespace, folder, tls, "".join(listeners))


def start_tls_exim(  # noqa: PLR0917 - as the other servers, and what it shows
    namespace: Namespace,
    folder: Path,
    unpacked: Path,
    chains: Mapping[int, tuple[Path, Path]],
    versions: Mapping[int, str],
    staples: Mapping[int, Path],
) -> Daemon:
    """Start Exim: on each port a chain for clients that say a name and one for those that do not, or one version.

    ``staples`` are OCSP responses for the first of them.
    """
    for name in ("spool", "log", "chains"):
        (folder / name).mkdir(parents=True)
        shutil.chown(folder / name, "Debian-exim", "Debian-exim")
    for port, pair in chains.items():
        for chain, ending in zip(pair, ("", "-nameless"), strict=True):
            shutil.copy(chain, folder / f"chains/{port}{ending}.pem")
    for port, staple in staples.items():
        shutil.copy(staple, folder / f"chains/{port}.ocsp")
        (folder / f"chains/{port}.ocsp").chmod(0o644)
    ciphers = "NORMAL"
    for port, only in versions.items():
        name = "TLS1.0" if only == "TLSv1" else only.replace("TLSv", "TLS")
        ciphers = f"${{if eq{{$received_port}}{{{port}}}{{{_GNUTLS_VERSIONS.format(only=name)}}}{{{ciphers}}}}}"
    binary = unpacked / "usr/sbin/exim4"
    ports = " : ".join(map(str, chains))
    text = EXIM_CONFIGURATION.format(binary=binary, folder=folder, address=EXIM, ports=ports, ciphers=ciphers)
    (folder / "exim.conf").write_text(text, "ascii")
    return Daemon(namespace, [binary, "-C", folder / "exim.conf", "-bdf"], folder / "output.log")
