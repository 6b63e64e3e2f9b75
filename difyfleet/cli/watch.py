"""What a person sees while a run is under way: one line per host with what it is busy with, a bar for what it downloads, and a total."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from difyfleet.cli.amounts import Amounts
from difyfleet.progress import Amount, listen
from difyfleet.secrets import mask

_ALL = "all hosts"
_WIDTH = 20  # columns of a bar


class Watch:
    """The live display; `paused()` gives the terminal back for a question."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._busy: dict[str, str] = {}
        self._live = (
            Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        )
        self._printed: dict[str, str] = {}
        self._amounts = Amounts()
        self._tenths: dict[str | None, int] = {}

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
            self._live.update(self._table())
        else:
            # a percentage or a number of MB counting up is one line in a log, not a thousand
            step = re.split(r"%| MB", text)[0].rstrip("0123456789. ")
            if self._printed.get(host) != step:
                self._printed[host] = step
                self._console.print(f"{host}: {mask(text)}", highlight=False, markup=False)

    def count(self, host: str, amount: Amount) -> None:
        """What came to a host: a bar for it and one for all, or without a terminal a line for each tenth."""
        self._amounts.add(host, amount)
        if self._live:
            self._busy.setdefault(host, "")
            self._live.update(self._table())
            return
        for name, label in ((host, host), (None, _ALL)):
            tenth = int(self._amounts.share(name) * 10)
            if (name or len(self._amounts.hosts()) > 1) and self._tenths.get(name) != tenth:
                self._tenths[name] = tenth
                line = f"{label}: {tenth * 10}%, {self._amounts.words(name)}"
                self._console.print(line, highlight=False, markup=False)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        counted = self._amounts.hosts()
        for name, busy in self._busy.items():
            cells = self._bar(name) if name in counted else ("", "")
            table.add_row(f"[bold]{name}[/]", *(cells if counted else ()), Text(busy))
        if len(counted) > 1:
            table.add_row(f"[bold]{_ALL}[/]", *self._bar(None), "")
        return table

    def _bar(self, host: str | None) -> tuple[ProgressBar, str]:
        return ProgressBar(1.0, self._amounts.share(host), width=_WIDTH), self._amounts.words(host)


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
    stop = listen(watch, watch.count)
    try:
        with watch:
            yield watch
    finally:
        stop()
