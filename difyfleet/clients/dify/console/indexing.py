"""Following the worker while it indexes documents."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from difyfleet.clients.dify.errors import IndexingStalled
from difyfleet.clients.dify.fields import Fields

COMPLETED, ERROR, PAUSED = "completed", "error", "paused"


@dataclass(frozen=True)
class IndexingStatus:
    """How far one document is. `total_segments` still grows while it is `splitting`."""

    document_id: str
    status: str
    completed_segments: int
    total_segments: int
    error: str | None

    @property
    def finished(self) -> bool:
        """Nothing more will happen by itself."""
        return self.status in (COMPLETED, ERROR, PAUSED)

    @property
    def usable(self) -> bool:
        """Completed, with something in it: an empty file completes with no segments."""
        return self.status == COMPLETED and self.completed_segments > 0


Progress = Callable[[Sequence[IndexingStatus]], None]


@dataclass
class Watch:
    """Polls `look` until all is finished.

    Args:
        look: one poll.
        where: what is watched, for messages.
        stall: longest time without a change, in seconds.
        pause: seconds between polls.
        progress: called at each change.
    """

    look: Callable[[], list[IndexingStatus]]
    where: str
    stall: float
    pause: float
    progress: Progress | None = None

    def run(self) -> list[IndexingStatus]:
        last: dict[str, IndexingStatus] = {}
        changed_at = time.monotonic()
        while True:
            now = {status.document_id: status for status in self.look()}
            if now != last:
                last, changed_at = now, time.monotonic()
                if self.progress:
                    self.progress(list(now.values()))
            if all(status.finished for status in now.values()):
                return list(now.values())
            if time.monotonic() - changed_at > self.stall:
                open_ = [status for status in now.values() if not status.finished]
                states = ", ".join(sorted({status.status for status in open_}))
                raise IndexingStalled(
                    f"{len(open_)} document(s) stay {states} for {self.stall:g} s", where=self.where
                )
            time.sleep(self.pause)


def parse_status(data: Fields) -> IndexingStatus:
    return IndexingStatus(
        document_id=data.text("id"),
        status=data.text("indexing_status"),
        completed_segments=data.integer("completed_segments", 0),
        total_segments=data.integer("total_segments", 0),
        error=data.text("error", None),
    )
