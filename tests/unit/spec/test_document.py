"""YAML with positions: values by YAML 1.2's rules, duplicate keys, anchors."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from difyfleet.spec import document
from difyfleet.spec.document import Node, join, merge, read
from difyfleet.spec.problems import Position, Problems, SpecErrors


def parsed(text: str) -> Node:
    problems = Problems()
    node = read(text, "f", problems)
    problems.raise_if_any()
    assert node is not None
    return node


def faults(text: str) -> list[str]:
    problems = Problems()
    read(text, "f", problems)
    with pytest.raises(SpecErrors) as caught:
        problems.raise_if_any()
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("22:30", "22:30"),
        ("0600", "0600"),
        ("2024-12-15", "2024-12-15"),
        ("1_000", "1_000"),
        ("28.5.2", "28.5.2"),
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-1", -1),
        ("0x1F", 31),
        ("28.5", 28.5),
        ("'28.5'", "28.5"),
        ('"true"', "true"),
        ("''", ""),
        ("!!str 5", "5"),
        (".inf", ".inf"),
        ("1.0e999", "1.0e999"),
        ("9" * 5000, "9" * 5000),
        ("|\n  two\n  lines", "two\nlines"),
    ],
)
def test_scalars(written: str, value: object) -> None:
    found = parsed(f"k: {written}").plain()["k"]
    assert (type(found), found) == (type(value), value)


def test_positions_count_characters_from_one() -> None:
    node = parsed("a:\n  é: [x, yé, z]\n")
    z = node.find("a", "é", 2)
    assert z is not None
    assert (z.value, z.at, z.path) == ("z", Position(2, 14, "f"), "a.é[2]")
    assert node.find("a", "é", 3) is None
    assert node.find("a", "q") is None


def test_duplicate_keys_are_found_at_every_depth() -> None:
    assert faults("a:\n  b: 1\n  c: {d: 1, d: 2}\n  b: 2\na: 3\n") == [
        "f:3:13: a.c.d: this key is already there, at f:3:7",
        "f:4:3: a.b: this key is already there, at f:2:3",
        "f:5:1: a: this key is already there, at f:1:1",
    ]


def test_merge_keys_and_aliases() -> None:
    text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\none: {<<: *x, b: 9}\ntwo: {<<: [*x, *y]}\nthree: *x\n"
    plain = parsed(text).plain()
    assert (plain["one"], plain["two"], plain["three"]) == (
        {"a": 1, "b": 9},
        {"a": 1, "b": 2, "c": 4},
        {"a": 1, "b": 2},
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: &a [*a]", "f:1:4: a[0]: the alias refers to a value that contains it"),
        ("a: !vault x", "f:1:1: a: the tag !vault is not known here"),
        (
            "a: !!python/name:os.system x",
            "f:1:1: a: the tag tag:yaml.org,2002:python/name:os.system is not known here",
        ),
        ("[a, b]: 1", "f:1:1: a key must be a single word"),
        ("a: {<<: 5}", "f:1:5: a: << takes a mapping"),
        (
            "a: 1\n---\nb: 2\n",
            "f:2:1: not valid YAML: expected a single document in the stream but found another document",
        ),
        ("a: *b", "f:1:4: not valid YAML: found undefined alias"),
    ],
)
def test_what_is_refused(text: str, error: str) -> None:
    assert faults(text) == [error]


def test_aliases_that_expand_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_NODE_LIMIT", 1000)
    text = "a: &a [1, 1, 1, 1]\n" + "".join(
        f"{n}: &{n} [*{p}, *{p}, *{p}, *{p}]\n" for p, n in zip("abcde", "bcdef", strict=True)
    )
    (error,) = faults(text)
    assert error.endswith("more than 1000 values; aliases expand without end?")


def test_deep_nesting_is_an_error_and_not_a_crash() -> None:
    (error,) = faults("[" * 20000)
    assert error.startswith("f:")


def test_nothing_at_all() -> None:
    assert read("# only a comment\n", "f", Problems()) is None


@pytest.mark.parametrize(
    ("path", "key", "joined"),
    [
        ("", "a", "a"),
        ("a", "b", "a.b"),
        ("hosts", "llm.example.com", 'hosts["llm.example.com"]'),
        ("a[1]", "b-c", "a[1].b-c"),
    ],
)
def test_join(path: str, key: str, joined: str) -> None:
    assert join(path, key) == joined


def test_merged_values_keep_their_origins() -> None:
    node = parsed("base: {a: {x: 1, y: 2}, l: [1, 2]}\nover: {a: {y: 3}, l: [4]}\n")
    merged = merge(node.child("base"), node.child("over"))
    assert merged is not None
    assert merged.plain() == {"a": {"x": 1, "y": 3}, "l": [4]}
    x, y = merged.find("a", "x"), merged.find("a", "y")
    assert x is not None
    assert y is not None
    assert (x.path, y.path) == ("base.a.x", "over.a.y")
    base = node.child("base")
    assert base is not None
    assert base.plain() == {"a": {"x": 1, "y": 2}, "l": [1, 2]}


_leaves = st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.text(max_size=8))
_trees = st.recursive(
    _leaves,
    lambda below: st.one_of(
        st.lists(below, max_size=3), st.dictionaries(st.text(max_size=5), below, max_size=3)
    ),
    max_leaves=10,
)


@given(_trees)
@settings(max_examples=150, deadline=None)
def test_what_is_dumped_is_read_again(tree: Any) -> None:
    text = yaml.safe_dump({"k": tree})
    assert parsed(text).plain() == {"k": tree}


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_text_crashes_the_reader(text: str) -> None:
    problems = Problems()
    node = read(text, "f", problems)
    assert node is None or node.plain() is not NotImplemented
