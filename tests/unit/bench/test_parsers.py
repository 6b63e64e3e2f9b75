"""What is read from sshd's log, the kernel's counters and the contenders' own output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import contenders, pairs, watch
from bench.ansible import digest
from bench.contenders import Contender
from bench.link import Traffic, sent_bytes
from bench.measure import RunFailed
from lab.engine import LabError

# recorded on a lab host (LogLevel VERBOSE)
SSHD = """\
Connection from 10.0.2.250 port 48756 on 10.0.2.10 port 22
Accepted key ED25519 SHA256:aaaa found at /home/openeuler/.ssh/authorized_keys:1
Postponed publickey for openeuler from 10.0.2.250 port 48756 ssh2 [preauth]
Accepted key ED25519 SHA256:aaaa found at /home/openeuler/.ssh/authorized_keys:1
Accepted publickey for openeuler from 10.0.2.250 port 48756 ssh2: ED25519 SHA256:aaaa
pam_unix(sshd:session): session opened for user openeuler(uid=1000) by (uid=0)
User child is on pid 9103
Starting session: command for openeuler from 10.0.2.250 port 48756 id 0
Close session: user openeuler from 10.0.2.250 port 48756 id 0
Starting session: subsystem 'sftp' for openeuler from 10.0.2.250 port 48756 id 1
"""

NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 2468 18 0 0 0 0 0 0 2468 18 0 0 0 0 0 0
   v10: 1000 9 0 0 0 0 0 0 424000000 300000 0 0 0 0 0 0
  v100:    7 1 0 0 0 0 0 0       11 1 0 0 0 0 0 0
"""

RECAP = """\
PLAY RECAP *********************************************************************
h0                         : ok=29   changed={changed}    unreachable=0    failed=0    skipped=0    rescued=0    ignored=0
h1                         : ok=29   changed=0    unreachable={lost}    failed=0    skipped=0    rescued=0    ignored=0
"""


def test_sessions_and_logins() -> None:
    assert watch.counts(SSHD) == (2, 1)


def test_bytes_of_the_one_interface() -> None:
    assert sent_bytes(NET_DEV, "v10") == 424_000_000
    assert sent_bytes(NET_DEV, "v100") == 11
    with pytest.raises(LabError, match="no interface v1 "):
        sent_bytes(NET_DEV, "v1")


def test_an_unchanged_play() -> None:
    contenders.ansible_is_unchanged(RECAP.format(changed=0, lost=0), 2)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        (RECAP.format(changed=1, lost=0), 2),
        (RECAP.format(changed=0, lost=1), 2),
        (RECAP.format(changed=0, lost=0), 3),
        ("", 1),
        ("PLAY RECAP\nh0 : ok=0    changed=0    unreachable=0    failed=0", 1),
    ],
)
def test_a_play_that_did_something_else_is_no_figure(text: str, hosts: int) -> None:
    with pytest.raises(RunFailed):
        contenders.ansible_is_unchanged(text, hosts)


def plan(**changed: int) -> str:
    operations = [{"role": "dify", "name": ".env", "state": "would_change"}]
    summary = {"hosts": 1, "operations": 48, "would_change": 0, "failed": 0, **changed}
    return json.dumps({"summary": summary, "hosts": [{"operations": operations}]})


def test_an_empty_plan() -> None:
    contenders.plan_is_empty(plan(), 1)


@pytest.mark.parametrize("changed", [{"would_change": 1}, {"failed": 1}, {"hosts": 2}, {"operations": 0}])
def test_a_plan_that_is_not_empty_is_no_figure(changed: dict[str, int]) -> None:
    with pytest.raises(RunFailed, match=r"dify: \.env"):
        contenders.plan_is_empty(plan(**changed), 1)


def pyinfra(change: list[str], maybe: list[str]) -> str:
    entry = {"name": "files", "hosts_with_change": change, "hosts_with_conditional_change": maybe}
    return json.dumps({"plan": [entry], "results": None})


def test_pyinfras_plan() -> None:
    contenders.pyinfra_is_empty(pyinfra([], []), 1)
    for output in (pyinfra(["h0"], []), pyinfra([], ["h0"]), '{"plan": []}'):
        with pytest.raises(RunFailed):
            contenders.pyinfra_is_empty(output, 1)


def test_the_order_turns_and_everyone_has_a_turn() -> None:
    three = [Contender(name, [], lambda output, hosts: None) for name in "abc"]
    assert ["".join(each.name for each in pairs.order(three, number)) for number in range(4)] == [
        "abc",
        "bca",
        "cab",
        "abc",
    ]


def test_the_digest_is_that_of_the_playbook() -> None:
    """`{"b": "ü", "a": 1} | to_json(sort_keys=true) | hash('sha256')`, as ansible-core 2.19 gives it."""
    assert digest({"b": "ü", "a": 1}) == "a7a87375da7a2923b1f7449f6ce4f4a766b2cd15a0fda4c81527ab6347424130"


def test_a_link_that_is_full_half_full_and_idle() -> None:
    steps = [0, 0, 10, 10, 10, 5, 5, 0, 0, 10, 0]  # MB in each tenth of a second, of 10 that fit
    samples, total = [], 0
    for number, step in enumerate(steps):
        total += step * 1_000_000
        samples.append((50 + number / 10, total))
    traffic = Traffic(100e6, samples)
    assert traffic.moved == 50_000_000
    assert traffic.window() == pytest.approx((0.2, 0.9))
    assert traffic.busy() == pytest.approx(0.8)  # of 0.5 s, in which 40 MB came
    assert traffic.idle() == pytest.approx(0.2)


def test_a_link_that_carried_nothing() -> None:
    for traffic in (Traffic(100e6, []), Traffic(100e6, [(0.0, 5), (1.0, 5)])):
        assert traffic.moved == 0
        assert traffic.busy() is None
        assert traffic.idle() == 0


def test_the_playbook_declares_what_an_applied_host_has() -> None:
    """Every template of a file that a role writes has its file in the list that the playbook is filled with."""
    root = Path(contenders.__file__).parents[1]
    script = (root / "bench" / "ansible" / "declared_script.py").read_text()
    for template in (root / "templates").glob("*/*.j2"):
        if template.parent.name in ("dify", "ollama", "openwebui"):
            name = {"env": ".env"}.get(template.stem, template.stem)
            assert f'/{name}"' in script, template
