"""What `ollama pull` of 0.4.7 writes without a terminal, recorded from the real program."""

from __future__ import annotations

import pytest

from difyfleet.clients.ollama_pull import bytes_of, explain_failure, progress_of, pull_argv

# recorded; the bars are not ASCII and are taken out on the host
RUNNING = (
    "\x1b[?25l\x1b[2K\x1b[1G\x1b[A\x1b[2K\x1b[1Gpulling manifest \n"
    "pulling 36c0dd6150dc...  17%                  17 MB/ 98 MB  2.9 MB/s     28s\x1b[?25h"
    "\x1b[?25l\x1b[2K\x1b[1G\x1b[A\x1b[2K\x1b[1Gpulling manifest \n"
    "pulling 36c0dd6150dc...  18%                  18 MB/ 98 MB  2.9 MB/s     27s\x1b[?25h"
)
ENDING = (
    "pulling 36c0dd6150dc... 100%  98 MB                         \n"
    "pulling 6d2bd142f117... 100%  169 B                         \n"
    "verifying sha256 digest \nwriting manifest \nsuccess \x1b[?25h\n"
)
REFUSED = (
    "\x1b[?25lpulling manifest \x1b[?25h\n"
    'Error: pull model manifest: Get "https://registry.ollama.ai/v2/library/qwen2.5/manifests/7b": '
    "dial tcp 10.0.2.3:443: connect: connection refused\n"
)


def test_never_asks_for_a_terminal() -> None:
    assert pull_argv("qwen2.5:7b") == ("docker", "exec", "ollama", "ollama", "pull", "qwen2.5:7b")


def test_progress_is_the_newest_step() -> None:
    assert progress_of(RUNNING) == "36c0dd6150dc 18% 18 MB/98 MB 2.9 MB/s"


def test_bytes_of_all_blobs_that_are_named() -> None:
    assert bytes_of(RUNNING) == (18_000_000, 98_000_000)
    assert bytes_of(ENDING) == (98_000_169, 98_000_169)
    assert bytes_of("pulling 6a0746a1ec1a...  43%      860 MB/2.0 GB  21 MB/s") == (
        860_000_000,
        2_000_000_000,
    )
    assert bytes_of(REFUSED) is None
    for start in range(len(RUNNING)):
        bytes_of(RUNNING[start:])


def test_progress_at_the_end() -> None:
    assert progress_of(ENDING) == "writing manifest"


def test_a_tail_that_begins_anywhere() -> None:
    for start in range(len(RUNNING)):
        progress_of(RUNNING[start:])


def test_no_progress_yet() -> None:
    assert progress_of("") == ""


def test_failure_in_the_programs_own_words() -> None:
    what, advice = explain_failure(REFUSED, "exit-code")
    assert what.startswith("Error: pull model manifest: Get")
    assert what.endswith("connection refused")
    assert "cannot reach the registry" in advice


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("Error: pull model manifest: file does not exist", "no such model"),
        ("Error: write /root/.ollama/models/blobs/x: no space left on device", "free disk"),
        ("Error response from daemon: No such container: ollama", "container is down"),
        ("Error: tls: failed to verify certificate: x509: unknown authority", "certificate is not trusted"),
        ("Error: max retries exceeded: EOF", "the part already pulled is kept"),
    ],
)
def test_advice(error: str, advice: str) -> None:
    assert advice in explain_failure(f"pulling manifest\n{error}\n", "exit-code")[1]


def test_killed_without_a_word() -> None:
    assert explain_failure("", "signal")[0] == "the pull ended with signal"
