"""Three hosts: client, router, server, each a namespace; and what becomes of a SYN for each address range.

=================  ==================================================================
10.50.0.0/16       the server host's, answered
10.51.0.0/24       the server host's, SYNs dropped
10.51.2.0/24       rejected with ICMP "administratively prohibited" (type 3 code 13)
10.51.3.0/24       rejected with RST
10.51.4.0/24       rejected with ICMP port unreachable (code 3)
10.51.5.0/24       rejected with ICMP host unreachable (code 1)
10.52.0.0/16       the router has no route
fd50::/64          as 10.50.0.0/16; fd51:0::/64, fd51:2::/64 … as 10.51.0.0/24 and so on, fd52::/64 as 10.52.0.0/16
10.53.0.0/24 …     everything else goes to the client's default route, the router
=================  ==================================================================
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from servers.namespace import Namespace

if TYPE_CHECKING:
    from types import TracebackType

SERVER_RULES = """
table inet server {
  chain input {
    type filter hook input priority 0; policy accept;
    ip daddr 10.51.0.0/24 tcp flags & (syn|ack) == syn drop
    ip daddr 10.51.2.0/24 tcp dport 25 reject with icmp type admin-prohibited
    ip daddr 10.51.3.0/24 tcp dport 25 reject with tcp reset
    ip daddr 10.51.4.0/24 tcp dport 25 reject with icmp type port-unreachable
    ip daddr 10.51.5.0/24 tcp dport 25 reject with icmp type host-unreachable
    ip6 daddr fd51:0::/64 tcp flags & (syn|ack) == syn drop
    ip6 daddr fd51:2::/64 tcp dport 25 reject with icmpv6 type admin-prohibited
    ip6 daddr fd51:3::/64 tcp dport 25 reject with tcp reset
    ip6 daddr fd51:4::/64 tcp dport 25 reject with icmpv6 type port-unreachable
    ip6 daddr fd51:5::/64 tcp dport 25 reject with icmpv6 type addr-unreachable
  }
}
"""
# Every address that the client sends a SYN to, whatever becomes of it.
ROUTER_RULES = """
table inet router {
  set contacted { type ipv4_addr; size 65535; flags dynamic; }
  set contacted6 { type ipv6_addr; size 65535; flags dynamic; }
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    iifname "client" tcp flags & (syn|ack) == syn add @contacted { ip daddr }
    iifname "client" tcp flags & (syn|ack) == syn add @contacted6 { ip6 daddr }
  }
}
"""
ADDRESSES = (
    ("client", "10.49.1.2/24", "fd49:1::2/64", "router"),
    ("router", "10.49.1.1/24", "fd49:1::1/64", "client"),
    ("router", "10.49.2.1/24", "fd49:2::1/64", "server"),
    ("server", "10.49.2.2/24", "fd49:2::2/64", "router"),
)
SERVED = ("10.50.0.0/16", "10.51.0.0/16", "fd50::/64", "fd51::/16")


class Network:
    """The three hosts; a context manager. Each link is named after the host at its other end."""

    def __init__(self) -> None:
        with ExitStack() as stack:
            self.client, self.router, self.server = (self._host(stack, name) for name in ("client", "router", "server"))
            hosts = {"client": self.client, "router": self.router, "server": self.server}
            for host in ("client", "server"):
                hosts[host].ip("link", "add", "router", "type", "veth", "peer", "name", host, "netns", self.router.name)
            for host, ipv4, ipv6, link in ADDRESSES:
                hosts[host].ip("addr", "add", ipv4, "dev", link)
                hosts[host].ip("-6", "addr", "add", ipv6, "dev", link, "nodad")
                hosts[host].ip("link", "set", link, "up")
            self._route()
            self.server.nft(SERVER_RULES)
            self.router.nft(ROUTER_RULES)
            self._stack = stack.pop_all()

    def _host(self, stack: ExitStack, name: str) -> Namespace:
        namespace = Namespace(name)
        stack.callback(namespace.close)
        return namespace

    def _route(self) -> None:
        self.router.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for host, ipv4, ipv6 in ((self.client, "10.49.1.1", "fd49:1::1"), (self.server, "10.49.2.1", "fd49:2::1")):
            host.ip("route", "add", "default", "via", ipv4)
            host.ip("-6", "route", "add", "default", "via", ipv6)
        for host in (self.router, self.server):  # every refusal is told, however many
            host.sysctl("net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
        for prefix in SERVED:
            family, via = ("-6", "fd49:2::2") if ":" in prefix else ("-4", "10.49.2.2")
            self.server.ip(family, "route", "add", "local", prefix, "dev", "lo")
            self.router.ip(family, "route", "add", prefix, "via", via)

    def contacted(self) -> set[str]:
        """Return every address that got a SYN from the client."""
        return self.router.nft_set("router", "contacted") | self.router.nft_set("router", "contacted6")

    def forget_contacted(self) -> None:
        self.router.nft("flush set inet router contacted\nflush set inet router contacted6")

    def warm_up(self) -> None:
        """Let the neighbours find one another: the first IPv6 hop may take a second."""
        for ip in ("10.50.255.1", "fd50::ffff"):
            with self.client.inside():
                socket.create_connection((ip, 25), timeout=10).close()
        self.forget_contacted()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()
