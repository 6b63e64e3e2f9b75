"""What is seen of a run under way: a bar per host and one for all, or lines where there is no terminal."""

from __future__ import annotations

import io

from rich.console import Console

from difyfleet import progress
from difyfleet.cli.amounts import Amounts
from difyfleet.cli.watch import Watch, watching
from difyfleet.progress import Amount


def images(done: int, total: int) -> Amount:
    return Amount("images", done, total, "layers")


def model(name: str, done: float, total: float) -> Amount:
    return Amount(f"model {name}", int(done * 1e9), int(total * 1e9))


def test_amounts_of_a_host_and_of_all() -> None:
    amounts = Amounts()
    assert (amounts.share(), amounts.words()) == (0.0, "")
    amounts.add("a", images(10, 40))
    amounts.add("a", model("x", 1.5, 2))
    amounts.add("a", model("y", 0, 1))
    amounts.add("b", images(20, 20))
    assert amounts.words("a") == "images 10/40 layers, models 1.5/3.0 GB"
    assert amounts.share("a") == (0.25 + 0.5) / 2
    assert amounts.words() == "images 30/60 layers, models 1.5/3.0 GB"
    assert amounts.hosts() == ["a", "b"]


def test_a_pull_that_begins_again_takes_nothing_back() -> None:
    amounts = Amounts()
    for amount in (model("x", 1.9, 2), model("x", 0.1, 2), images(4, 4), images(5, 60)):
        amounts.add("a", amount)
    assert amounts.words("a") == "images 5/60 layers, models 1.9/2.0 GB"


def test_without_a_terminal_a_line_for_each_tenth_and_a_total_for_several_hosts() -> None:
    said = io.StringIO()
    with watching(Console(file=said, width=120), quiet=False):
        for done in range(0, 41, 2):
            progress.count("a", images(done, 40))
    assert said.getvalue().splitlines()[:2] == ["a: 0%, images 0/40 layers", "a: 10%, images 4/40 layers"]
    assert len(said.getvalue().splitlines()) == 11
    with watching(Console(file=said, width=120), quiet=False):
        progress.count("a", images(1, 40))
        progress.count("b", images(40, 40))
    assert said.getvalue().splitlines()[11:] == [
        "a: 0%, images 1/40 layers",
        "b: 100%, images 40/40 layers",
        "all hosts: 50%, images 41/80 layers",
    ]
    progress.count("a", images(2, 40))  # nobody listens any more
    assert len(said.getvalue().splitlines()) == 14


def test_on_a_terminal_a_bar_for_each_host_and_one_for_all() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    watch = Watch(console)
    watch("a", "[10] things")
    assert lines(console, watch) == ["a [10] things"]
    watch.count("a", images(10, 40))
    watch.count("b", images(40, 40))
    assert lines(console, watch) == [  # without colour what is still to come is not drawn
        f"a         {'━' * 5:20} images 10/40 layers [10] things",
        f"b         {'━' * 20} images 40/40 layers",
        f"all hosts {'━' * 12 + '╸':20} images 50/80 layers",
    ]


def lines(console: Console, watch: Watch) -> list[str]:
    plain = Console(file=io.StringIO(), width=120)
    with plain.capture() as captured:
        plain.print(watch._table())
    return [line.rstrip() for line in captured.get().splitlines()]
