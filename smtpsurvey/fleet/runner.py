"""scrapyd's runner, which first fetches a target list that is given as URL (``runner = smtpsurvey.fleet.runner``).

The list is on the node's disk before the job begins, so the job needs nobody while it works. It is fetched once for
all jobs of the node, and again only when the server has another (ETag).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from importlib.metadata import version
from pathlib import Path

import requests
from scrapyd import Config

from smtpsurvey.fleet import FleetError

ARGUMENT = "targets="
SCHEMES = ("http://", "https://")
FOLDER = ".lists"  # no job is called so
TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two parts
MAX_LIST = 64 * 1024**3  # bytes
MAX_REDIRECTS = 5
BLOCK = 1024 * 1024
TOKEN = "FLEET_TOKEN"  # noqa: S105 - the name of a variable of the environment


def main() -> None:
    """Run ``scrapy`` of the deployed project, as scrapyd's own runner does."""
    from scrapyd import runner  # noqa: PLC0415 - it warns of its own dependencies, which is not for every import

    try:
        sys.argv[1:] = [_localised(argument) for argument in sys.argv[1:]]
    except FleetError as error:
        sys.exit(f"fleet: {error}")
    runner.main()


def _localised(argument: str) -> str:
    url = argument.removeprefix(ARGUMENT)
    if url == argument or not url.startswith(SCHEMES):
        return argument
    return f"{ARGUMENT}{fetch(url, Path(Config().get('fleet_dir', 'items')) / FOLDER)}"


def fetch(url: str, folder: Path) -> Path:
    """Fetch a list into a folder, unless it is there and has not changed; raises :class:`FleetError`.

    Credentials come from netrc, or as a bearer token from FLEET_TOKEN.
    """
    path = folder / hashlib.blake2b(url.encode(), digest_size=16).hexdigest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another job of this node may be fetching it
            _fetch(url, path)
    except requests.RequestException as error:
        raise FleetError(f"the target list cannot be fetched ({type(error).__name__})") from None
    except OSError as error:
        raise FleetError(f"{error.filename}: {error.strerror}") from None
    return path


def _fetch(url: str, path: Path) -> None:
    tag = path.with_suffix(".etag")
    headers = {"User-Agent": f"smtpsurvey/{version('smtpsurvey')}", "Accept-Encoding": "identity"}
    if os.environ.get(TOKEN):
        headers["Authorization"] = f"Bearer {os.environ[TOKEN]}"
    if path.exists() and tag.exists():
        headers["If-None-Match"] = tag.read_text("utf-8")
    with requests.Session() as session:
        session.max_redirects = MAX_REDIRECTS
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == requests.codes.not_modified:
                return
            if answer.status_code != requests.codes.ok:
                raise FleetError(f"the target list cannot be fetched (HTTP status {answer.status_code})")
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                raise FleetError("the target list is a page of HTML")
            partial = path.with_suffix(".part")
            size = 0
            with partial.open("wb") as file:
                for block in answer.iter_content(BLOCK):
                    size += len(block)
                    if size > MAX_LIST:
                        raise FleetError(f"the target list is larger than {MAX_LIST:,} bytes")
                    file.write(block)
            tag.unlink(missing_ok=True)
            partial.replace(path)
            if "ETag" in answer.headers:
                tag.write_text(answer.headers["ETag"], "utf-8")


if __name__ == "__main__":
    main()
