"""What a run found, told once for all hosts on which it is the same."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from difyfleet.fleet.results import CHANGED, FAILED, WOULD_CHANGE, CheckResult, OperationResult, RunResult
from difyfleet.fleet.streaks import Since, Streaks
from difyfleet.report.html import marks

# A page is sent by mail and read on a phone, so it stays small whatever goes wrong.
LONGEST_TEXT = 4_000  # characters of a reason, an evidence, an error
LONGEST_DIFF = 20_000  # characters
ALL_TEXTS = 500_000  # bytes of all of them, as they stand in the page
MOST_VARIANTS = 12  # different words for one finding


@dataclass
class Variant:
    """The same words on one host or many.

    Args:
        hosts: since when -> names.
    """

    texts: tuple[str, ...]
    diff: str | None
    next: str | None
    error: str | None
    loses_data: bool
    hosts: dict[Since | None, list[str]] = field(default_factory=dict)


@dataclass
class Finding:
    """One operation or check, on the hosts where it is not as it should be.

    Args:
        others: hosts whose words are left out, because there are too many different ones.
    """

    id: str
    mark: str
    role: str
    title: str
    variants: list[Variant] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def hosts(self) -> list[str]:
        """Names of all hosts that have it."""
        return [*_names(self.variants), *self.others]


def _names(variants: Iterable[Variant]) -> Iterator[str]:
    for variant in variants:
        for names in variant.hosts.values():
            yield from names


def collect(result: RunResult, past: Streaks) -> list[Finding]:
    """All findings: worst first, then as the roles are ordered.

    Args:
        past: earlier runs, for since when it is so.
    """
    found: dict[tuple[str, str, str], dict[object, Variant]] = {}

    def add(mark: str, host: str, role: str, title: str, variant: Variant) -> None:
        same = found.setdefault((mark, role, title), {})
        key = (variant.texts, variant.diff, variant.next, variant.error, variant.loses_data)
        variant = same.setdefault(key, variant)
        since = past.since(marks.ASKED[mark], host, role, title) if mark in marks.ASKED else None
        variant.hosts.setdefault(since, []).append(host)

    for host in result.hosts:
        if host.error:
            add(
                marks.ERROR,
                host.name,
                "",
                "dropped out of the run",
                Variant((), None, None, host.error, False),
            )
        for operation in host.operations:
            if operation.state in (CHANGED, FAILED, WOULD_CHANGE):
                add(
                    marks.of_operation(operation),
                    host.name,
                    operation.role,
                    operation.name,
                    _changed(operation),
                )
        for check in host.checks:
            if not check.ok:
                mark = marks.WARNING if check.warn_only else marks.CHECKS
                add(mark, host.name, check.role, check.name, _failed(check))
    order = {role: place for place, role in enumerate(["", *roles_of(result)])}
    keys = sorted(found, key=lambda key: (marks.rank(key[0]), order[key[1]]))
    findings = []
    for number, key in enumerate(keys):
        variants = list(found[key].values())
        others = list(_names(variants[MOST_VARIANTS:]))
        findings.append(Finding(f"f{number}", *key, variants[:MOST_VARIANTS], others))
    _shorten(findings)
    return findings


def roles_of(result: RunResult) -> list[str]:
    """The roles of a run, in the order in which they come."""
    named: dict[str, None] = {}
    for host in result.hosts:
        named.update(dict.fromkeys(operation.role for operation in host.operations))
    for host in result.hosts:
        named.update(dict.fromkeys(check.role for check in host.checks))
    return list(named)


def _changed(operation: OperationResult) -> Variant:
    return Variant(tuple(operation.why), operation.diff, None, operation.error, operation.loses_data)


def _failed(check: CheckResult) -> Variant:
    return Variant((check.evidence,) if check.evidence else (), None, check.hint, None, False)


def parts(diff: str) -> list[tuple[str, str]]:
    """A diff as runs of lines of one kind: ("ins" | "del" | "", lines)."""
    kinds = {"+": "ins", "-": "del"}
    runs = itertools.groupby(diff.splitlines(), key=lambda line: kinds.get(line[:1], ""))
    return [(kind, "\n".join(lines)) for kind, lines in runs]


def _shorten(findings: Sequence[Finding]) -> None:
    """Cut long texts, and leave the last diffs out when the page would grow too large."""
    left = ALL_TEXTS

    def take(text: str, longest: int) -> str:
        nonlocal left
        kept = text[:longest]
        size = len(html.escape(kept).encode("utf-8", "replace"))
        if size > left:
            return f"({len(text)} characters left out: this page is full)"
        left -= size
        return text if kept == text else f"{kept}\n... ({len(text) - len(kept)} characters left out)"

    variants = [variant for finding in findings for variant in finding.variants]
    for variant in variants:
        variant.texts = tuple(take(text, LONGEST_TEXT) for text in variant.texts)
        variant.error = take(variant.error, LONGEST_TEXT) if variant.error else None
        variant.next = take(variant.next, LONGEST_TEXT) if variant.next else None
    for variant in variants:
        variant.diff = take(variant.diff, LONGEST_DIFF) if variant.diff else None
