"""A headless Chromium and a web server for it. Where Chromium is missing it is installed; where it cannot be, these tests fail."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab import engine

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = (
    "--headless=new", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-extensions", "--hide-scrollbars", "--window-size=1800,1200",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder and keeps the paths that were asked for."""

    def __init__(self, *args: Any, asked: list[str], **more: Any) -> None:
        self.asked = asked
        super().__init__(*args, **more)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()


@dataclass
class Site:
    """A folder of pages on 127.0.0.1.

    Args:
        asked: paths of all requests.
    """

    folder: Path
    url: str
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    asked: list[str] = []
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Handler, asked=asked, directory=str(tmp_path))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Site(tmp_path, f"http://127.0.0.1:{server.server_port}", asked)
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Chromium:
    """The browser, with a profile of its own."""

    program: str
    profile: Path

    def visit(self, url: str, *options: str) -> tuple[str, list[str]]:
        """Load a page: the document after loading, and the lines of its console."""
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()
        argv = [
            self.program,
            *_QUIET,
            *root,
            f"--user-data-dir={self.profile}",
            "--enable-logging=stderr",
            *options,
        ]
        done = subprocess.run(
            [*argv, "--dump-dom", url], capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Chromium:
    found = next((name for name in _NAMES if shutil.which(name)), None)
    if found is None:
        engine.ensure("chromium")  # raises where it cannot be had
        found = "chromium"
    return Chromium(found, tmp_path_factory.mktemp("chromium"))
