"""`make demo`: a fresh lab host, the whole stack applied to it over SSH, verified, left running."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
DIFYFLEET = CHECKOUT / ".venv" / "bin" / "difyfleet"
INVENTORY = CHECKOUT / "inventory" / "lab.yml"
HOST = "llm"
ASSISTANT, QUESTION = "helper", "错误代码 E07 是什么意思？"


def run(kind: str) -> int:
    """Build what is not cached, start host `llm` afresh, apply, verify, ask a question about a document, show.

    Args:
        kind: container or vm.

    Returns:
        the exit code: 0 only if apply, verify and the question all succeeded.
    """
    started = time.monotonic()
    _lab("down", HOST)
    _lab("up", HOST, "--kind", kind)
    _say(
        f"lab host {HOST} is up ({time.monotonic() - started:.0f} s); applying {INVENTORY.relative_to(CHECKOUT)}"
    )
    for verb in (["apply", "--yes"], ["status"]):
        done = subprocess.run(
            [DIFYFLEET, verb[0], INVENTORY, *verb[1:]], cwd=CHECKOUT, timeout=3600, check=False
        )
        if done.returncode != 0:
            _say(
                f"difyfleet {verb[0]} ended with {done.returncode}; the host is left as it is: difyfleet lab ssh {HOST}"
            )
            return done.returncode
    host = next(
        entry for entry in json.loads((CHECKOUT / ".lab" / "hosts.json").read_text()) if entry["name"] == HOST
    )
    _say("")
    _say(
        f"A question about the documents in inventory/documents, asked to the assistant {ASSISTANT}: {QUESTION}"
    )
    asked = subprocess.run(
        [DIFYFLEET, "ask", INVENTORY, f"{HOST}/{ASSISTANT}", QUESTION], cwd=CHECKOUT, timeout=900, check=False
    )
    if asked.returncode != 0:
        _say(
            f"difyfleet ask ended with {asked.returncode}; the host is left as it is: difyfleet lab ssh {HOST}"
        )
        return asked.returncode
    _say("")
    _say(f"Dify:        http://127.0.0.1:{host['http_port']}")
    _say(f"Open WebUI:  http://127.0.0.1:{host['webui_port']}")
    _say(f"The host:    .venv/bin/difyfleet lab ssh {HOST}    (end it: .venv/bin/difyfleet lab down)")
    _say(f"From nothing to a verified stack in {time.monotonic() - started:.0f} s.")
    return 0


def _lab(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "lab", *arguments], cwd=CHECKOUT, check=True, timeout=3600)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1] if len(sys.argv) > 1 else "container"))
