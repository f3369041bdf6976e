import errno
import gzip
import io
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpsurvey.targets.source import BLOCK, BlockReader, TargetsError, open_targets

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINES = "".join(f"192.0.2.{random.Random(7).randrange(256)},{n}\n" for n in range(300)).encode()
Pack = Callable[[bytes], bytes]
COMPRESSORS = {"gz": gzip.compress, "zst": zstd.compress}


def read_all(reader: BlockReader) -> tuple[list[bytes], str | None]:
    """The blocks of a list, and the error it ended with."""
    blocks: list[bytes] = []
    with closing(reader):
        try:
            while block := reader.read():
                blocks.append(block)
        except TargetsError as error:
            return blocks, str(error)
    return blocks, None


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


class Dribble(io.FileIO):
    """A file that gives one byte a read, as a slow pipe does."""

    def readinto(self, buffer: bytearray) -> int:
        return super().readinto(memoryview(buffer)[:1])


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress])
def test_a_list_reads_the_same_plain_and_compressed_whatever_its_name(tmp_path: Path, pack: Pack) -> None:
    for name in ("list", "list.gz", "list.zst"):
        assert read_all(open_targets(write(tmp_path / name, pack(LINES)))) == ([LINES], None)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress])
def test_archives_put_together_and_read_byte_by_byte_read_as_one_list(tmp_path: Path, pack: Pack) -> None:
    path = write(tmp_path / "list", pack(LINES) + pack(LINES))
    blocks, error = read_all(BlockReader("list", Dribble(path)))
    assert (b"".join(blocks), error) == (LINES + LINES, None)


def test_an_empty_file_has_no_block(tmp_path: Path) -> None:
    assert read_all(open_targets(write(tmp_path / "empty", b""))) == ([], None)
    for pack in COMPRESSORS.values():
        assert read_all(open_targets(write(tmp_path / "empty", pack(b"")))) == ([], None)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress])
def test_no_block_is_larger_than_the_bound_however_well_it_compresses(tmp_path: Path, pack: Pack) -> None:
    content = b"192.0.2.1\n" * 300_000
    blocks, error = read_all(open_targets(write(tmp_path / "list", pack(content))))
    assert (b"".join(blocks), error) == (content, None)
    assert max(map(len, blocks)) <= BLOCK


def test_what_cannot_be_opened_is_named_with_the_reason(tmp_path: Path) -> None:
    missing = tmp_path / "missing.txt"
    for path, reason in [
        (str(missing), f"{missing}: No such file or directory"),
        (str(tmp_path), f"{tmp_path}: Is a directory"),
        ("a\0b", r"'a\x00b': no file name (embedded null byte)"),
    ]:
        with pytest.raises(TargetsError) as caught:
            open_targets(path)
        assert str(caught.value) == reason


def test_a_file_that_is_not_ours_to_read_is_named_with_the_reason(tmp_path: Path) -> None:
    path = write(tmp_path / "secret", LINES)
    Path(path).chmod(0)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root reads everything
    try:
        with pytest.raises(TargetsError, match="secret: Permission denied"):
            open_targets(path)
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("content", [b"\x1f", b"\x28", b"\x28\xb5\x2f"])
def test_a_file_that_ends_within_the_mark_of_an_archive_is_plain(tmp_path: Path, content: bytes) -> None:
    assert read_all(BlockReader("list", Dribble(write(tmp_path / "list", content)))) == ([content], None)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress])
def test_binary_data_is_refused_at_once_also_inside_an_archive(tmp_path: Path, pack: Pack) -> None:
    path = write(tmp_path / "image", pack(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"))
    assert read_all(open_targets(path)) == ([], f"{path}: binary data, not a list of targets")


@pytest.mark.parametrize(("kind", "magic"), [("gz", 2), ("zst", 4)])
def test_an_archive_cut_anywhere_gives_a_start_of_the_list_and_then_the_error(
    tmp_path: Path, kind: str, magic: int
) -> None:
    archive = COMPRESSORS[kind](LINES)
    for cut in range(magic, len(archive)):
        path = write(tmp_path / "list", archive[:cut])
        blocks, error = read_all(open_targets(path))
        assert LINES.startswith(b"".join(blocks))
        assert error == f"{path}: the archive is truncated"


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_a_truncated_archive_first_gives_what_came_before(tmp_path: Path, kind: str) -> None:
    content = "".join(f"{n}\n" for n in random.Random(1).sample(range(1 << 32), 60_000)).encode()
    path = write(tmp_path / "list", COMPRESSORS[kind](content)[:-20])
    blocks, error = read_all(open_targets(path))
    assert len(b"".join(blocks)) > len(content) * 3 // 4
    assert content.startswith(b"".join(blocks))
    assert error == f"{path}: the archive is truncated"


@pytest.mark.parametrize(("kind", "magic"), [("gz", 2), ("zst", 4)])
def test_a_corrupt_archive_is_named(tmp_path: Path, kind: str, magic: int) -> None:
    archive = COMPRESSORS[kind](LINES)
    path = write(tmp_path / "list", archive[:magic] + bytes(255 - byte for byte in archive[magic:]))
    blocks, error = read_all(open_targets(path))
    assert blocks == []
    assert error is not None
    assert error.startswith(f"{path}: the archive is corrupt (")
    assert "\n" not in error


def test_a_wrong_checksum_is_told_after_the_list(tmp_path: Path) -> None:
    archive = bytearray(gzip.compress(LINES))
    archive[-8] ^= 1
    path = write(tmp_path / "list", bytes(archive))
    blocks, error = read_all(open_targets(path))
    assert blocks == [LINES]
    assert error is not None
    assert error.startswith(f"{path}: the archive is corrupt (CRC check failed")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(magic=st.sampled_from([b"", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"]), rest=st.binary())
def test_random_bytes_end_in_nothing_but_a_targets_error(tmp_path: Path, magic: bytes, rest: bytes) -> None:
    _, error = read_all(open_targets(write(tmp_path / "list", magic + rest)))
    assert error is None or error.startswith(f"{tmp_path}")


def test_a_failing_disk_is_a_targets_error(tmp_path: Path) -> None:
    class Failing(io.FileIO):
        def readinto(self, _: bytearray) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = write(tmp_path / "list", LINES)
    assert read_all(BlockReader(path, Failing(path))) == ([], f"{path}: Input/output error")


def test_a_read_that_another_reader_of_the_pipe_beat_waits_again(tmp_path: Path) -> None:
    class Beaten(io.FileIO):
        beaten = 0

        def readinto(self, buffer: bytearray) -> int | None:
            self.beaten += 1
            return super().readinto(buffer) if self.beaten > 2 else None

    path = write(tmp_path / "list", LINES)
    assert read_all(BlockReader("list", Beaten(path))) == ([LINES], None)


def test_standard_input_streams() -> None:
    """Each line arrives although the pipe stays open; gzip comes through as well."""
    program = (
        "from smtpsurvey.targets.source import open_targets\n"
        "reader = open_targets('-')\n"
        "while block := reader.read(): print(block, flush=True)\n"
        "reader.close()\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        for line in (b"192.0.2.1\n", b"192.0.2.2\n192.0"):
            child.stdin.write(line)
            child.stdin.flush()
            assert child.stdout.readline() == f"{line!r}\n".encode()
        child.stdin.close()
        assert child.stdout.read() == b""
        assert child.wait() == 0
    done = subprocess.run(command, input=gzip.compress(b"::1\n"), capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"b'::1\\n'\n", b"")


def test_a_closed_standard_input_is_a_targets_error() -> None:
    program = (
        "import os; os.close(0)\n"
        "from smtpsurvey.targets.source import TargetsError, open_targets\n"
        "try: open_targets('-')\n"
        "except TargetsError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"-: Bad file descriptor\n"


@pytest.mark.parametrize("begin", [b"192.0.2.1\n", gzip.compress(b"192.0.2.1\n"), zstd.compress(b"192.0.2.1\n")])
def test_close_ends_a_read_that_waits_for_a_pipe(begin: bytes) -> None:
    out, into = os.pipe()
    os.write(into, begin)
    reader = open_targets(f"/dev/fd/{out}")
    os.close(out)
    blocks: list[bytes] = []
    begun = threading.Event()

    def read() -> None:
        begun.set()
        while block := reader.read():
            blocks.append(block)
        blocks.append(b"")

    thread = threading.Thread(target=read)
    thread.start()
    begun.wait()
    reader.close()
    thread.join(10)
    os.close(into)
    assert not thread.is_alive()
    assert blocks[-1] == b""
    assert reader.read() == b""
    reader.close()
