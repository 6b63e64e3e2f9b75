"""The HTML page: what it says, and what can never get into it."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from difyfleet.fleet.results import (
    CHANGED,
    CORRECTIVE,
    FAILED,
    INTENTIONAL,
    UNCHANGED,
    WOULD_CHANGE,
    CheckResult,
    HostResult,
    OperationResult,
    RunResult,
)
from difyfleet.report import html as report
from difyfleet.report.html import marks, page, words
from difyfleet.secrets import Secret
from tests.unit.report import fleets
from tests.unit.report.dom import Element, parse
from tests.unit.report.fleets import AT, EVIL

FOLDER = Path(report.__file__).parent


def shown(result: RunResult, runs: int = 30) -> Element:
    history = fleets.history(len(result.hosts), runs)
    return parse(page(result, history, at=AT, inventory="inventory/prod.yml"))


@functools.lru_cache
def usual(size: int) -> Element:
    """The page of a fleet as it is made up."""
    return shown(fleets.fleet(size))


def rows(tree: Element) -> dict[str, Element]:
    """The grid's rows by host."""
    found = {}
    for table in tree.all("table", "grid"):
        (body,) = table.all("tbody")
        found |= {next(row.all("th")).text: row for row in body.all("tr")}
    return found


@pytest.mark.parametrize("size", [1, 10, 200])
def test_every_host_is_there_once_with_a_word_for_each_role(size: int) -> None:
    tree = usual(size)
    there = rows(tree)
    assert sorted(there) == [f"llm-{number:03}" for number in range(1, size + 1)]
    for row in there.values():
        cells = [cell for cell in row.all("td") if not cell.classes]
        assert len(cells) == len(fleets.ROLES)
        assert all(cell.text.strip() in marks.WORDS.values() for cell in cells)


def test_cells_say_what_is_wrong_and_lead_to_it() -> None:
    tree = usual(10)
    articles = {article.attributes["id"]: article for article in tree.all("article")}
    names = list(fleets.ROLES)
    expected = {
        ("llm-001", "docker"): ("would change, the host was changed", "daemon.json with the mirrors that answer"),
        ("llm-001", "assistants"): ("check failed", "golden: helper: 年假有几天？"),
        ("llm-002", "dify"): ("would change", "nginx's files"),
        ("llm-005", "knowledge"): ("warning", "only declared documents"),
        ("llm-010", "ollama"): ("error", "model bge-m3"),
    }  # fmt: skip
    for (host, role), (word, title) in expected.items():
        cell = [cell for cell in rows(tree)[host].all("td") if not cell.classes][names.index(role)]
        (link,) = cell.all("a")
        assert cell.text.strip() == word
        assert title in articles[link.attributes["href"].removeprefix("#")].text
    assert {cell.text.strip() for cell in rows(tree)["llm-003"].all("td") if not cell.classes} == {
        "not reached"
    }
    assert rows(tree)["llm-004"].text.count("clean") == len(fleets.ROLES)


def test_trouble_comes_first_and_many_clean_hosts_are_folded() -> None:
    tree = usual(200)
    first, second = tree.all("table", "grid")
    (folded,) = tree.all("details", "well")
    assert second in list(folded.all("table"))
    assert "open" not in folded.attributes
    assert list(rows(tree))[:2] == ["llm-003", "llm-010"], "errors before the rest"
    assert "clean" not in {row.text for row in first.all("tr")}
    assert len(list(second.all("tr"))) == 165  # with its head


def test_the_same_words_are_said_once_for_all_hosts() -> None:
    tree = usual(200)
    articles = [a for a in tree.all("article") if "daemon.json with the mirrors that answer" in a.text]
    assert len(articles) == 1
    assert articles[0].text.count("log-opts.max-size: 2g, wanted 20m") == 1
    assert len(list(articles[0].all("bdi"))) == 17


def test_a_diff_is_folded_and_marked_line_by_line() -> None:
    tree = usual(1)
    (diff,) = tree.all("pre", "diff")
    assert diff.text == f"\n{fleets.DAEMON}\n", "a browser drops the first line end of a pre"
    removed, added = ["\n".join(part.text for part in diff.all(tag)) for tag in ("del", "ins")]
    assert removed.splitlines() == [line for line in fleets.DAEMON.splitlines() if line.startswith("-")]
    assert added.splitlines() == [line for line in fleets.DAEMON.splitlines() if line.startswith("+")]
    folded = [details for details in tree.all("details") if diff in list(details.all("pre"))]
    assert all("open" not in details.attributes for details in folded)


def test_since_when_is_told_per_finding() -> None:
    tree = usual(10)
    since = {
        next(a.all("h3")).text: re.sub(r"\s+", " ", next(a.all("p", "on")).text).strip()
        for a in tree.all("article")
    }
    assert (
        since["docker daemon.json with the mirrors that answer"] == "llm-001 since 2026-11-23 04:45, 6 runs"
    )
    assert since["assistants golden: helper: 年假有几天？"] == "llm-001 since 2026-11-23 22:45, 3 runs"
    assert since["dropped out of the run"] == "llm-003 since 2026-11-23 16:45, 4 runs"
    assert since["dify .env"] == "llm-002 since 2026-11-24 04:45, 2 runs"
    assert since["ollama model bge-m3"] == "llm-010 new in this run"


def test_without_a_history_nothing_is_said_about_time() -> None:
    text = page(fleets.fleet(10), at=AT)
    assert "new in this run" not in text
    assert 'class="since"' not in text
    assert '<h2 id="history"' not in text


def test_failed_checks_show_evidence_and_the_next_command() -> None:
    tree = usual(1)
    (article,) = [a for a in tree.all("article") if "golden" in a.text]
    assert "the vector store (weaviate) does not answer" in article.text
    (hint,) = article.all("p", "then")
    assert hint.text.startswith("next difyfleet verify inventory/prod.yml --role knowledge")


def test_a_change_that_loses_data_is_said_aloud() -> None:
    result = fleets.fleet(1)
    operation = next(each for each in result.hosts[0].operations if each.state == WOULD_CHANGE)
    operation.loses_data = True
    tree = shown(result)
    assert "This would remove what only exists on the host." in tree.text
    assert "1 change would remove what only exists on the host: look at it below first" in tree.text


def host(
    *operations: OperationResult,
    checks: int = 0,
    failed: int = 0,
    error: str | None = None,
    name: str = "llm",
) -> HostResult:
    found = [CheckResult("docker", f"c{number}", True, "") for number in range(checks)]
    found += [CheckResult("docker", f"f{number}", False, "") for number in range(failed)]
    return HostResult(name, list(operations), found, error)


def operation(state: str, kind: str | None = None) -> OperationResult:
    return OperationResult("docker", "x", state, kind=kind)


@pytest.mark.parametrize(
    ("verb", "hosts", "sentence"),
    [
        ("plan", [host(operation(UNCHANGED))], "Nothing to change on llm."),
        ("drift", [host(operation(UNCHANGED), checks=4)], "Nothing to change and all 4 checks hold on llm."),
        ("verify", [host(checks=3), host(checks=3, name="b")], "All 6 checks hold on all 2 hosts."),
        ("verify", [host(checks=1)], "The one check holds on llm."),
        ("verify", [host(checks=3, failed=1)], "llm needs a look: 1 of 4 checks does not hold."),
        ("plan", [host(operation(WOULD_CHANGE))], "llm needs a look: 1 operation would change something."),
        ("drift", [host(operation(WOULD_CHANGE, CORRECTIVE), operation(WOULD_CHANGE, CORRECTIVE))],
         "llm needs a look: 2 operations would change something (the host was changed)."),
        ("drift", [host(operation(WOULD_CHANGE, INTENTIONAL)), host(operation(UNCHANGED), name="b")],
         "1 of 2 hosts needs a look: 1 would change (the inventory was changed)."),
        ("apply", [host(operation(CHANGED), operation(CHANGED), checks=2)], "All 2 checks hold on llm; 2 operations changed something."),
        ("apply", [host(operation(CHANGED)), host(operation(FAILED), name="b"), host(error="gone", name="c"), host(name="d")],
         "3 of 4 hosts need a look: 1 dropped out, 1 failed in an operation, 1 was not reached; 1 operation changed something on 1 host."),
        ("plan", [host(error="no route to host")], "llm needs a look: it dropped out of the run."),
        ("plan", [], "No host took part."),
    ],
)  # fmt: skip
def test_the_verdict_is_one_sentence(verb: str, hosts: list[HostResult], sentence: str) -> None:
    assert words.verdict(RunResult(verb, hosts)) == sentence


def test_the_next_commands_name_the_hosts() -> None:
    commands = [step.command for step in words.steps(fleets.fleet(10), "inventory/prod.yml")]
    assert commands == [
        "difyfleet drift inventory/prod.yml --limit llm-003,llm-010",
        "difyfleet verify inventory/prod.yml --limit llm-001 -v",
        "difyfleet apply inventory/prod.yml --limit llm-001,llm-002",
    ]
    many = [step.command for step in words.steps(fleets.fleet(200), "my inventory.yml")]
    assert many[2] == "difyfleet apply 'my inventory.yml'", "22 hosts are too many to name"
    assert words.steps(RunResult("plan", [host(operation(UNCHANGED))]), "x") == []


def test_a_halted_rollout_shows_its_waves_and_how_to_go_on() -> None:
    result = fleets.rollout()
    assert words.verdict(result) == (
        "The rollout halted in wave 2 of 3: 1 fails a check, 1 was not reached; 50 operations changed something on 2 hosts."
    )
    assert [step.command for step in words.steps(result, "inventory/prod.yml")] == [
        "difyfleet verify inventory/prod.yml --limit llm-003 -v",
        "difyfleet rollout inventory/prod.yml --resume",
    ]
    tree = parse(page(result, at=AT, inventory="inventory/prod.yml"))
    (waves,) = tree.all("section", "waves")
    shown = [" ".join(wave.text.split()) for wave in next(waves.all("ol")).all("li")]
    assert shown == ["1 done: llm-001", "2 done: llm-002 failed: llm-003", "3 untouched: llm-004"]
    there = rows(tree)
    assert list(there) == ["llm-003", "llm-004", "llm-002", "llm-001"]
    assert "untouched: the rollout halted in wave 2" in there["llm-004"].text
    assert there["llm-004"].text.count("not reached") == len(fleets.ROLES)
    assert "done earlier in this rollout" in there["llm-001"].text
    assert there["llm-001"].text.count("not on this host") == len(fleets.ROLES)


def test_a_rollout_that_went_through_is_well() -> None:
    result = fleets.rollout()
    result.hosts = result.hosts[:2]
    result.waves, result.halt, result.next = result.waves[:1], None, None
    assert (
        words.verdict(result)
        == "All 25 checks hold on all 2 hosts; 25 operations changed something on 1 host."
    )
    assert words.steps(result, "x") == []


def test_hostile_texts_stay_texts() -> None:
    result = fleets.fleet(2)
    evil = result.hosts[0]
    evil.name = EVIL
    evil.operations.append(
        OperationResult(EVIL, EVIL, WOULD_CHANGE, f"--- {EVIL}\n+{EVIL}\n {EVIL}", why=[EVIL])
    )
    evil.operations.append(OperationResult("docker", EVIL, FAILED, error=EVIL))
    fleets.fail(evil, "docker", EVIL, EVIL, EVIL)
    fleets.fail(evil, "docker", EVIL, EVIL, EVIL, warn=True)
    result.hosts[1].error = EVIL
    result.journal = EVIL
    history = fleets.history(2, 5)
    tree = parse(page(result, history, at=AT, inventory=EVIL))
    assert not list(tree.all("script"))
    assert not list(tree.all("img"))
    assert not [name for each in tree.all() for name in each.attributes if name.startswith("on")]
    assert tree.text.count(EVIL) > 15
    assert EVIL in rows(tree)


def test_no_secret_gets_in_not_even_one_that_needs_escaping() -> None:
    canaries = ["canary-5f2b9c", "a<b&\"c'd canary", "canary\\d+(", "金丝雀密码123"]
    for number, value in enumerate(canaries):
        Secret(value)
        result = fleets.fleet(1)
        evil = result.hosts[0]
        text = f"before {value} after"
        evil.name = f"llm-{value}" if number == 0 else "llm"
        evil.operations.append(OperationResult(text, text, WOULD_CHANGE, f"-{text}\n+{text}", why=[text]))
        evil.operations.append(OperationResult("docker", text, FAILED, error=text))
        fleets.fail(evil, "docker", text, text, text)
        fleets.fail(evil, "docker", text, text, text, warn=True)
        result.journal = text
        written = page(result, fleets.history(1, 3), at=AT, inventory=text)
        assert value not in written
        assert value not in parse(written).text
        assert "before ******** after" in parse(written).text


def test_control_characters_are_shown_and_never_written() -> None:
    result = fleets.fleet(1)
    result.hosts[0].error = "a\x00b\x1b[31mc\u202ed\udc80e\rf"
    written = page(result, at=AT)
    assert "a\ufffdb\ufffd[31mc\ufffdd\ufffde\ufffdf" in written
    written.encode("utf-8")


def test_the_page_is_alone_and_needs_no_script() -> None:
    tree = usual(200)
    assert not list(tree.all("script"))
    ids = [each.attributes["id"] for each in tree.all() if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    for each in tree.all():
        assert not {"src", "srcset", "action", "data", "xlink:href", "ping"} & each.attributes.keys()
        target = each.attributes.get("href", "#hosts")
        assert target == "data:," or target.removeprefix("#") in ids, target
    style = next(tree.all("style")).text
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [m for m in tree.all("meta") if m.attributes.get("http-equiv") == "Content-Security-Policy"]
    assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_tables_have_heads_and_pictures_have_words() -> None:
    tree = usual(10)
    (root,) = tree.all("html")
    assert root.attributes["lang"] == "en"
    for table in tree.all("table"):
        assert list(table.all("caption"))
        assert all(head.attributes.get("scope") in ("col", "row") for head in table.all("th"))
    for picture in tree.all("svg"):
        assert picture.attributes.get("aria-hidden") == "true" or (
            picture.attributes["role"] == "img" and picture.attributes["aria-label"]
        )
    labels = [each.attributes["aria-label"] for each in tree.all("svg") if "aria-label" in each.attributes]
    assert (
        "llm-001, 30 runs: 3 check failed; 6 would change, the host was changed; 2 changed; 19 clean"
        in labels
    )


def test_every_mark_has_a_shape_of_its_own() -> None:
    """Colour is never the only difference."""
    tree = usual(1)
    shapes = {each.attributes["id"]: each for each in tree.all("symbol")}
    assert set(shapes) == {f"m-{mark}" for mark in marks.WORDS}
    drawn = {
        tuple((part.tag, *sorted(part.attributes.items())) for part in each.all()) for each in shapes.values()
    }
    assert len(drawn) == len(shapes)


def _luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_aa_in_both_schemes() -> None:
    blocks = re.findall(r":root \{(.*?)\}", (FOLDER / "page.css").read_text(), re.DOTALL)
    schemes = [dict(re.findall(r"--(\w+): (#\w+)", block)) for block in blocks]
    for scheme in (schemes[0], schemes[1], schemes[0] | schemes[2]):
        for name in ("ink", "soft", "red", "amber", "blue", "green", "grey"):
            for ground in ("paper", "shade"):
                ratio = _contrast(scheme[name], scheme[ground])
                assert ratio >= 4.5, f"{name} on {ground}: {ratio:.2f}"


def test_two_hundred_hosts_with_everything_wrong_stay_below_the_limit() -> None:
    result = fleets.fleet(200)
    roles = [(role, title) for role, titles in fleets.ROLES.items() for title in titles]
    for number, each in enumerate(result.hosts):
        each.error = None
        diff = f"-{number}\n" + "+密钥 <&> \n-x\n" * 2000
        each.operations = [
            OperationResult(role, title, WOULD_CHANGE, diff, why=[f"{number} {role}" * 20])
            for role, title in roles
        ]
        each.checks = [
            CheckResult(role, f"{title}: as declared", False, f"{number}: " + "evidence " * 100, "do it")
            for role, title in roles
        ]
    written = page(result, fleets.history(200, 60), at=AT, inventory="inventory/prod.yml")
    assert len(written.encode()) < 1_500_000
    tree = parse(written)
    assert len(rows(tree)) == 200
    assert "characters left out" in tree.text


def test_an_ordinary_fleet_is_small() -> None:
    assert len(page(fleets.fleet(200), fleets.history(200), at=AT).encode()) < 300_000
