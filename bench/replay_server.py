"""Runs ON THE LAB HOST as root, for the row `replay`: the host's side of read-ahead of a hundred hosts in one process, with recorded answers.

    python3 replay_server.py SOCKET FOLDER

A real one starts a python3 per host, on the very cores that the controller is measured on. This one takes their connections from
replay.c by a socket, takes the program that the controller sends, and answers reads from the files that replay.c has recorded. What it
cannot answer is `other`: the controller then runs the line, and replay.c gives back what it has.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import zlib
from pathlib import Path
from typing import Any

FNV, PRIME = 14695981039346656037, 1099511628211  # as in replay.c
MOST = 1 << 22  # bytes of a line of requests

Answer = tuple[int, bytes, bytes]
_answers: dict[str, Answer | None] = {}
_digests: dict[str, str] = {}


def answer(folder: Path, line: str) -> Answer | None:
    """What was recorded for a line; None = nothing."""
    if line not in _answers:
        number = FNV
        for byte in line.encode():
            number = ((number ^ byte) * PRIME) & (1 << 64) - 1
        parts = [folder / f"{number:016x}.{ending}" for ending in ("status", "out", "err")]
        found = None
        if parts[0].exists():
            found = (int(parts[0].read_text()), parts[1].read_bytes(), parts[2].read_bytes())
        _answers[line] = found
    return _answers[line]


def digest(folder: Path, reads: list[Any]) -> str:
    """The digest of the answers, made by the controller's own script."""
    key = json.dumps([read[1] for read in reads])
    if key not in _digests:
        script = sys.modules["difyfleet.remote.digest_script"]
        found = [answer(folder, line) for _, line, *_ in reads]
        _digests[key] = (
            "-"
            if None in found
            else script.of_all(
                [script.of_answer(read[4], *each) for read, each in zip(reads, found, strict=True) if each]
            )
        )
    return _digests[key]


def take(name: str, code: bytes) -> None:
    """A script that the controller sends; the first host's serves all."""
    if name not in sys.modules:
        module = sys.modules[name] = type(sys)(name)
        exec(code, module.__dict__)  # noqa: S102 - it comes from the controller


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, folder: Path) -> None:
    """One host's channel."""
    try:
        await _program(reader)
        hello = json.loads(await reader.readline())
        nonce, began = hello["nonce"].encode(), time.monotonic()
        writer.write(nonce + b" ready\n")
        while line := await reader.readline():
            what, *words = json.loads(line)
            if what == "packed":
                what, *words = json.loads(zlib.decompress(await reader.readexactly(words[0])))
            if what == "code":
                take(words[0], zlib.decompress(await reader.readexactly(words[1])))
            elif what == "open":  # no port is up
                writer.write(b"%b data %d 0\n" % (nonce, words[0]))
            elif what == "data":
                await reader.readexactly(words[1])
            elif what == "digest":
                writer.write(b"%b digest %d %b\n" % (nonce, words[0], digest(folder, words[1]).encode()))
            elif what == "reads":
                for number, asked, *_ in words[0]:
                    status, out, err = answer(folder, asked) or (b"other", b"", b"")
                    head = b"%b read %d %b %.3f %d %d\n"
                    told = status if isinstance(status, bytes) else b"%d" % status
                    writer.write(
                        head % (nonce, number, told, time.monotonic() - began, len(out), len(err)) + out + err
                    )
            await writer.drain()
    finally:
        writer.close()


async def _program(reader: asyncio.StreamReader) -> None:
    while await reader.readline() != b"difyfleet\n":
        pass
    for _ in range(int(await reader.readline())):
        name, size = (await reader.readline()).decode().split()
        take(name, zlib.decompress(await reader.readexactly(int(size))))


async def main(path: str, folder: Path) -> None:
    server = await asyncio.start_unix_server(lambda *ends: serve(*ends, folder), path, limit=MOST)
    os.chmod(path, 0o666)  # noqa: S103 - its folder is the one user's
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
