"""The lab as a process, visited by the clients of the standard library."""

from __future__ import annotations

import hashlib
import json
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from scrapy.cmdline import execute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

Truth = dict[str, Any]
HOSTS = 330
SCRAPY = (sys.executable, "-m", "scrapy", "lab")


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Lab:
    """A running lab."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.port = folder, free_port()
        files = [f"--{name}={folder / name}" for name in ("targets", "truth", "ca")]
        self.process = subprocess.Popen(
            [*SCRAPY, "--seed=11", f"--port={self.port}", *files, *options], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
        self.truth = [json.loads(line) for line in (folder / "truth").read_text().splitlines()]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=20)
        return self.process.returncode, output


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    running = Lab(tmp_path_factory.mktemp("lab"), f"--hosts={HOSTS}", "--live=0.97", "--nasty=0.4")
    yield running
    running.stop()


@contextmanager
def visit(host: Truth, timeout: float = 10) -> Iterator[socket.socket]:
    with closing(socket.create_connection((host["ip"], host["port"]), timeout)) as connection:
        yield connection


def one(lab: Lab, behaviour: str) -> Truth:
    return next(host for host in lab.truth if host["behaviour"] == behaviour)


def read_reply(connection: socket.socket) -> bytes:
    """Read up to the final line of a reply, or the end."""
    data = b""
    while chunk := connection.recv(1):
        data += chunk
        if chunk == b"\n" and data.splitlines()[-1][3:4] != b"-":
            break
    return data


def lax() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_says_what_it_serves_and_writes_targets_and_truth(lab: Lab) -> None:
    assert lab.ready == f"lab: {HOSTS} hosts, 320 live on port {lab.port}, ready\n"
    targets = (lab.folder / "targets").read_text().splitlines()
    assert len(targets) == HOSTS
    named = dict(target.split(",") for target in targets if "," in target)
    assert {host["ip"] for host in lab.truth} <= {target.partition(",")[0] for target in targets}
    assert all(named.get(host["ip"]) == host["name"] for host in lab.truth)
    assert len(lab.truth) == 320


def test_dead_hosts_refuse(lab: Lab) -> None:
    live = {host["ip"] for host in lab.truth}
    dead = [line.partition(",")[0] for line in (lab.folder / "targets").read_text().splitlines()]
    for ip in set(dead) - live:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((ip, lab.port), 5)


def at_once(check: Callable[[Truth], None], hosts: Iterable[Truth]) -> None:
    """Check hosts side by side, for each takes its time to greet."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(check, hosts))


def test_polite_hosts_of_every_product_talk_as_the_truth_says(lab: Lab) -> None:
    polite = {(host["product"], host["starttls"]): host for host in lab.truth if host["behaviour"] == "polite"}
    assert len({product for product, _ in polite}) >= 20
    at_once(talk, polite.values())


def talk(host: Truth) -> None:
    client = smtplib.SMTP(local_hostname="client.example", timeout=10)
    client._host = host["ip"]
    code, message = client.connect(host["ip"], host["port"])
    assert (code, message.decode()) == (host["greeting_code"], host["greeting"])
    assert client.ehlo()[0] == 250
    assert client.has_extn("starttls") == (host["starttls"] != "not_offered")
    if host["starttls"] == "ok":
        assert client.starttls(context=lax())[0] == 220
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.version() == host["tls_version"]
        certificate = client.sock.getpeercert(binary_form=True)
        assert certificate is not None
        assert hashlib.sha256(certificate).hexdigest() == host["certificate_sha256"]
        assert client.ehlo()[0] == 250
        assert not client.has_extn("starttls")
    elif host["starttls"] == "failed":
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
            client.starttls(context=lax())
        return
    assert client.quit()[0] == 221


def test_server_answers_by_the_name_we_gave(lab: Lab) -> None:
    host = next(host for host in lab.truth if host["behaviour"] == "polite" and host["product"] == "Sendmail")
    with smtplib.SMTP(host["ip"], host["port"], "me.example", 10) as client:
        _, reply = client.ehlo()
    assert b"Hello me.example [127.0.0.1], pleased to meet you" in reply


def test_certificates_are_trusted_as_the_truth_says(lab: Lab) -> None:
    context = ssl.create_default_context(cafile=str(lab.folder / "ca"))
    hosts = [host for host in lab.truth if host["behaviour"] == "polite" and host["starttls"] == "ok" and host["name"]]

    def verify(host: Truth) -> None:
        with smtplib.SMTP(host["ip"], host["port"], "me.example", 10) as client:
            client._host = host["name"]  # what smtplib verifies and sends as SNI
            if host["trusted"] and host["matches_name"]:
                assert client.starttls(context=context)[0] == 220
            else:
                with pytest.raises(ssl.SSLCertVerificationError):
                    client.starttls(context=context)
                client.close()

    at_once(verify, hosts[:40])
    assert {(host["trusted"], host["matches_name"]) for host in hosts[:40]} >= {(True, True), (False, False)}


def test_silent_host_accepts_and_says_nothing(lab: Lab) -> None:
    with visit(one(lab, "silent"), timeout=0.5) as connection, pytest.raises(TimeoutError):
        connection.recv(1)


def test_hosts_that_close_or_reset_at_once(lab: Lab) -> None:
    with visit(one(lab, "accept_close")) as connection:
        assert connection.recv(1) == b""
    with pytest.raises(ConnectionResetError), visit(one(lab, "accept_reset")) as connection:
        connection.recv(1)


@pytest.mark.parametrize("behaviour", ["busy_421", "refuse_554"])
def test_refusing_greeting_ends_in_a_close_and_never_in_a_reset(lab: Lab, behaviour: str) -> None:
    with visit(one(lab, behaviour)) as connection:
        assert read_reply(connection).startswith(behaviour[-3:].encode())
        connection.sendall(b"QUIT\r\n")
        assert connection.recv(100) == b""


def test_refusing_greeting_that_stays_answers_quit(lab: Lab) -> None:
    with visit(one(lab, "refuse_554_stay")) as connection:
        assert read_reply(connection).count(b"\r\n") == 3
        connection.sendall(b"QUIT\r\n")
        assert read_reply(connection).startswith(b"221")


@pytest.mark.parametrize(("behaviour", "bound"), [("endless_lines", 65536), ("long_line", 65536)])
def test_oversize_greetings_go_over_every_bound(lab: Lab, behaviour: str, bound: int) -> None:
    with visit(one(lab, behaviour)) as connection:
        data = b""
        while len(data) <= bound:
            data += connection.recv(65536)
    lines = data.splitlines()
    assert len(lines) > 256 or len(lines[0]) > 4096
    assert all(line.startswith(b"220") for line in lines[:-1])


def test_slow_greetings_are_complete_in_the_end(lab: Lab) -> None:
    for behaviour in ("teaser", "drip"):
        host = one(lab, behaviour)
        with visit(host) as connection:
            first = connection.recv(4096)
            assert len(first) < len(host["greeting"]) or first.startswith(b"220-")
            rest = first + read_reply(connection)
            assert rest.splitlines()[-1].startswith(b"220 ")
            assert host["greeting"].splitlines()[-1].encode() in rest


def test_endless_teaser_goes_on_and_never_ends(lab: Lab) -> None:
    with visit(one(lab, "endless_teaser")) as connection:
        lines = [read_line(connection) for _ in range(3)]
    assert all(line.startswith(b"220-") for line in lines)


def read_line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        data += connection.recv(1)
    return data


@pytest.mark.parametrize("behaviour", ["binary", "http", "ssh"])
def test_hosts_that_speak_something_else(lab: Lab, behaviour: str) -> None:
    with visit(one(lab, behaviour)) as connection:
        line = read_line(connection)
    assert not line[:3].isdigit()


@pytest.mark.parametrize(
    ("behaviour", "check"),
    [
        ("wordless", lambda greeting, _: greeting == b"220\r\n"),
        ("not_ascii", lambda greeting, _: b"\xe0" in greeting and b"\x00" in greeting),
        ("bare_lf", lambda greeting, ehlo: b"\r" not in greeting + ehlo),
        ("lower_case", lambda _, ehlo: b"250-starttls" in ehlo or b"250 starttls" in ehlo),
        ("ehlo_refused", lambda _, ehlo: ehlo.startswith(b"500")),
        ("ehlo_close", lambda _, ehlo: ehlo == b""),
        ("ehlo_garbage", lambda _, ehlo: ehlo.startswith(b"Segmentation")),
    ],
)
def test_odd_replies(lab: Lab, behaviour: str, check: Callable[[bytes, bytes], bool]) -> None:
    with visit(one(lab, behaviour)) as connection:
        greeting = read_reply(connection)
        connection.sendall(b"EHLO me.example\r\n")
        assert check(greeting, read_reply(connection))


def test_helo_works_where_ehlo_does_not(lab: Lab) -> None:
    host = one(lab, "ehlo_refused")
    with smtplib.SMTP(host["ip"], host["port"], "me.example", 10) as client:
        assert client.ehlo()[0] == 500
        assert client.helo()[0] == 250


def test_reset_on_ehlo(lab: Lab) -> None:
    with visit(one(lab, "ehlo_reset")) as connection:
        read_reply(connection)
        connection.sendall(b"EHLO me.example\r\n")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def begin_starttls(host: Truth) -> smtplib.SMTP:
    client = smtplib.SMTP(host["ip"], host["port"], "me.example", 10)
    client.ehlo()
    assert client.has_extn("starttls")
    return client


def test_starttls_refused(lab: Lab) -> None:
    with begin_starttls(one(lab, "starttls_454")) as client:
        assert client.docmd("STARTTLS")[0] == 454
        assert client.quit()[0] == 221


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("starttls_close", "(?i)eof"),
        ("tls_garbage", "(?i)wrong.version.number|record.layer.failure"),
        ("tls_alert", "(?i)internal.error"),
        ("tls_stall", "timed out"),
    ],
)
def test_handshakes_that_fail(lab: Lab, behaviour: str, words: str) -> None:
    client = begin_starttls(one(lab, behaviour))
    assert client.sock is not None
    client.sock.settimeout(0.5 if behaviour == "tls_stall" else 10)
    with pytest.raises(OSError, match=words):
        client.starttls(context=lax())


def test_stray_plaintext_comes_before_a_handshake_that_works(lab: Lab) -> None:
    host = one(lab, "stray_plaintext")
    with visit(host) as connection:
        read_reply(connection)
        connection.sendall(b"EHLO me.example\r\n")
        read_reply(connection)
        connection.sendall(b"STARTTLS\r\n")
        assert read_reply(connection).startswith(b"220")
        assert read_line(connection).decode() == host["stray_plaintext"]
        with lax().wrap_socket(connection) as secure:
            assert secure.version() == host["tls_version"]


def test_close_on_ehlo_inside_tls(lab: Lab) -> None:
    client = begin_starttls(one(lab, "tls_ehlo_close"))
    client.starttls(context=lax())
    with pytest.raises((smtplib.SMTPServerDisconnected, ssl.SSLError)):
        client.ehlo()


def test_farewells_that_are_none(lab: Lab) -> None:
    client = smtplib.SMTP(*(one(lab, "quit_close")[key] for key in ("ip", "port")), "me.example", 10)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.docmd("QUIT")
    client = smtplib.SMTP(*(one(lab, "quit_hang")[key] for key in ("ip", "port")), "me.example", 0.5)
    with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
        client.docmd("QUIT")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_with_a_count_of_what_visitors_did(tmp_path: Path, number: signal.Signals) -> None:
    lab = Lab(tmp_path, "--hosts=10", "--live=1", "--nasty=0")
    for host in lab.truth[:2]:
        with visit(host) as connection:
            read_reply(connection)
            connection.sendall(b"MAIL FROM:<me@example.org>\r\n")
            assert read_reply(connection)[:1] == b"5"
    with visit(lab.truth[3]) as connection:
        connection.sendall(b"EHLO too.early.example\r\n")
        read_reply(connection)
        read_reply(connection)
    assert lab.stop(number) == (
        0,
        "lab: 3 sessions, 0 TLS handshakes, 1 spoke too early, 2 commands beside EHLO, HELO, STARTTLS and QUIT\n",
    )


def test_duration_ends_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "--hosts=4", "--live=1", "--duration=0.05")
    output, _ = lab.process.communicate(timeout=20)
    assert (lab.process.returncode, output.startswith("lab: 0 sessions")) == (0, True)


def test_many_visitors_at_once_are_all_served(lab: Lab) -> None:
    hosts = [host for host in lab.truth if host["behaviour"] == "polite"]
    connections = [socket.create_connection((host["ip"], host["port"]), 20) for host in hosts for _ in range(3)]
    replies: list[bytes] = []
    threads = [threading.Thread(target=lambda c=c: replies.append(read_reply(c))) for c in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for connection in connections:
        connection.close()
    assert len(replies) == 3 * len(hosts)
    assert all(reply.startswith(b"220") for reply in replies)


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ([], 2, "--hosts says how many"),
        (["--hosts=0"], 1, "lab: --hosts: 0 is not in 1-"),
        (["--hosts=10", "--live=2"], 1, "lab: --live: 2.0 is not in 0-1"),
        (["--hosts=10", "--port=70000"], 1, "lab: --port: 70000 is not in 1-65535"),
        (["--hosts=10", "--market=/nowhere.toml"], 1, "lab: /nowhere.toml: No such file or directory"),
        (["--hosts=10", "--targets=/nowhere/targets"], 1, "lab: /nowhere/targets: No such file or directory"),
        (["check", "--truth=/nowhere", "--feed=/nowhere"], 1, "lab: /nowhere: No such file or directory"),
        (["check"], 2, "check needs --truth"),
        (["chek"], 2, "the only argument is check"),
    ],
)
def test_mistakes_are_told_in_one_line(
    options: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        execute(["scrapy", "lab", *options])
    assert exit_.value.code == status
    assert words in capsys.readouterr().err


def test_port_in_use_is_told(lab: Lab) -> None:
    options = [f"--hosts={HOSTS}", "--seed=11", f"--port={lab.port}", "--live=0.97"]
    done = subprocess.run([*SCRAPY, *options], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith(f" port {lab.port}: Address already in use\n")


def test_too_many_live_hosts_for_the_descriptor_limit() -> None:
    shell = 'ulimit -n 2000; exec "$@"'
    command = ["bash", "-c", shell, "bash", *SCRAPY, "--hosts=1000", "--live=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "lab: 1000 live hosts need 2024 file descriptors, and RLIMIT_NOFILE allows 2000\n"


def test_check_judges_a_feed_and_escapes_what_the_wire_said(lab: Lab, tmp_path: Path) -> None:
    def item(host: Truth) -> Truth:
        tls = {
            "version": host["tls_version"],
            "error": host["tls_error"],
            "stray_plaintext": host.get("stray_plaintext"),
            "certificate": {"sha256": host["certificate_sha256"]},
            "matches_name": host.get("matches_name"),
        }
        return {
            "ip": host["ip"],
            "port": host["port"],
            "outcome": host["outcome"],
            "greeting": {"code": host["greeting_code"], "text": host["greeting"]},
            "starttls": host["starttls"],
            "interrupted": host.get("interrupted"),
            "tls": tls,
            "software": {name: host[name] for name in ("vendor", "product", "version")},
        }

    def check(items: list[Truth]) -> subprocess.CompletedProcess[str]:
        feed = tmp_path / "feed.jsonl"
        feed.write_text("".join(json.dumps(item) + "\n" for item in items))
        command = [*SCRAPY, "check", f"--truth={lab.folder / 'truth'}", f"--feed={feed}"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    items = [item(host) for host in lab.truth]
    done = check(items)
    hidden = sum(host["hidden"] for host in lab.truth)
    assert done.returncode == 0
    assert done.stdout == (
        "320 of 320 live servers found, shares within 0.00 points; "
        f"of {hidden} hidden {hidden} named rightly, 0 wrongly\n"
    )
    polite = next(item for item in items if item["outcome"] == "ok")
    polite["greeting"]["text"] = "[red]\x1b[31m"
    done = check(items)
    assert done.returncode == 1
    assert "1 of 1 mismatches" in done.stdout
    assert "[red]\\x1b[31m" in done.stdout
    assert "\x1b" not in done.stdout
