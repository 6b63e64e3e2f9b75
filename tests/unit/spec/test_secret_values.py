"""Where secrets come from, and which values are refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from difyfleet.errors import SpecError
from difyfleet.secrets import MASK, Secret
from difyfleet.spec import secret_values
from difyfleet.spec.models import HostSpec
from difyfleet.spec.problems import SpecErrors
from difyfleet.spec.public_secrets import public_default
from difyfleet.spec.secret_source import FromCommand, FromEnv, FromFile, Generate
from difyfleet.spec.secret_values import require_all, sources_in, unfit, value_of
from tests.unit.spec.conftest import Errors, Load


@pytest.fixture(autouse=True)
def _nothing_cached() -> Iterator[None]:
    secret_values.forget()
    yield
    secret_values.forget()


def python(code: str) -> FromCommand:
    return FromCommand(command=[sys.executable, "-c", code])


def secret_file(path: Path, content: bytes, mode: int = 0o600) -> FromFile:
    path.write_bytes(content)
    path.chmod(mode)
    return FromFile(file=path)


def revealed(value: Secret | None) -> str | None:
    return value.reveal() if value else None


def test_none_means_generate() -> None:
    assert value_of(None) is None
    assert value_of(Generate(generate=True)) is None


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "from the environment")
    assert revealed(value_of(FromEnv(env="A_SECRET"))) == "from the environment"


def test_environment_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_SECRET", raising=False)
    with pytest.raises(SpecError) as caught:
        value_of(FromEnv(env="A_SECRET"))
    assert str(caught.value) == "the environment variable A_SECRET is not set\n  next: export A_SECRET=..."


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"pass-word\n", "pass-word"),
        (b"pass-word", "pass-word"),
        (b"pass-word\r\n", "pass-word"),
        (b" blank \n", " blank "),
    ],
)
def test_file(tmp_path: Path, content: bytes, value: str) -> None:
    assert revealed(value_of(secret_file(tmp_path / "s", content))) == value


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_file_modes_that_do(tmp_path: Path, mode: int) -> None:
    assert revealed(value_of(secret_file(tmp_path / "s", b"pass-word", mode))) == "pass-word"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_file_that_others_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "s"
    with pytest.raises(SpecError) as caught:
        value_of(secret_file(path, b"pass-word", mode))
    assert caught.value.what == f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the value from file {path} is empty"),
        (b"one\ntwo\n", "the value from file {path} has more than one line"),
        (b"a\x00b", "the value from file {path} holds control characters"),
        (b"\xff\xfe", "{path} is not UTF-8 text"),
    ],
)
def test_file_content_that_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "s"
    with pytest.raises(SpecError) as caught:
        value_of(secret_file(path, content))
    assert caught.value.what == what.format(path=path)


def test_file_that_went_away(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"cannot read .*/gone: No such file"):
        value_of(FromFile(file=tmp_path / "gone"))


def test_command_gives_its_first_line() -> None:
    assert revealed(value_of(python("print('first-line'); print('second')"))) == "first-line"


def test_command_is_not_a_shell() -> None:
    assert revealed(value_of(FromCommand(command=["echo", "$HOME;id"]))) == "$HOME;id"


def test_command_runs_once(tmp_path: Path) -> None:
    source = python(f"open({str(tmp_path / 'log')!r}, 'a').write('x'); print('first-line')")
    again = FromCommand(command=list(source.command))
    assert revealed(value_of(source)) == revealed(value_of(again)) == "first-line"
    assert (tmp_path / "log").read_text() == "x"


def test_command_gets_no_input() -> None:
    assert revealed(value_of(python("import sys; print(repr(sys.stdin.read()) + '-end')"))) == "''-end"


def test_command_that_fails_shows_masked_errors() -> None:
    source = python(
        "import sys; print('canary-0815'); print('wrong canary-0815', file=sys.stderr); sys.exit(3)"
    )
    with pytest.raises(SpecError) as caught:
        value_of(source)
    assert caught.value.what == f"{sys.executable} ended with exit code 3: wrong {MASK}"


def test_command_without_output() -> None:
    with pytest.raises(SpecError, match="printed nothing"):
        value_of(python("pass"))


def test_command_that_is_not_there() -> None:
    with pytest.raises(SpecError, match="there is no program no-such-program-here for this secret"):
        value_of(FromCommand(command=["no-such-program-here", "argument"]))


def test_command_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_values, "COMMAND_TIMEOUT", 0.2)
    with pytest.raises(SpecError, match=r"gave no secret within 0\.2 s"):
        value_of(python("import time; time.sleep(20)"))


@pytest.mark.parametrize(
    ("field", "text", "reason"),
    [
        ("", "any thing 'goes' $here", None),
        ("ssh.password", "pä ss", None),
        ("dify.secrets.db_password", "0123abcd", None),
        ("dify.secrets.db_password", "A-b_c.d~e!f*(g)", None),
        ("dify.secrets.db_password", "short-7", "is shorter than 8 characters"),
        ("dify.secrets.init_password", "short-7", None),
        ("dify.secrets.init_password", "x" * 30, None),
        ("dify.secrets.init_password", "x" * 31, "is longer than 30 characters, Dify's limit"),
        (
            "dify.secrets.redis_password",
            "difyai123456",
            "is a secret that upstream publishes; anyone knows it",
        ),
        (
            "dify.secrets.sandbox_api_key",
            "dify-sandbox",
            "is a secret that upstream publishes; anyone knows it",
        ),
        ("admin.password", "difyai123456", "is a secret that upstream publishes; anyone knows it"),
        (
            "admin.password",
            "onlyletters",
            "is too weak for Dify: 8 characters or more, with a letter and a digit",
        ),
        (
            "admin.password",
            "lett3rs",
            "is too weak for Dify: 8 characters or more, with a letter and a digit",
        ),
        ("admin.password", "g00d enough, 'really'", None),
        ("openwebui.admin.password", "x" * 73, "is longer than 72 bytes, more than Open WebUI's hash takes"),
    ],
)
def test_unfit(field: str, text: str, reason: str | None) -> None:
    assert unfit(field, text) == reason


@pytest.mark.parametrize("character", list(" '\"\\$#%@:/`é\x7f\t"))
def test_characters_that_env_files_and_urls_cannot_carry(character: str) -> None:
    assert unfit("dify.secrets.db_password", f"long-enough{character}")


@pytest.mark.parametrize(
    ("value", "public"),
    [
        ("sk-9f73s3ljAnything", True),
        ("WVF5YThaHlkAnything", True),
        ("redis://:difyai123456@redis:6379/1", True),
        ("difyai1234567", False),
        ("my-difyai123456", False),
        ("", False),
    ],
)
def test_public_defaults(value: str, public: bool) -> None:
    assert public_default(value) is public


def test_positions_of_missing_secrets(inventory: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOD", "good-enough-1")
    monkeypatch.setenv("BAD", "bad @ all")
    for name in ("NONE_1", "NONE_2"):
        monkeypatch.delenv(name, raising=False)
    environment = inventory(
        "admin: {email: a@b.cd, password: {env: NONE_1}}\n"
        "dify:\n  secrets:\n    secret_key: {env: GOOD}\n    db_password: {env: BAD}\n"
        "hosts:\n  a:\n  b:\n    ssh:\n      sudo_password: {env: NONE_2}\n"
    )
    with pytest.raises(SpecErrors) as caught:
        require_all(environment.hosts)
    assert str(caught.value).splitlines() == [
        "inv.yml:1:34: admin.password: the environment variable NONE_1 is not set",
        "inv.yml:5:18: dify.secrets.db_password: the value from environment variable BAD holds characters that .env files and URLs "
        "cannot carry safely (2 kind(s)); use printable ASCII without blanks and '\"\\$#%@:/`",
        "inv.yml:10:22: hosts.b.ssh.sudo_password: the environment variable NONE_2 is not set",
    ]
    secret_key = environment.hosts[0].dify.secrets.secret_key
    assert revealed(value_of(secret_key)) == "good-enough-1"


def test_the_rules_follow_the_field(inventory: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONG", "x" * 31)
    host = inventory(
        "admin: {email: a@b.cd}\nhosts:\n  a: {dify: {secrets: {init_password: {env: LONG}, db_password: {env: LONG}}}}\n"
    ).hosts[0]
    assert revealed(value_of(host.dify.secrets.db_password)) == "x" * 31
    with pytest.raises(SpecError, match="longer than 30 characters") as caught:
        value_of(host.dify.secrets.init_password)
    assert caught.value.where == "inv.yml:3:39"


def test_secret_files_are_looked_at_while_loading(errors: Errors) -> None:
    Path("open").write_text("x")
    Path("open").chmod(0o644)
    text = "admin: {email: a@b.cd, password: {file: open}}\nhosts: {a: {ssh: {password: {file: none}}}}\n"
    assert errors(text) == [
        "inv.yml:1:41: admin.password.file: DIR/open can be read by others (mode 0644): chmod 600 DIR/open",
        "inv.yml:2:36: hosts.a.ssh.password.file: DIR/none does not exist",
    ]


def test_all_sources_of_a_host_are_found() -> None:
    spec = HostSpec.model_validate(
        {
            "name": "a",
            "address": "a",
            "admin": {"email": "a@b.cd", "password": {"env": "A"}},
            "ssh": {"sudo_password": {"env": "B"}},
            "dify": {"secrets": {"db_password": {"generate": True}}},
        }
    )
    assert sorted(secret_values.describe(source) for source in sources_in(spec)) == [
        "environment variable A",
        "environment variable B",
        "generation on the host",
    ]


def test_an_error_never_names_a_commands_arguments() -> None:
    with pytest.raises(SpecError) as caught:
        value_of(FromCommand(command=["sh", "-c", "exit 4", "private-argument"]))
    assert "private-argument" not in str(caught.value)
