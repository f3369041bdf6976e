"""nsd and unbound: the zones of a test, and a resolver that knows nothing else."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from servers.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from servers.namespace import Namespace

NSD, NSD_PORT = "127.0.0.53", 5353
UNBOUND, UNBOUND_PORT = "127.0.0.54", 5354

NSD_CONF = """\
server:
  ip-address: {address}@{port}
  username: ""
  chroot: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd.state"
  zonelistfile: "{folder}/zone.list"
  xfrdir: "{folder}"
  server-count: 1
  rrl-ratelimit: 0
remote-control:
  control-enable: no
"""
UNBOUND_CONF = """\
server:
  interface: {address}@{port}
  access-control: 127.0.0.0/8 allow
  directory: "{folder}"
  username: ""
  chroot: ""
  pidfile: "{folder}/unbound.pid"
  logfile: "{folder}/unbound.log"
  use-syslog: no
  msg-cache-size: 64m
  rrset-cache-size: 128m
  num-threads: 1
  so-reuseport: no
  module-config: "{modules}"
  do-not-query-localhost: no
  local-zone: "." static
  local-zone: "example." nodefault
  local-zone: "127.in-addr.arpa." nodefault
  local-zone: "10.in-addr.arpa." nodefault
{anchor}{zones}remote-control:
  control-enable: no
"""
_STUB = 'stub-zone:\n  name: "{zone}."\n  stub-addr: {address}@{port}\n'


@contextmanager
def nsd(namespace: Namespace, folder: Path, zones: Mapping[str, str], address: str = NSD) -> Iterator[str]:
    """Serve zones (master files by their names) with nsd; give the address with port."""
    folder.mkdir(parents=True, exist_ok=True)
    conf = NSD_CONF.format(folder=folder, address=address, port=NSD_PORT)
    for number, (zone, text) in enumerate(zones.items()):
        (folder / f"{number}.zone").write_text(text)
        conf += f'zone:\n  name: "{zone}"\n  zonefile: "{number}.zone"\n'
    (folder / "nsd.conf").write_text(conf)
    yield from _running(namespace, ["nsd", "-d", "-c", folder / "nsd.conf"], folder / "nsd.out", address, NSD_PORT)


@contextmanager
def unbound(
    namespace: Namespace, folder: Path, zones: Mapping[str, str], address: str = UNBOUND, anchor: str | None = None
) -> Iterator[str]:
    """Resolve with unbound what nsd serves, and nothing else; with a trust anchor (a DS record) it validates."""
    folder.mkdir(parents=True, exist_ok=True)
    stubs = "".join(_STUB.format(zone=zone, address=NSD, port=NSD_PORT) for zone in zones)
    (folder / "unbound.conf").write_text(
        UNBOUND_CONF.format(
            folder=folder,
            address=address,
            port=UNBOUND_PORT,
            modules="iterator" if anchor is None else "validator iterator",
            anchor="" if anchor is None else f'  trust-anchor: "{anchor}"\n',
            zones="".join(f'  local-zone: "{zone}." transparent\n' for zone in zones) + stubs,
        )
    )
    # stubs end the section of the server; remote-control begins the next
    argv: list[str | Path] = ["unbound", "-d", "-c", folder / "unbound.conf"]
    yield from _running(namespace, argv, folder / "unbound.out", address, UNBOUND_PORT)


@contextmanager
def dns(namespace: Namespace, folder: Path, zones: Mapping[str, str]) -> Iterator[str]:
    """Serve zones with nsd, resolved by unbound; give unbound's address with port."""
    with ExitStack() as stack:
        stack.enter_context(nsd(namespace, folder / "nsd", zones))
        yield stack.enter_context(unbound(namespace, folder / "unbound", zones))


def _running(namespace: Namespace, argv: list[str | Path], log: Path, address: str, port: int) -> Iterator[str]:
    daemon = Daemon(namespace, argv, log)
    daemon.wait_until_listening(address, port)
    try:
        yield f"{address}:{port}"
    finally:
        daemon.stop()
