"""The taking side: one image or model on its way from another host, as a unit of the host that takes it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from difyfleet.errors import HostError
from difyfleet.operations.onhost import execute
from difyfleet.operations.share_service import Service, two_files_command
from difyfleet.remote.jobs import Job, JobLook
from difyfleet.remote.neighbours import Offer

FOLDER = "/run/difyfleet/take"
_SCRIPT = Path(__file__).with_name("share_take_script.py")


class Taking:
    """One of them. `words` says how far it is.

    Args:
        on: the host that takes.
        donor: the host that has it.
        thing: see share.Thing.
    """

    def __init__(self, on: Any, donor: Any, thing: Any, offer: Offer) -> None:
        self._on, self.donor, self._thing, self.offer = on, donor, thing, offer
        kind, name = thing.key
        self._folder = f"{FOLDER}-{hashlib.sha256(f'{kind} {name}'.encode()).hexdigest()[:12]}"
        argv = ("python3", f"{self._folder}/take.py", self._folder)
        self.job = Job("take", f"{kind}-{name}", argv, thing.timeout)
        self.words = ""

    def start(self, source: tuple[Service, tuple[str, ...]]) -> None:
        """Start the unit. One that an earlier run left at work is waited for instead.

        Raises:
            HostError: it does not start.
        """
        service, urls = source
        order = {
            "urls": urls,
            "token": service.token,
            "size": self.offer.size,
            **self._thing.order(self.offer),
        }
        before = two_files_command(self._folder, "order.json", "take.py")
        ok, words = execute(
            self._on,
            self.job.start_command(before),
            stdin=f"{json.dumps(order)}\0{_SCRIPT.read_text()}",
            timeout=60,
        )
        if not ok:
            raise HostError(f"could not start: {words}")

    def ended(self) -> bool:
        """Look at it; True = it has come.

        Raises:
            HostError: it failed, with its last words.
        """
        look = self._on.get_fact(JobLook, unit=self.job.unit, log=self.job.log)
        lines = [line for line in look.tail.splitlines() if line.strip()]
        if look.state == "running":
            self.words = lines[-1] if lines else ""
            return False
        execute(self._on, self.job.forget_command(), timeout=60)
        if look.state != "done":
            raise HostError(
                lines[-1].removeprefix("error: ")
                if lines
                else f"its unit ended with {look.result or 'no word'}"
            )
        return True
