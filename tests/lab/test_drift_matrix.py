"""Every managed attribute, changed on a real host: found by plan with old and new value, mended by apply, clean afterwards."""

from __future__ import annotations

import itertools
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml

from tests.lab.conftest import ROOT, LabHost, Outcome
from tests.lab.digests import digests
from tests.lab.drift.hands import Hands
from tests.lab.drift_matrix import LEFT_BEHIND, ROUNDS, ROWS, Row

pytestmark = pytest.mark.lab


@dataclass
class Line:
    """One line by which a plan tells of one difference, and everything its operation says."""

    role: str
    text: str
    operation: list[str]


def lines(planned: Outcome) -> list[Line]:
    """Every reason and every line of a diff; a diff's line keeps its sign and loses its indentation."""
    found = []
    for host in planned.json["hosts"]:
        for operation in host["operations"]:
            if operation["state"] != "would_change":
                continue
            diff = [f"{line[0]}{line[1:].strip()}" for line in (operation["diff"] or "").splitlines() if line]
            said = [*operation["why"], *(line for line in diff if line[0] in "+-")]
            found += [Line(operation["role"], text, said) for text in said]
    return found


def unnamed(rows: list[Row], planned: Outcome) -> list[str]:
    """The rows that the plan does not name with a line of their own."""
    left, missing = lines(planned), []
    for row in rows:
        mine = (
            line
            for line in left
            if line.role == row.role
            and row.old in line.text
            and any(row.new in said for said in line.operation)
        )
        line = next(mine, None)
        if line is None:
            missing.append(f"{row.id}: no line with {row.old!r} and {row.new!r}")
        else:
            left.remove(line)
    return missing


def make(rows: list[Row], hands: Hands) -> None:
    """Carry out the edits of a round in their order; scripts that follow one another go in one call."""
    waiting: list[str] = []

    def flush() -> None:
        if waiting:
            done = hands.host.sh("\n".join(waiting), timeout=300)
            assert "FAILED" not in done, done
            waiting.clear()

    for row in rows:
        if isinstance(row.edit, str):
            waiting.append(f"( sh -c {shlex.quote(row.edit)} ) 2>&1 || echo FAILED: {shlex.quote(row.id)}")
        else:
            flush()
            row.edit(hands)
    flush()


@pytest.fixture(scope="module")
def drifting(stack_host: LabHost) -> Iterator[LabHost]:
    """The host under an inventory that also manages what is left alone by default, and asks no questions after each apply."""
    declared = yaml.safe_load((ROOT / "inventory" / "lab.yml").read_text())
    knowledge, assistants = declared["knowledge"], declared["assistants"]
    assistants["helper"]["golden"] = []
    knowledge["manuals"] |= {
        "documents": str(ROOT / "inventory" / "documents"),
        "permission": "only_me",
        "remove_undeclared_documents": True,
    }
    stack_host.write_inventory(
        knowledge=knowledge, assistants=assistants, ollama={"remove_undeclared_models": True}
    )
    yield stack_host
    stack_host.sh(LEFT_BEHIND)
    Hands(stack_host).dify.models.remove("llama3.2", "text-embedding")
    stack_host.write_inventory()


# the first two hold four fifths of the rows; every round costs an apply, so the others are left to `make long-test`
IN_EVERY_RUN = (1, 2)


@pytest.mark.parametrize(
    "number", [pytest.param(each, marks=() if each in IN_EVERY_RUN else pytest.mark.slow) for each in ROUNDS]
)
def test_drift_is_found_by_plan_and_mended_by_apply(drifting: LabHost, number: int) -> None:
    rows = [row for row in ROWS if row.round == number]
    marks = [time.monotonic()]
    make(rows, Hands(drifting))
    marks.append(time.monotonic())
    planned = drifting.plan()
    marks.append(time.monotonic())
    assert planned.code == 2, planned.out + planned.err
    missing = unnamed(rows, planned)
    mended = drifting.apply()
    marks.append(time.monotonic())
    assert mended.code == 0, mended.out + mended.err
    clean = drifting.plan()
    marks.append(time.monotonic())
    print("edits, plan, apply, plan:", *(f"{b - a:.0f} s" for a, b in itertools.pairwise(marks)))
    assert clean.code == 0, clean.would_change
    assert not missing, (
        "\n".join(missing) + "\n\nthe plan said:\n" + "\n".join(each.text for each in lines(planned))
    )


# each digest signs in, and nginx lets 30 a minute through
MANY_SIGN_INS = (
    "f=/opt/dify/nginx/nginx.conf; t=$(sed 's,rate=30r/m,rate=3000r/m,' $f); printf '%s\\n' \"$t\" >$f;"
    " grep -q 3000r/m $f && docker exec dify-nginx-1 nginx -s reload"
)


@pytest.mark.slow
@pytest.mark.parametrize("number", ROUNDS)
def test_each_edit_by_itself_is_another_digest(drifting: LabHost, number: int) -> None:
    """So that a quick look cannot miss it."""
    assert drifting.plan().code == 0
    assert drifting.plan().code == 0, "from here on its reads are known"
    hands, missed, restless = Hands(drifting), [], []
    drifting.sh(MANY_SIGN_INS)
    with digests(drifting) as digest:
        before = digest.still()
        for row in (row for row in ROWS if row.round == number):
            make([row], hands)
            after = digest.now()
            if after == before:
                time.sleep(1)
                after = digest.now()
            if after == before:
                missed.append(row.id)
            try:
                before = digest.still()
            except AssertionError:
                restless.append(row.id)
    quick = drifting.difyfleet("drift", str(drifting.inventory), "--quick", "--json")
    assert quick.code == 2, quick.out + quick.err
    mended = drifting.apply()
    assert mended.code == 0, mended.out + mended.err
    print("after these the host gave no two equal digests:", restless)
    assert not missed


@pytest.mark.parametrize("checks", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_a_host_that_nobody_touched_gives_no_false_alarm(stack_host: LabHost, checks: int) -> None:
    for number in range(checks):
        planned = stack_host.plan()
        assert planned.code == 0, f"check {number + 1} of {checks}: {planned.would_change}{planned.err}"
