"""What a fact asks a host: a shell command, and beside it the call of a script of ours that gives the same bytes without a shell.

Scripts (`*_script.py`) run on the host, Python >= 3.7 with the standard library. They import each other by their names here; sent over, they
are modules of the same names there. The channel for reads (remote/mux.py) makes the call in its own process, an exec runs the command.
"""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path

_ROOT = Path(__file__).parent
_MODULE = re.compile(r"difyfleet(\.[a-z_]+)*_script")
_IMPORT = re.compile(rb"^from (difyfleet[.a-z_]*_script) import ", re.MULTILINE)
_BOOT = """import sys
for n, c in {sources}:
    m = sys.modules[n] = type(sys)(n)
    exec(c, m.__dict__)
"""

Call = tuple[str, ...]  # module, function, arguments; () = none


class Command(str):
    """A shell command with its call. pyinfra and the shell see a plain string.

    Args:
        text: the command.
        call: of a function that takes texts and gives bytes: what the command prints, with exit status 0 and nothing on standard error.
            It raises for whatever it cannot give exactly so; then the command is run.
    """

    call: Call

    def __new__(cls, text: str, *call: str) -> Command:
        made = super().__new__(cls, text)
        made.call = call
        return made


def scripted(call: Call, before: str = "") -> Command:
    """A command that is nothing but its call: python3 with the script.

    Args:
        before: shell words in front; they must not print, nor end it where the call would give something.
    """
    module, function, *arguments = call
    code = f"{_loaded(module)}sys.stdout.buffer.write(m.{function}(*sys.argv[1:]))"
    return Command(f"{before}LC_ALL=C python3 -I -S -c {shlex.quote(code)} {shlex.join(arguments)}", *call)


def program(module: str) -> str:
    """A script with those that it imports, as one program: its function `main` gets the arguments."""
    return f"{_loaded(module)}m.main(sys.argv[1:])\n"


@functools.cache
def _loaded(module: str) -> str:
    return _BOOT.format(sources=repr([(name, source(name).decode()) for name in modules(module)]))


@functools.cache
def source(module: str) -> bytes:
    """A script's text.

    Raises:
        ValueError: it is none of ours.
    """
    if not _MODULE.fullmatch(module):
        raise ValueError(f"{module} is no script")
    return _ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py").read_bytes()


@functools.cache
def modules(module: str) -> tuple[str, ...]:
    """A script and those that it imports, each after what it needs itself."""
    needed: dict[str, None] = {}
    for name in _IMPORT.findall(source(module)):
        needed.update(dict.fromkeys(modules(name.decode())))
    return (*needed, module)
