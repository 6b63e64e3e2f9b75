"""The documents keep up with the code: links lead somewhere, and every verb, option, exit code and role is described."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from importlib import import_module
from pathlib import Path

import click
import pytest
import yaml

from difyfleet.cli import cli
from difyfleet.exits import Exit
from difyfleet.operations.fitness import JUDGES
from difyfleet.spec.loader import load
from lab.cli import _parser as lab_parser

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("README*.md"), *DOCS.rglob("*.md")])
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
ROLES = sorted(path.stem for path in (ROOT / "roles").glob("*.py") if not path.stem.startswith("_"))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(path: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", path.read_text())


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and its likes make them."""
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links() -> list[tuple[Path, str]]:
    found = [(page, target) for page in PAGES for target in _LINK.findall(prose(page))]
    return [(page, target) for page, target in found if not re.match(r"[a-z]+:", target)]


def test_there_are_pages_and_links() -> None:
    assert len(PAGES) > 30
    assert len(links()) > 80


@pytest.mark.parametrize(
    ("page", "target"), links(), ids=lambda value: name_of(value) if isinstance(value, Path) else value
)
def test_relative_links_lead_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    assert there.is_relative_to(ROOT), f"{name_of(page)}: {target} leads out of the repository"
    assert there.exists(), f"{name_of(page)}: {target} does not exist"
    if anchor:
        assert anchor in anchors(there), f"{name_of(page)}: {target} has no such heading"


def test_linked_files_are_in_the_repository() -> None:
    """A file that only lies in this checkout is a dead link for everybody else."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = set(listed.stdout.splitlines())
    for page, target in links():
        there = (page.parent / target.split("#")[0]).resolve() if target.split("#")[0] else page
        inside = str(there.relative_to(ROOT))
        assert inside in files or any(name.startswith(f"{inside}/") for name in files), (
            f"{name_of(page)}: {target}"
        )


VERBS = sorted(cli.list_commands(click.Context(cli)))


def commands(group: click.Group) -> dict[str, click.Command]:
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def command_of(verb: str) -> click.Command:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    return command


def section(page: Path, heading: str) -> str:
    """One `## heading` of a page, up to the next."""
    match = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL
    )
    assert match, f"{name_of(page)} has no section {heading}"
    return match[1]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_reference_and_both_readmes(verb: str) -> None:
    described = section(DOCS / "reference" / "cli.md", verb)
    assert f"difyfleet {verb}" in described
    for readme in ("README.md", "README.zh-CN.md"):
        assert f"`difyfleet {verb} " in (ROOT / readme).read_text(), readme


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_described_with_its_verb(verb: str) -> None:
    described = section(DOCS / "reference" / "cli.md", verb)
    command = command_of(verb)
    parts = [command, *commands(command).values()] if isinstance(command, click.Group) else [command]
    for part in parts:
        if isinstance(command, click.Group) and part is not command:
            assert part.name in described, f"{verb} {part.name}"
        for option in part.params:
            if isinstance(option, click.Option) and not {"--help", "--version"} & set(option.opts):
                assert any(f"{name}" in described for name in option.opts), f"{verb}: {option.opts}"


def test_every_verb_and_option_of_the_lab_is_described() -> None:
    page = (DOCS / "lab.md").read_text()
    verbs = next(action for action in lab_parser()._actions if action.dest == "verb").choices
    assert verbs
    for verb, parser in verbs.items():
        row = re.search(rf"^\| `{verb}[ `].*$", page, re.MULTILINE)
        assert row, f"docs/lab.md has no row for {verb}"
        for action in parser._actions:
            for option in action.option_strings:
                assert option in row[0] or option in ("-h", "--help"), f"{verb} {option}"


@pytest.mark.parametrize("code", list(Exit), ids=lambda code: code.name)
def test_every_exit_code_is_described(code: Exit) -> None:
    page = (DOCS / "reference" / "exit-codes.md").read_text()
    assert f"| {int(code)} | `{code.name}` |" in page
    for readme in ("README.md", "README.zh-CN.md"):
        assert re.search(rf"\b{int(code)}\b", section(ROOT / readme, _exit_heading(readme))), (readme, code)


def _exit_heading(readme: str) -> str:
    return "Verbs and exit codes" if readme == "README.md" else "命令与退出码"


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_described(role: str) -> None:
    described = section(DOCS / "roles.md", role)
    assert len(described.split()) > 80, "a role's page says what it does, its checks and its drift"
    for readme in ("README.md", "README.zh-CN.md"):
        assert f"| `{role}` |" in (ROOT / readme).read_text()
    assert f"`{role}`" in (DOCS / "reference" / "cli.md").read_text()


def test_the_roles_of_deploy_are_named_in_its_order() -> None:
    called = re.search(r"^run\(\n(.*?)^\)", (ROOT / "deploy.py").read_text(), re.MULTILINE | re.DOTALL)
    assert called
    order = re.findall(r"^ +(\w+),", called[1], re.MULTILINE)
    assert sorted(order) == ROLES
    assert "Order: " + ", ".join(f"`{role}`" for role in order) in (DOCS / "roles.md").read_text()


def test_every_preflight_check_is_described() -> None:
    described = section(DOCS / "roles.md", "preflight")
    for name in JUDGES:
        assert f"`{name}`" in described, name


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_first_screen_has_the_two_commands_and_an_inventory(readme: str) -> None:
    lines = (ROOT / readme).read_text().splitlines()[:40]
    screen = "\n".join(lines)
    assert re.search(r"^make demo\b", screen, re.MULTILINE)
    assert re.search(r"^make test\b", screen, re.MULTILINE)
    assert "difyfleet apply " in screen
    inventory = [text for language, text in _FENCE.findall(screen) if language == "yaml"]
    assert len(inventory) == 1
    assert len(inventory[0].splitlines()) == 6


def inventories() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        blocks = [text for language, text in _FENCE.findall(page.read_text()) if language == "yaml"]
        found += [(name_of(page), text) for text in blocks if "hosts:" in text and "admin:" in text]
    return found


@pytest.mark.parametrize(("page", "text"), inventories())
def test_inventories_in_the_documents_are_valid(page: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "prod.yml"
    path.write_text(text)
    environment = load(path)
    assert environment.hosts, page
    assert environment.warnings == (), page


def test_there_are_inventories_in_readme_and_quick_start() -> None:
    pages = {page for page, _ in inventories()}
    assert {"README.md", "README.zh-CN.md", "docs/quickstart.md", "docs/quickstart.zh-CN.md"} <= pages


def test_ways_of_logging_in_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The `ssh: {...}` cells of the quick starts' tables."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "llm_ed25519").write_text("a key\n")
    (tmp_path / "known_hosts").write_text("")
    seen = []
    for page in (DOCS / "quickstart.md", DOCS / "quickstart.zh-CN.md"):
        found = re.findall(r"`(ssh: \{.*?\})`(?: \||。|\.|\n)", page.read_text())
        assert len(found) >= 6, name_of(page)
        seen.append(found)
        for line in found:
            path = tmp_path / "prod.yml"
            path.write_text(f"admin: {{email: ops@example.com}}\nhosts: {{llm: 192.0.2.1}}\n{line}\n")
            monkeypatch.setenv("LLM_SUDO", "a password")
            monkeypatch.setenv("LLM_LOGIN", "a password")
            load(path)
    assert seen[0] == seen[1], "both languages show the same"


def test_both_quick_starts_show_the_same_commands() -> None:
    def blocks(name: str) -> list[str]:
        text = (DOCS / name).read_text()
        return [re.sub(r"\s*#.*", "", body) for _, body in _FENCE.findall(text)]

    assert blocks("quickstart.md") == blocks("quickstart.zh-CN.md")


def test_both_readmes_link_the_same_pages() -> None:
    def targets(name: str) -> set[str]:
        return set(_LINK.findall((ROOT / name).read_text())) - {"README.md", "README.zh-CN.md"}

    only = targets("README.md") ^ targets("README.zh-CN.md")
    assert {target for target in only if target.startswith("docs/") or "/" in target} == set()


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_decisions_are_short_and_in_one_form(page: Path) -> None:
    text = page.read_text()
    number = page.stem.split("-")[0]
    assert text.startswith(f"# {number}. ")
    for part in ("**Context.**", "**Decision.**", "**Consequences.**"):
        assert part in text
    assert len(text.splitlines()) <= 20


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(page.stem.split("-")[0]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_tests_that_are_named_exist() -> None:
    """README and features.md point at tests; a renamed test must not leave a claim behind."""
    modules = (ROOT / "tests").rglob("*.py")
    functions = {
        name for path in modules for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    named = set()
    pages = (ROOT / "README.md", ROOT / "README.zh-CN.md", DOCS / "features.md", DOCS / "pyinfra-gaps.md")
    for page in pages:
        named |= set(re.findall(r"`(test_\w+)`", page.read_text()))
        for path in re.findall(r"`(tests/[\w./-]+)`", page.read_text()):
            assert (ROOT / path).exists(), f"{name_of(page)}: {path}"
    assert len(named) > 20
    assert named <= functions, sorted(named - functions)


def test_json_keys_are_described() -> None:
    from difyfleet.fleet.results import CheckResult, HostResult, OperationResult, RunResult

    host = HostResult(
        "llm", [OperationResult("docker", "x", "changed")], [CheckResult("docker", "x: y", True, "z")]
    )
    shown = RunResult("apply", [host], journal="x").to_json()
    page = (DOCS / "reference" / "json.md").read_text()
    keys = {*shown, *shown["summary"], *shown["hosts"][0]}
    keys |= {*shown["hosts"][0]["operations"][0], *shown["hosts"][0]["checks"][0]}
    example = yaml.safe_load(next(text for language, text in _FENCE.findall(page) if language == "json"))
    assert example.keys() == shown.keys()
    assert example["summary"].keys() == shown["summary"].keys()
    assert example["hosts"][0].keys() == shown["hosts"][0].keys()
    assert example["hosts"][0]["operations"][0].keys() == shown["hosts"][0]["operations"][0].keys()
    assert example["hosts"][0]["checks"][0].keys() == shown["hosts"][0]["checks"][0].keys()
    assert example["version"] == shown["version"]


def test_import_rules_are_those_of_the_house_test() -> None:
    """docs/architecture.md repeats the table that tests/unit/test_house.py enforces."""
    allowed = import_module("tests.unit.test_house").ALLOWED
    text = (DOCS / "architecture.md").read_text()
    rows = {}
    for rooms, may in re.findall(r"^\| (`[^|]+`) \| (.+) \|$", text, re.MULTILINE):
        for room in re.findall(r"`(\w+)`", rooms):
            rows[room] = set(re.findall(r"`(\w+)[.`]", may.split(";")[0]))
    for room, targets in allowed.items():
        short = room.removeprefix("difyfleet.")
        if short in ("stack", "offline"):
            continue
        expected = {target.removeprefix("difyfleet.") for target in targets if target != "lab"}
        assert rows[short] == expected, room


SECTIONS = ("ssh", "admin", "preflight", "docker", "ollama", "openwebui", "dify", "knowledge", "assistants")
_INLINE = re.compile(rf"`((?:{'|'.join(SECTIONS)}): \{{[^`]*\}})`")


def fragments() -> list[tuple[str, str]]:
    """Parts of inventories: code blocks without hosts, and `section: {...}` in a line."""
    found = []
    for page in PAGES:
        blocks = [text for language, text in _FENCE.findall(page.read_text()) if language == "yaml"]
        blocks = [text for text in blocks if "hosts:" not in text and text.startswith(SECTIONS)]
        found += [(name_of(page), text) for text in [*blocks, *_INLINE.findall(prose(page))]]
    return found


def _paths(value: object) -> Iterator[str]:
    """What a fragment names on the controller: documents, prompts, archives."""
    files = {"documents", "prompt_file", "file", "compose_file", "sha256sums", "key", "known_hosts"}
    for key, below in value.items() if isinstance(value, dict) else ():
        if key in files and isinstance(below, str):
            yield below
        yield from _paths(below)


@pytest.mark.parametrize(("page", "text"), fragments())
def test_parts_of_inventories_in_the_documents_are_valid(
    page: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in re.findall(r"env: (\w+)", text):
        monkeypatch.setenv(name, "a-passw0rd")
    part = yaml.safe_load(text)
    content = b"x\n"
    digest = sha256(content).hexdigest()
    sums = "".join(f"{digest}  {Path(path).name}\n" for path in _paths(part))
    for path in _paths(part):
        there = Path(path.replace("~", str(tmp_path))) if "~" in path else tmp_path / path
        if there.suffix or "/." in str(there) or path == "known_hosts":
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(sums.encode() if there.name == "SHA256SUMS" else content)
        else:
            there.mkdir(parents=True)
            (there / "假期.docx").write_bytes(content)
    admin = {"email": "ops@example.com", **part.pop("admin", {})}
    inventory = tmp_path / "prod.yml"
    inventory.write_text(
        yaml.safe_dump({"admin": admin, "hosts": {"llm": "192.0.2.1"}, **part}, allow_unicode=True)
    )
    assert load(inventory).warnings == (), page


def test_there_are_parts_of_inventories() -> None:
    pages = [page for page, _ in fragments()]
    assert pages.count("docs/quickstart.md") == pages.count("docs/quickstart.zh-CN.md") >= 10
    assert "docs/assistants.md" in pages


def test_messages_that_troubleshooting_quotes_are_the_programs_own() -> None:
    """Each `message ... message` in the tables about Dify's inside stands somewhere in the code."""
    page = (DOCS / "troubleshooting.md").read_text()
    code = "".join(
        path.read_text() for room in ("difyfleet", "roles") for path in sorted((ROOT / room).rglob("*.py"))
    )
    tables = page.partition("### Dify's admin")[2].partition("## Looking deeper")[0]
    quoted = [
        text for row in re.findall(r"^\| (.*?) \| ", tables, re.M) for text in re.findall(r"`([^`]+)`", row)
    ]
    parts = [part.strip(" ;:") for text in quoted for part in text.split("...")]
    parts = [part for part in parts if len(part) > 5]
    assert len(parts) > 20
    assert [part for part in parts if part not in code] == []
