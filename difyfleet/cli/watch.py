"""What a person sees while a run is under way: one line per host with what it is busy with."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.table import Table

from difyfleet.progress import listen
from difyfleet.secrets import mask


class Watch:
    """The live display; `paused()` gives the terminal back for a question."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._busy: dict[str, str] = {}
        self._live = (
            Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        )
        self._printed: dict[str, str] = {}

    def __enter__(self) -> Watch:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        if self._live:
            self._live.stop()
        try:
            yield
        finally:
            if self._live:
                self._live.start()

    def __call__(self, host: str, text: str) -> None:
        self._busy[host] = mask(text)
        if self._live:
            table = Table.grid(padding=(0, 1))
            for name, busy in self._busy.items():
                table.add_row(f"[bold]{name}[/]", busy)
            self._live.update(table)
        else:
            # a percentage or a number of MB counting up is one line in a log, not a thousand
            step = re.split(r"%| MB", text)[0].rstrip("0123456789. ")
            if self._printed.get(host) != step:
                self._printed[host] = step
                self._console.print(f"{host}: {mask(text)}", highlight=False, markup=False)


@contextlib.contextmanager
def streaming() -> Iterator[None]:
    """Write events to standard output as JSON lines while the block runs (`--events`)."""
    from difyfleet.fleet import events
    from difyfleet.report.stream import JsonLines

    lines = JsonLines(sys.stdout)
    stops = [
        events.listen(lines),
        listen(lambda host, text: lines(events.Progress(host=host, text=text))),
    ]
    try:
        yield
    finally:
        for stop in stops:
            stop()


@contextlib.contextmanager
def watching(console: Console, *, quiet: bool, events: bool = False) -> Iterator[Watch]:
    """Show progress while the block runs; nothing with quiet, JSON lines on standard output with events."""
    watch = Watch(console)
    if events:
        with streaming():
            yield watch
        return
    if quiet:
        yield watch
        return
    stop = listen(watch)
    try:
        with watch:
            yield watch
    finally:
        stop()
