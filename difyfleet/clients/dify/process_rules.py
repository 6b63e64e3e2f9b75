"""How documents are cleaned and cut into segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from difyfleet.clients.dify.fields import Fields

AUTOMATIC, CUSTOM = "automatic", "custom"


@dataclass(frozen=True)
class ProcessRule:
    """Segmentation of a document.

    Args:
        mode: automatic (500 tokens, overlap 50, cut at line ends) or custom.
        separator: text at which a document is cut first.
        max_tokens: longest segment, in GPT-2 tokens (not characters; Chinese counts about two per character), 50 to 4000 by default.
            Dify checks it only while indexing: a value out of range ends in a document with an error.
        chunk_overlap: tokens that a segment repeats of the one before.
        remove_extra_spaces: collapse spaces and blank lines.
        remove_urls_emails: take them out of the text.
    """

    mode: str = AUTOMATIC
    separator: str = "\n"
    max_tokens: int = 500
    chunk_overlap: int = 50
    remove_extra_spaces: bool = True
    remove_urls_emails: bool = False

    def body(self) -> dict[str, Any]:
        if self.mode == AUTOMATIC:
            return {"mode": AUTOMATIC, "rules": {}}
        return {
            "mode": self.mode,
            "rules": {
                "pre_processing_rules": [
                    {"id": "remove_extra_spaces", "enabled": self.remove_extra_spaces},
                    {"id": "remove_urls_emails", "enabled": self.remove_urls_emails},
                ],
                "segmentation": {
                    "separator": self.separator,
                    "max_tokens": self.max_tokens,
                    "chunk_overlap": self.chunk_overlap,
                },
            },
        }


def parse_process_rule(data: Fields) -> ProcessRule:
    """From an answer. GET process-rule calls the separator `delimiter`; everything else calls it `separator`."""
    mode = data.text("mode")
    if mode == AUTOMATIC:
        return ProcessRule()
    rules = data.object("rules")
    cut = rules.object("segmentation")
    switches = {
        entry.text("id"): entry.flag("enabled", False)
        for entry in rules.objects("pre_processing_rules", optional=True)
    }
    return ProcessRule(
        mode=mode,
        separator=cut.text("delimiter", "") or cut.text("separator", "\n"),
        max_tokens=cut.integer("max_tokens"),
        chunk_overlap=cut.integer("chunk_overlap", 50),
        remove_extra_spaces=switches.get("remove_extra_spaces", False),
        remove_urls_emails=switches.get("remove_urls_emails", False),
    )
