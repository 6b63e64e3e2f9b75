"""Which registry mirrors are written: the declared ones that answered like a registry when the host asked them.

The rule, made so that a mirror that flaps does not make every plan dirty:
- an answer is recorded once (/etc/difyfleet/mirrors.json) and stands, alive or dead; asking again is asked for (`--reprobe-mirrors`);
- a mirror without a recorded answer is asked, in a plan too: asking is reading;
- while no declared mirror has a recorded good answer, all are asked at every run. Nothing found = nothing changes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pyinfra import host

from difyfleet.facts.mirrors import Answer, MirrorProbe, MirrorRecord
from difyfleet.spec.models import Docker

_MEMO = "difyfleet.mirror-answers"
_MEMO_SECONDS = 900.0  # a plan and the apply that follows it see the same answers


@dataclass(frozen=True)
class Mirrors:
    """The declared mirrors and what is known of them."""

    declared: tuple[str, ...]
    answers: Mapping[str, Answer] = field(default_factory=dict)  # of the declared ones, recorded or new
    fresh: tuple[str, ...] = ()  # those asked in this run whose answer is not recorded as it is now
    limit: int = 0  # at most this many are written; 0 = all

    @property
    def alive(self) -> tuple[str, ...]:
        """What goes into daemon.json, in the declared order."""
        live = [url for url in self.declared if url not in self.answers or self.answers[url].alive]
        return tuple(live[: self.limit] if self.limit else live)

    @property
    def left_out(self) -> dict[str, str]:
        """Mirror -> why it is not written."""
        return {url: answer.reason for url, answer in self.answers.items() if not answer.alive}


def normal(url: str) -> str:
    """The form in which mirrors are compared: dockerd drops a trailing slash and duplicates."""
    return url.strip().rstrip("/")


def distinct(urls: Iterable[str]) -> tuple[str, ...]:
    """Mirrors without duplicates, order kept."""
    return tuple(dict.fromkeys(normal(url) for url in urls))


def on_hub(image: str) -> str | None:
    """An image as a mirror knows it (`library/nginx:1.27.3`); None = not on Docker Hub, mirrors do not serve it."""
    name, _, digest = image.partition("@")
    first, _, rest = name.partition("/")
    if first in ("docker.io", "index.docker.io") and rest:
        name = rest
    elif rest and ("." in first or ":" in first or first == "localhost"):
        return None
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        path, tag = name, "latest"
    path = path if "/" in path else f"library/{path}"
    return f"{path}:{digest or tag}" if not digest else None


def probe_image(images: Iterable[str]) -> str:
    """The image that mirrors are asked for; "" where the host wants none from Docker Hub."""
    return next((found for found in map(on_hub, images) if found), "")


def known(docker: Docker, images: Iterable[str]) -> Mirrors:
    """The declared mirrors with their answers, asking those that must be asked (see the rule above). Reads only."""
    declared = distinct(docker.mirrors)
    if not docker.mirror_probe or not declared:
        return Mirrors(declared, limit=docker.mirror_max)
    record = host.get_fact(MirrorRecord)
    recorded = {url: record[url] for url in declared if url in record}
    again = bool(host.data.get("reprobe_mirrors")) or not any(answer.alive for answer in recorded.values())
    ask = declared if again else tuple(url for url in declared if url not in recorded)
    answers = {**recorded, **_asked(ask, docker.mirror_timeout, probe_image(images))}
    fresh = tuple(url for url in ask if url in answers and _differ(answers[url], recorded.get(url)))
    return Mirrors(
        declared, {url: answers[url] for url in declared if url in answers}, fresh, docker.mirror_max
    )


def _differ(new: Answer, old: Answer | None) -> bool:
    return old is None or new.alive != old.alive


def _asked(urls: tuple[str, ...], timeout: float, image: str) -> dict[str, Answer]:
    if not urls:
        return {}
    memo: dict[str, tuple[float, Answer]] = host.connector_data.setdefault(_MEMO, {})
    now = time.monotonic()
    missing = tuple(url for url in urls if url not in memo or now - memo[url][0] > _MEMO_SECONDS)
    if missing:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        for url, answer in host.get_fact(MirrorProbe, urls=missing, timeout=timeout, image=image).items():
            memo[url] = (now, replace(answer, when=stamp))
    return {url: memo[url][1] for url in urls if url in memo}


def record_text(mirrors: Mirrors) -> str:
    """The record as it is written: the declared mirrors only, so that one taken out and put back is asked anew."""
    entries = {url: answer.as_json() for url, answer in mirrors.answers.items()}
    return json.dumps({"mirrors": entries}, indent=2) + "\n"


def as_lines(mirrors: Mirrors) -> list[str]:
    """One line per mirror whose answer is new, for the plan."""
    return [
        f"mirror {url}: {'used' if mirrors.answers[url].alive else 'left out'} ({mirrors.answers[url].reason})"
        for url in mirrors.fresh
    ]


def entry(value: Any) -> list[str]:
    """registry-mirrors of a daemon.json as a list of normal URLs; anything else counts as none."""
    return [normal(url) for url in value if isinstance(url, str)] if isinstance(value, list) else []
