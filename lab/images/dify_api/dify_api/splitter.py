"""From texts to segments: cleaning and cutting, by the rules of a document.

Sizes are in tokens of GPT-2, as in the real server, but estimated: no tokenizer is in the image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

AUTOMATIC: dict[str, Any] = {
    "pre_processing_rules": [
        {"id": "remove_extra_spaces", "enabled": True},
        {"id": "remove_urls_emails", "enabled": False},
    ],
    "segmentation": {"delimiter": "\n", "max_tokens": 500, "chunk_overlap": 50},
}
_SEPARATORS = ("\n\n", "。", ". ", " ", "")
_SMALLEST = 50  # tokens


def tokens(text: str) -> int:
    """Estimated tokens of GPT-2: a short word is one, a Chinese character about two."""
    count = 0
    for piece in re.findall(r"[A-Za-z]+|\d+|[^\w\s]|[^\x00-\x7f]|\n", text):
        if piece[0] > "\x7f":
            count += 2
        elif piece.isalpha():
            count += 1 + (len(piece) - 1) // 7
        else:
            count += 1 + (len(piece) - 1) // 3
    return count


@dataclass(frozen=True)
class Rules:
    """How a document is cleaned and cut."""

    separator: str | None  # None: automatic
    size: int  # tokens of a segment, at most
    overlap: int  # tokens that two neighbours share, at most
    spaces: bool  # runs of blanks and of empty lines become one
    addresses: bool  # URLs and e-mail addresses are removed

    @classmethod
    def of(cls, mode: str, rules: dict[str, Any] | None, largest: int) -> Rules:
        """Rules as they are stored.

        :param largest: INDEXING_MAX_SEGMENTATION_TOKENS_LENGTH.
        :raises ValueError: if a custom size is out of range; found out while splitting, not when the rules are given.
        """
        if mode != "custom" or not rules:
            return cls(None, 500, 50, True, False)
        cut = rules["segmentation"]
        if not _SMALLEST <= cut["max_tokens"] <= largest:
            raise ValueError(f"Custom segment length should be between {_SMALLEST} and {largest}.")
        enabled = {rule["id"]: rule["enabled"] for rule in rules["pre_processing_rules"]}
        return cls(
            cut["separator"].replace("\\n", "\n"),
            cut["max_tokens"],
            cut.get("chunk_overlap") or 0,
            bool(enabled.get("remove_extra_spaces")),
            bool(enabled.get("remove_urls_emails")),
        )

    def clean(self, text: str) -> str:
        """As the real server does, its loss of the characters U+00EF, U+00BF and U+00BE included."""
        text = re.sub(
            r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\xef\xbf\xbe\ufffe]",
            "",
            text.replace("<|", "<").replace("|>", ">"),
        )
        if self.spaces:
            text = re.sub(r"\n{3,}", "\n\n", text)
            text = re.sub(r"[\t\f\r\x20\u00a0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000]{2,}", " ", text)
        if self.addresses:
            text = re.sub(r"[a-zA-Z0-9_.+-]+@[a-zA-Z0-9-]+\.[a-zA-Z0-9-.]+", "", text)
            text = re.sub(r"https?://\S+", "", text)
        return text

    def segments(self, texts: list[str]) -> list[str]:
        """All segments of a document's texts."""
        found = []
        for text in map(self.clean, texts):
            if self.separator:
                pieces = []
                for piece in text.split(self.separator):
                    whole = tokens(piece) <= self.size
                    pieces += [piece] if whole else _cut(piece, list(_SEPARATORS), self.size, self.overlap)
            else:
                pieces = _cut(text, list(_SEPARATORS), self.size, self.overlap)
            for piece in pieces:
                if piece.startswith((".", "。")):
                    piece = piece[1:].strip()
                if piece.strip():
                    found.append(piece)
        return found


def _cut(text: str, separators: list[str], size: int, overlap: int) -> list[str]:
    """Cut at the first separator that is there; what is still too long is cut at the next ones."""
    at = next(n for n, separator in enumerate(separators) if separator == "" or separator in text)
    separator, finer = separators[at], separators[at + 1 :]
    pieces = [piece for piece in (text.split(separator) if separator else list(text)) if piece]
    found: list[str] = []
    small: list[str] = []
    for piece in pieces:
        if tokens(piece) < size or not finer:
            small.append(piece)
            continue
        found += _joined(small, separator, size, overlap)
        small = []
        found += _cut(piece, finer, size, overlap)
    return found + _joined(small, separator, size, overlap)


def _joined(pieces: list[str], separator: str, size: int, overlap: int) -> list[str]:
    """Neighbours put together again up to the size; the next segment begins with the end of the one before."""
    found: list[str] = []
    current: list[str] = []
    length = 0
    gap = tokens(separator)
    for piece in pieces:
        more = tokens(piece)
        if current and length + more + gap > size:
            found.append(separator.join(current).strip())
            while current and (length > overlap or length + more + gap > size):
                length -= tokens(current[0]) + (gap if len(current) > 1 else 0)
                current.pop(0)
        current.append(piece)
        length += more + (gap if len(current) > 1 else 0)
    if current:
        found.append(separator.join(current).strip())
    return [text for text in found if text]
