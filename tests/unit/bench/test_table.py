"""The table: medians, ratios of pairs, cells; its place in the page."""

from __future__ import annotations

import pytest

from bench import cli, table
from bench.measure import Run
from bench.table import Row


def test_each_round_has_its_own_ratio() -> None:
    assert table.ratios([1.0, 4.0, 3.0], [2.0, 4.0, 0.0]) == [0.5, 1.0]


def test_rounds_are_not_mixed() -> None:
    """A slow round is slow for both: the ratio of the medians would be 1, that of each pair is a half."""
    ours, theirs = [1.0, 1.0, 10.0, 10.0], [2.0, 2.0, 20.0, 20.0]
    assert table.median(table.ratios(ours, theirs)) == 0.5


@pytest.mark.parametrize(
    ("value", "digits", "cell"),
    [
        (None, 2, "-"),
        (83, 0, "83"),
        (1.8239, 2, "1.82"),
        (0.0612, 3, "0.061"),
        (297.6, 1, "298"),
        (80.7, 0, "81"),
    ],
)
def test_cells(value: float | None, digits: int, cell: str) -> None:
    assert table.number(value, digits) == cell


def test_counts() -> None:
    assert [table.count(value) for value in (None, 83.0, 82.5)] == ["-", "83", "82.5"]


def test_a_row_has_a_line_per_contender_and_says_what_its_hosts_are() -> None:
    row = Row(
        "no change, 20 ms",
        "one lab host",
        {
            "ours": [Run(1.0, 0.5, 80, 1, 1, 0.1), Run(3.0, 0.5, 90, 1, 1, 0.1)],
            "theirs": [Run(4.0, 2.0, 100, 83, 1, 2.0), Run(6.0, 4.0, 100, 85, 1, 2.0)],
        },
    )
    assert table.render([row]) == (
        f"{table.HEAD}"
        "| no change, 20 ms | ours | 2 | 1 | 1 | 0.50 | 85 | 0.10 | 2.00 | 1 | 1 |\n"
        "|  | theirs | 2 | 84 | 1 | 3.00 | 100 | 2.00 | 5.00 | 0.375 | 0.188 |\n"
        "\nHosts: one lab host\n"
    )


def test_rows_with_other_hosts_say_so() -> None:
    rows = [
        Row(title, host, {"ours": [Run(1.0, 0.5, 80)]})
        for title, host in (("a", "x"), ("b", "y"), ("c", "x"))
    ]
    assert table.render(rows).endswith("\n- a; c: x\n- b: y\n")


def test_what_one_host_more_costs() -> None:
    def row(hosts: int, ours: float, theirs: float | None) -> Row:
        runs = {"ours": [Run(1.0, ours, 80)], **({"theirs": [Run(1.0, theirs, 80)]} if theirs else {})}
        return Row(f"{hosts} hosts", "x", runs, hosts)

    both = [row(1, 1.0, 2.0), row(10, 1.9, None), row(101, 3.0, 27.0)]
    words = "Controller CPU per added host, from 1 to 101: ours 20 ms; theirs 250 ms"
    assert table.per_added_host(both) == f"\n{words}\n"
    assert f"\n\n{words}\n\nHosts: x\n" in table.render(both)
    assert table.per_added_host(both[:2]) == "\nController CPU per added host, from 1 to 10: ours 100 ms\n"
    assert table.per_added_host(both[:1]) == ""
    assert table.per_added_host([Row("a", "x", {"ours": [Run(1.0, 1.0, 80)]})] * 2) == ""


def test_what_was_not_measured_is_a_dash() -> None:
    (line,) = table.lines(Row("start", "no host", {"ours": [Run(1.0, 0.5, 80)]}))
    assert line == "| start | ours | 1 | - | - | 0.50 | 80 | - | 1.00 | 1 | 1 |"


def test_only_the_rows_own_part_of_the_page_is_replaced() -> None:
    page = "before\n<!-- fleet: written by make bench -->\nold\n<!-- end of fleet -->\nafter\n"
    new = "before\n<!-- fleet: written by make bench -->\n\nnew\n\n<!-- end of fleet -->\nafter\n"
    assert cli.placed(page, "fleet", "new\n") == new
    assert cli.placed(new, "fleet", "new\n") == new


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no <!-- fleet"):
        cli.placed("nothing", "fleet", "new")


def test_the_page_has_a_place_for_every_row() -> None:
    page = cli.PAGE.read_text()
    for row in cli.ROWS:
        assert "the new table" in cli.placed(page, row, "the new table")
