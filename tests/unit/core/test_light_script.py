"""light_script gives what `json` and `hashlib` give."""

from __future__ import annotations

import hashlib
import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from difyfleet import light_script

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(PLAIN, st.sampled_from(["", " ", "\n\t "]))
def test_values_go_there_and_back_as_with_json(value: Any, space: str) -> None:
    assert light_script.dumps(value) == json.dumps(value)
    assert light_script.loads(space + json.dumps(value, ensure_ascii=False, indent=1) + space) == value


@pytest.mark.parametrize("text", ["", " ", "{", "[1,]", '{"a"}', "1 2", '"\n"', "nothing"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        json.loads(text)
    with pytest.raises(ValueError):
        light_script.loads(text)


@pytest.mark.parametrize("size", [0, 1, 1 << 10, 1 << 20, (1 << 20) + 1])
def test_hashes(size: int) -> None:
    data = bytes(size)
    assert light_script.sha256(data).hexdigest() == hashlib.sha256(data).hexdigest()


def ran(before: str, after: str, also: str = "") -> str:
    path = light_script.__file__
    code = f"import sys\n{before}\nexec(open({path!r}, 'rb').read())\n{also}\nprint({after})"
    return subprocess.run(
        ["python3", "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_python_without_the_parts_in_c_has_the_slow_ways() -> None:
    hidden = "for n in ('_json', '_sha256', '_sha2'): sys.modules[n] = None"
    assert (
        ran(hidden, "_scan, _small, dumps(loads('[1]')), sha256(b'').hexdigest()[:4]") == "None None [1] e3b0"
    )


@pytest.mark.parametrize("text", ["", "{", "[1,]", "1 2"])
def test_what_is_no_json_is_refused_in_jsons_words(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as error:
        json.loads(text)
    assert (
        ran(
            "",
            f"type(refused({text!r})).__name__, refused({text!r})",
            "def refused(text):\n    try: loads(text)\n    except ValueError as error: return error",
        )
        == f"JSONDecodeError {error.value}"
    )


def test_what_is_imported_is_what_it_was_written_to_spare() -> None:
    assert ran("", "sorted({'json', 're', 'hashlib', 'typing'} & set(sys.modules))") == "[]"
