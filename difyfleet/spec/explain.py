"""pydantic's errors in the words of an inventory's author, at the place in the file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from difyfleet.spec.annotations import models, step
from difyfleet.spec.document import Node, join
from difyfleet.spec.problems import Position, Problems

SOURCE_FORMS = "{env: NAME}, {file: PATH}, {command: [PROGRAM, ARGUMENT]} or {generate: true}"

_KIND_WORDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "path_type": "a path",
}

# What a text must look like, for the patterns that the models use.
PATTERN_WORDS = {
    r"^(/[\w.+@,=-]+)+/?$": "an absolute path on the host without blanks or special characters",
    r"^(https?|file)://\S+$": "an https:// or file:// URL",
    r"^[0-9a-f]{64}$": "64 hex digits in lower case (SHA-256)",
    r"^sha256:[0-9a-f]{64}$": "a digest, sha256: and 64 hex digits in lower case",
    r"^[0-9a-f]{12,64}$": "12 to 64 hex digits in lower case",
    r"^[^@\s]+@[^@\s]+\.[^@\s]+$": "an e-mail address",
    r"^[A-Za-z0-9][A-Za-z0-9._/:-]*$": "a model name such as qwen2.5:7b",
    r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$": "letters, digits, - and _ (40 at most)",
    r"^#[0-9A-Fa-f]{3,6}$": "a colour such as #FFEAD5",
}


def explain(error: ValidationError, annotation: Any, node: Node, problems: Problems) -> None:
    """Add what is wrong with a section to `problems`.

    Args:
        annotation: the section's type.
        node: the section as written.
    """
    alternatives: dict[str, list[_Found]] = {}
    for details in error.errors(include_url=False):
        found = _Found(details, annotation, node)
        if found.union_path is None:
            problems.error(*found.sentence())
        else:
            alternatives.setdefault(found.union_path, []).append(found)
    for group in alternatives.values():
        _explain_union(group, problems)


def _explain_union(group: list[_Found], problems: Problems) -> None:
    """A value that fits no member of a union: the members that are of another kind altogether have nothing to say."""
    close = [found for found in group if not found.of_another_kind]
    for found in close:
        problems.error(*found.sentence())
    if not close:
        words = _or(dict.fromkeys(found.kind_words for found in group)).replace("true or false", "true/false")
        problems.error(group[0].node.at, group[0].node.path, f"should be {words}, not {given(group[0].node)}")


class _Found:
    """One pydantic error, with the node it is about."""

    def __init__(self, details: Any, annotation: Any, root: Node) -> None:
        self.type: str = details["type"]
        self.context: dict[str, Any] = details.get("ctx") or {}
        self.message: str = details["msg"]
        self.node = root
        self.parent_type: Any = annotation
        self.key: str | None = None  # a key that is missing or not known
        self.union_path: str | None = None
        self.below_member = False
        location = list(details["loc"])
        self.about_key = (
            bool(location) and location[-1] == "[key]"
        )  # pydantic's mark: the key itself is wrong
        if self.about_key:
            location.pop()
        if self.type in ("missing", "extra_forbidden"):
            self.key = str(location.pop())
        for element in location:
            self.parent_type = step(self.parent_type, element)
            child = self.node.child(element)
            if child is not None:
                self.node = child
                self.below_member = self.union_path is not None
            elif not str(element).startswith("<") and self.union_path is None:
                self.union_path = self.node.path  # the element is the name of a union's member
        if self.union_path is not None and self.key is not None:
            self.below_member = True

    @property
    def of_another_kind(self) -> bool:
        """Whether a union's member only says that the value is something else altogether."""
        if self.below_member:
            return False
        return self.type in _KIND_WORDS or (self.type == "literal_error" and self.node.kind != "scalar")

    @property
    def kind_words(self) -> str:
        """What this member of a union would take."""
        return str(self.context["expected"]) if self.type == "literal_error" else _KIND_WORDS[self.type]

    def sentence(self) -> tuple[Position, str, str]:
        """Position, key path and text."""
        if self.about_key:
            return self.node.key_at, self.node.path, f"the key {self._text().partition(', not ')[0]}"
        if self.key is not None:
            child = self.node.child(self.key)
            at = child.key_at if child else self.node.key_at
            text = (
                "is missing" if self.type == "missing" else unknown_key(self.key, *models(self.parent_type))
            )
            return at, child.path if child else join(self.node.path, self.key), text
        return self.node.at, self.node.path, self._text()

    def _text(self) -> str:
        shown = given(self.node)
        if self.type == "secret_source":
            return f"should say where the secret comes from: {SOURCE_FORMS}; a secret itself is never written here"
        if self.type in ("value_error", "assertion_error"):
            return str(self.context.get("error", self.message))
        if self.type in _KIND_WORDS:
            return f"should be {_KIND_WORDS[self.type]}, not {shown}{self._how_to()}"
        if self.type == "literal_error":
            expected = str(self.context["expected"])
            return f"should be {expected}, not {shown}" + did_you_mean(
                self.node.value, _quoted_words(expected)
            )
        if self.type == "string_pattern_mismatch":
            pattern = str(self.context["pattern"])
            return f"should be {PATTERN_WORDS.get(pattern, f'text like {pattern}')}, not {shown}"
        if self.type in _LIMITS:
            words, key = _LIMITS[self.type]
            return f"should be {words} {self.context[key]}, not {shown}"
        if self.type in ("string_too_long", "string_too_short", "too_short", "too_long"):
            return self.message.replace("String should", "should").replace("List should", "should")
        return f"{self.message[0].lower()}{self.message[1:]}, not {shown}"

    def _how_to(self) -> str:
        if self.node.is_null:
            return "; remove the key to get the default" + (
                " or write []" if self.type == "list_type" else ""
            )
        value = self.node.value
        if self.type == "string_type" and isinstance(value, int | float):
            return "; put it in quotes"
        if self.type in ("int_type", "float_type") and isinstance(value, str):
            if re.fullmatch(r"\d+(\.\d+)?", value.strip()):
                return "; remove the quotes" if self.type == "float_type" or "." not in value else ""
            if re.fullmatch(r"\d+\s*[A-Za-z]+", value.strip()):
                return "; write the number without a unit"
        if (
            self.type == "bool_type"
            and isinstance(value, str)
            and value.lower() in ("yes", "on", "no", "off")
        ):
            return f"; write {'true' if value.lower() in ('yes', 'on') else 'false'}"
        return ""


_LIMITS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def given(node: Node) -> str:
    """What was written, in words."""
    if node.kind != "scalar":
        return f"a {node.kind}"
    value = node.value
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:57]}...")
    return f"the number {value}"


def unknown_key(key: str, *known_in: type[BaseModel], others: Iterable[str] = ()) -> str:
    """The text about a key that no model knows, with a suggestion."""
    known = [*others, *(name for model in known_in for name in model.model_fields)]
    suggestion = did_you_mean(key, known)
    if suggestion:
        return f"unknown key{suggestion}"
    elsewhere = _section_of(key)
    if elsewhere:
        return f"unknown key here; it belongs to {elsewhere}"
    return f"unknown key; known here: {', '.join(known)}" if known else "unknown key"


def _section_of(key: str) -> str | None:
    """The section of a host that has a key of this name."""
    from difyfleet.spec.models import HostSpec

    for name, info in HostSpec.model_fields.items():
        for model in models(info.annotation):
            if key in model.model_fields:
                return name
    return None


def did_you_mean(word: object, known: Iterable[str], cutoff: float = 0.7) -> str:
    """`; did you mean X?` when a known word is close, else nothing."""
    options = list(known)
    text = str(word)
    close = difflib.get_close_matches(text, options, n=1, cutoff=cutoff) or [
        option for option in options if option.lower().replace("-", "_") == text.lower().replace("-", "_")
    ]
    return f"; did you mean {close[0]}?" if close else ""


def _or(words: Iterable[str]) -> str:
    *rest, last = words
    return f"{', '.join(rest)} or {last}" if rest else last


def _quoted_words(expected: str) -> list[str]:
    return [part for part in expected.split("'") if part.strip() and part.strip() not in (",", "or")]
