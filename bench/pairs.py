"""Rounds of runs: in each round every contender once, in turning order, so that what else the machine does meets all of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from bench import ansible
from bench.contenders import Contender
from bench.controller import Controller
from bench.measure import Run, RunFailed, run
from bench.watch import Watch
from lab.state import CHECKOUT


def say(text: str) -> None:
    """To the person who waits."""
    print(text, file=sys.stderr, flush=True)


def order(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """The order of one round: turned by one each time."""
    turn = number % len(contenders)
    return [*contenders[turn:], *contenders[:turn]]


def once(contender: Contender, hosts: int, controller: Controller, watch: Watch, timeout: float) -> Run:
    """One run, seen from the controller and from the host.

    Raises:
        RunFailed: it failed, or found something to do.
    """
    mark = watch.mark()
    try:
        taken, output = run(
            controller.argv(list(contender.argv)),
            cwd=CHECKOUT,
            env=contender.env,
            timeout=timeout,
            codes=contender.codes,
        )
    finally:
        ansible.hang_up()
    seen = watch.since(mark)
    contender.unchanged(output, hosts)
    return replace(taken, sessions=seen.sessions, connections=seen.logins, host_cpu=seen.cpu)


def rounds(
    contenders: Sequence[Contender],
    hosts: int,
    pairs: int,
    controller: Controller,
    watch: Watch,
    timeout: float = 1200,
) -> dict[str, list[Run]]:
    """So many rounds; a contender that fails once is left out of the table, with its reason said.

    A contender that learns runs twice before the first round, unmeasured: what it is going to read, then what of that the host's side may
    know from then on. What it needs before runs first.

    Args:
        hosts: how many are looked at in one run.
        timeout: seconds for one run.

    Raises:
        RunFailed: ours failed, or found something to do.
    """
    results: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    left = list(contenders)

    def attempt(contender: Contender) -> Run | None:
        try:
            return once(contender, hosts, controller, watch, timeout)
        except RunFailed as failure:
            if contender is contenders[0]:  # without ours there is nothing to compare
                raise
            say(f"  {contender.name}: left out: {failure}")
            left.remove(contender)
            del results[contender.name]
        return None

    for contender in list(left):
        if contender.before:
            run(controller.argv(list(contender.before)), cwd=CHECKOUT, env=contender.env, timeout=timeout)
        for _ in range(2 if contender.learns else 0):
            attempt(contender)
    for number in range(pairs):
        for contender in order(contenders, number):
            if contender in left and (taken := attempt(contender)) is not None:
                results[contender.name].append(taken)
                say(
                    f"  {contender.name}: {taken.sessions} sessions, controller {taken.cpu:.2f} s CPU, "
                    f"host {taken.host_cpu or 0:.2f} s CPU, {taken.wall:.2f} s"
                )
    return results
