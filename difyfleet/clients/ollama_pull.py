"""What `ollama pull` says, understood: progress and errors as the program of 0.4.7 writes them to a log (no terminal)."""

from __future__ import annotations

import re

_STEP = re.compile(
    r"pulling (?P<blob>[0-9a-f]{12})\.\.\.\s+(?P<percent>\d+)%[^0-9]*"
    r"(?P<amounts>[\d.]+ [KMGT]?B(?:/ *[\d.]+ [KMGT]?B)?)?(?:\s+(?P<speed>[\d.]+ [KMGT]?B/s))?"
)
_PASSING = re.compile(
    r"timeout|connection re(set|fused)|unexpected eof|temporary failure|server misbehaving|max retries exceeded|network is unreachable|\b50[0234]\b"
)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def pull_argv(model: str, container: str = "ollama") -> tuple[str, ...]:
    """The program that pulls a model, inside the server's container. Never with -t: it would draw for a terminal."""
    return ("docker", "exec", container, "ollama", "pull", model)


def progress_of(tail: str) -> str:
    """The newest step in the last bytes of the log: `dde5aa3fc5ff 43% 860 MB/2.0 GB 21 MB/s`."""
    newest = ""
    for line in _ESCAPES.sub("\n", tail).splitlines():
        match = _STEP.search(line)
        if match and (match["percent"] != "100" or not newest):
            amounts = (match["amounts"] or "").replace("/ ", "/")
            parts = (match["blob"], f"{match['percent']}%", amounts, match["speed"])
            newest = " ".join(part for part in parts if part)
        elif line.startswith(("verifying sha256 digest", "writing manifest")):
            newest = line.strip()
    return newest


def bytes_of(tail: str) -> tuple[int, int] | None:
    """(come, in all) of the blobs that the last bytes of the log name; None = none is named. The big blob comes first and is nearly
    all of a model.
    """
    blobs: dict[str, tuple[int, int]] = {}
    for match in _STEP.finditer(_ESCAPES.sub("\n", tail)):
        parts = [_bytes(part) for part in (match["amounts"] or "").split("/")]
        if match["amounts"]:
            blobs[match["blob"]] = parts[0], parts[-1]
    if not blobs:
        return None
    return sum(done for done, _ in blobs.values()), sum(total for _, total in blobs.values())


def _bytes(text: str) -> int:
    number, unit = text.split()
    return round(float(number) * 10.0 ** (3 * "BKMGT".index(unit[0])))


def explain_failure(tail: str, result: str) -> tuple[str, str]:
    """What went wrong with a pull, and what to do.

    Args:
        tail: the end of its log.
        result: systemd's word for how it ended, for a log without an error.
    """
    lines = [line.strip() for line in _ESCAPES.sub("\n", tail).splitlines()]
    errors = [line for line in lines if line.lower().startswith("error")]
    last = next((line for line in reversed(lines) if line), "")
    what = errors[-1] if errors else f"the pull ended with {result}" + (f": {last}" if last else "")
    return what, _advice(what.lower())


def may_pass(error: str) -> bool:
    """Whether a failed pull is worth another try: the network's trouble of a moment, not a wrong name or a full disk."""
    return _PASSING.search(error.lower()) is not None


def _advice(error: str) -> str:
    if "file does not exist" in error or "not found" in error:
        return "no such model at the registry: check its name and tag under ollama.models"
    if "no space left" in error:
        return "free disk where ollama.data_dir lies (df -h), then run apply again: the part already pulled is kept"
    if "no such container" in error or "is not running" in error:
        return "the ollama container is down: docker logs --tail 100 ollama"
    if "x509" in error or "certificate" in error:
        return "the registry's certificate is not trusted inside the container: is a proxy in between?"
    if any(word in error for word in ("no such host", "dial tcp", "lookup", "timeout", "connection re")):
        return "the host cannot reach the registry: check DNS, firewall and proxy (HTTPS_PROXY under ollama.env), then run apply again"
    return "run apply again: the part already pulled is kept"
