"""A Secret never shows itself, and mask() takes known values out of any text."""

from __future__ import annotations

import copy
import json
import pickle
import re
import traceback

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from difyfleet import secrets
from difyfleet.diffs import mask_line, unified
from difyfleet.secrets import MASK, Secret, generate, mask


@pytest.mark.parametrize(
    "show",
    [str, repr, "{}".format, "{!r}".format, lambda s: f"{s:>20}", lambda s: "%s" % s],  # noqa: UP031
)
def test_no_way_of_printing_shows_it(show) -> None:
    assert "hunter2-canary" not in show(Secret("hunter2-canary"))


def test_not_in_tracebacks_json_or_pickles() -> None:
    secret = Secret("canary-in-traceback")
    try:
        raise ValueError(secret)
    except ValueError:
        assert "canary-in-traceback" not in traceback.format_exc()
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_copies_are_the_same_secret() -> None:
    secret = Secret("copied-secret")
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"a": secret})["a"] is secret


def test_equality_and_generation() -> None:
    assert Secret("same-value") == Secret("same-value")
    assert Secret("same-value") != Secret("other-value")
    one, two = generate(), generate()
    assert one != two
    assert len(one.reveal()) == 48
    assert set(one.reveal()) <= set("0123456789abcdef")


def test_mask_replaces_longest_first() -> None:
    Secret("abcd-long")
    Secret("abcd-long-and-longer")
    assert mask("x abcd-long-and-longer y abcd-long") == f"x {MASK} y {MASK}"


@pytest.fixture
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, empty in (("_known", {}), ("_short", set()), ("_pieces", {}), ("_clean", {})):
        monkeypatch.setattr(secrets, name, empty)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.text("ab", min_size=1, max_size=40), max_size=8),
    words=st.lists(st.one_of(st.integers(0, 7), st.text("abc", max_size=20)), max_size=12),
)
def test_mask_finds_what_one_pattern_of_all_secrets_finds(
    nothing_known: None, values: list[str], words: list[int | str]
) -> None:
    known = {value for value in values if len(value) >= 4}
    text = "".join(
        word if isinstance(word, str) else (values[word % len(values)] if values else "") for word in words
    )
    for value in values:
        mask(text)  # what is remembered of it holds for the secrets known so far
        Secret(value)
    every = "|".join(map(re.escape, sorted({*known, *secrets._known}, key=len, reverse=True)))
    assert known <= secrets._known.keys()
    assert mask(text) == (re.sub(every, MASK, text) if every else text)


def test_short_values_do_not_blot_out_ordinary_text() -> None:
    Secret("ab")
    assert mask("cab") == "cab"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("+DB_PASSWORD=s3cr3t-old", f"+DB_PASSWORD={MASK}"),
        ("-SECRET_KEY=whatever", f"-SECRET_KEY={MASK}"),
        (" CELERY_BROKER_URL=redis://:pw@redis:6379/1", f" CELERY_BROKER_URL={MASK}"),
        ("+AUTHENTICATION_APIKEY_ALLOWED_KEYS=k1,k2", f"+AUTHENTICATION_APIKEY_ALLOWED_KEYS={MASK}"),
        ('+  "api_key": "v"', f'+  "api_key": {MASK}'),
        ("+UPLOAD_FILE_SIZE_LIMIT=15", "+UPLOAD_FILE_SIZE_LIMIT=15"),
        ("+DB_PASSWORD=", "+DB_PASSWORD="),
    ],
)
def test_secret_looking_keys_are_masked_even_when_the_value_is_unknown(line: str, shown: str) -> None:
    assert mask_line(line) == shown


def test_unified_diff_of_a_new_a_changed_and_an_opaque_file() -> None:
    assert unified(None, "a\n", "/x") == "--- /dev/null\n+++ /x\n@@ -0,0 +1 @@\n+a"
    assert "-a" in unified("a\nb\n", "b\n", "/x")
    assert "KEY MATERIAL" not in unified("KEY MATERIAL", "OTHER", "/x.key", opaque=True)
