"""Fixtures that many tests share: real mail servers in a network namespace of this run's own."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from servers.certificate import ServerCertificate, make_certificate
from servers.exim import start_exim
from servers.libraries import start_aiosmtpd, start_smtp_server
from servers.namespace import PREFIX, Namespace, sweep
from servers.network import Network
from servers.opensmtpd import start_opensmtpd
from servers.postfix import start_postfix, start_smtp_sink
from servers.responder import start_responder
from servers.sendmail import start_sendmail

if TYPE_CHECKING:
    from collections.abc import Iterator

# The servers' own files lie here too, not in the system's folder for temporary files: servers run as users of their own
# and distrust world-writable folders.
CACHE = Path("/var/cache/smtpsurvey-tests")


class MailServers(NamedTuple):
    """The real servers, all up: where they run, and the certificate that each shows."""

    namespace: Namespace
    tls: ServerCertificate


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """Give a folder that servers under other users may read."""
    if not CACHE.is_dir():
        pytest.fail("the servers are not installed: run tests/install-packages as root")
    sweep(CACHE)
    folder = CACHE / f"{PREFIX}{os.getpid()}"
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def certificate(server_folder: Path) -> ServerCertificate:
    return make_certificate(server_folder)


@pytest.fixture(scope="session")
def mail_servers(server_folder: Path, certificate: ServerCertificate) -> Iterator[MailServers]:
    """Start every real server once, side by side, and stop them at the end."""
    with ExitStack() as stack:
        namespace = Namespace("servers")
        stack.callback(namespace.close)
        started = (
            (start_postfix(namespace, server_folder / "postfix", certificate), "127.0.1.1"),
            (start_smtp_sink(namespace, server_folder), "127.0.1.11"),
            (start_exim(namespace, server_folder / "exim", certificate, CACHE / "exim"), "127.0.1.2"),
            (start_opensmtpd(namespace, server_folder / "opensmtpd", certificate, CACHE / "opensmtpd"), "127.0.1.3"),
            (start_sendmail(namespace, server_folder / "sendmail", certificate, CACHE / "sendmail"), "127.0.1.4"),
            (start_aiosmtpd(namespace, server_folder, certificate), "127.0.1.6"),
            (start_smtp_server(namespace, server_folder, certificate, _node_modules()), "127.0.1.8"),
        )
        for daemon, _ in started:
            stack.callback(daemon.stop)
        for daemon, ip in started:
            daemon.wait_until_listening(ip, 2525)
        yield MailServers(namespace, certificate)


@pytest.fixture(scope="session")
def network(server_folder: Path) -> Iterator[Network]:
    """Build three hosts in a row, client, router, server, with a responder on port 25 of the last."""
    with Network() as network:
        responder = start_responder(network.server, server_folder)
        try:
            network.warm_up()
            yield network
        finally:
            responder.stop()


@pytest.fixture
def alone() -> Iterator[Namespace]:
    """Give a host with nothing but its loopback."""
    namespace = Namespace("alone")
    yield namespace
    namespace.close()


def _node_modules() -> Path:
    (installed,) = (CACHE / "npm").glob("smtp-server@*")
    return installed / "node_modules"
