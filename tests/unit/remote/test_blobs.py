"""Blobs to a store: the real receiver, as a program of this machine, behind a line that can be cut."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from difyfleet.errors import ConnectionLost, HostError
from difyfleet.remote import blobs as blobs_module
from difyfleet.remote import pipe as pipe_module
from difyfleet.remote.blobs import CHUNK, Blob, agreed, send
from difyfleet.remote.pipe import Pipe

RECORD = ("contents.json", '{"version": 1}\n')


class Door:
    """As much of a connector as a push needs."""

    lease = None
    alive = True

    def require_connection(self, cause: object = None) -> None:
        if not self.alive:
            raise ConnectionLost("gone")


class Host:
    name = "b"

    def __init__(self) -> None:
        self.connector = Door()


def blob(data: bytes, name: str | None = None) -> Blob:
    digest = name or hashlib.sha256(data).hexdigest()
    return Blob(digest, len(data), lambda: io.BytesIO(data), f"blobs/sha256/{digest}")


class Line:
    """Stands in for open_pipe: the receiver runs here. `cut_after` bytes of a pipe the line is cut, once for each number."""

    def __init__(self) -> None:
        self.cuts: list[int] = []
        self.opened = 0
        self.kill = True

    def open(self, on: Any, script: str, what: str, *, program: bool = True) -> Pipe:
        self.opened += 1
        script = script.replace("python3", shlex.quote(sys.executable), 1)
        made = pipe_module._of_program(["bash", "-c", script])
        if not self.cuts:
            return made
        limit, send_whole = self.cuts.pop(0), made.send

        def cut(data: bytes | memoryview) -> None:
            if made.sent + len(data) > limit:
                send_whole(memoryview(data)[: max(0, limit - made.sent)])
                process = made._process
                assert process is not None
                if self.kill:
                    process.kill()
                made._end.close()
                process.wait()
                raise OSError("cut")
            send_whole(data)

        made.send = cut  # type: ignore[method-assign]
        return made


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    made = Line()
    monkeypatch.setattr(blobs_module, "open_pipe", made.open)
    monkeypatch.setattr(blobs_module, "PAUSE", 0.0)
    return made


def stored(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "blobs" / "sha256").iterdir()}


def test_blobs_and_record_arrive_root_only(tmp_path: Path, line: Line) -> None:
    big = random.Random(1).randbytes(2 * CHUNK + 12345)
    wanted = [blob(b""), blob(b"small"), blob(big)]
    moved: list[int] = []
    done = send(Host(), str(tmp_path / "store"), wanted, RECORD, moved.append)
    assert moved == [5, CHUNK, CHUNK, 12345]
    assert stored(tmp_path / "store") == {b.hex: b.open().read() for b in wanted}
    assert (tmp_path / "store" / RECORD[0]).read_text() == RECORD[1]
    assert (done.total, done.there, done.sent, done.tries) == (len(big) + 5, len(big) + 5, len(big) + 5, 1)
    modes = {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "store").rglob("*")}
    assert modes == {"0o700", "0o600"}
    assert not list((tmp_path / "store" / "partial").iterdir())


def test_what_is_there_is_not_sent_again(tmp_path: Path, line: Line) -> None:
    wanted = [blob(b"one"), blob(b"two")]
    send(Host(), str(tmp_path), wanted, RECORD)
    done = send(Host(), str(tmp_path), wanted, RECORD)
    assert (done.sent, done.there, done.total) == (0, 6, 6)


@pytest.mark.parametrize("seed", range(20))
def test_cut_anywhere_at_most_one_chunk_is_sent_again(tmp_path: Path, line: Line, seed: int) -> None:
    dice = random.Random(seed)
    wanted = [blob(dice.randbytes(dice.randrange(1, CHUNK + CHUNK // 2))) for _ in range(2)]
    total = sum(one.size for one in wanted)
    line.cuts = [dice.randrange(200, total)]
    line.kill = dice.random() < 0.5
    done = send(Host(), str(tmp_path), wanted, RECORD)
    assert line.opened == 2
    assert stored(tmp_path) == {b.hex: b.open().read() for b in wanted}
    assert total <= done.sent <= total + CHUNK


def test_no_progress_gives_up_and_keeps_what_came(tmp_path: Path, line: Line) -> None:
    line.cuts = [100, 100, 100]
    with pytest.raises(HostError, match="the line broke") as caught:
        send(Host(), str(tmp_path), [blob(b"x" * 1000)], RECORD)
    assert "run the same command again" in str(caught.value.hint)
    assert not (tmp_path / RECORD[0]).exists()


def test_a_lost_connection_is_not_tried_again(tmp_path: Path, line: Line) -> None:
    line.cuts = [100]
    on = Host()
    on.connector.alive = False
    with pytest.raises(ConnectionLost):
        send(on, str(tmp_path), [blob(b"x" * 1000)], RECORD)
    assert line.opened == 1


def test_damage_on_the_host_is_sent_anew_from_the_last_good_chunk(tmp_path: Path, line: Line) -> None:
    data = random.Random(2).randbytes(3 * CHUNK)
    whole = blob(data)
    partial = tmp_path / "partial" / whole.hex
    partial.parent.mkdir()
    partial.write_bytes(data[: CHUNK + 10] + b"!" + data[CHUNK + 11 : 2 * CHUNK])
    done = send(Host(), str(tmp_path), [whole], RECORD)
    assert done.sent == 2 * CHUNK
    assert stored(tmp_path) == {whole.hex: data}


@pytest.mark.parametrize(("data", "words"), [(b"abcX", "another SHA-256"), (b"abc", "shorter")])
def test_a_damaged_bundle_is_named_and_nothing_gets_its_name(
    tmp_path: Path, line: Line, data: bytes, words: str
) -> None:
    name = hashlib.sha256(b"abcd").hexdigest()
    bad = Blob(name, 4, lambda: io.BytesIO(data), f"prod.tar: blobs/sha256/{name}")
    with pytest.raises(HostError, match=words) as caught:
        send(Host(), str(tmp_path), [bad], RECORD)
    assert caught.value.where == f"prod.tar: blobs/sha256/{name}"
    assert stored(tmp_path) == {}
    assert not (tmp_path / RECORD[0]).exists()


def test_the_receiver_refuses_a_wrong_hash_by_itself(tmp_path: Path) -> None:
    name = hashlib.sha256(b"abcd").hexdigest()
    job = json.dumps({"root": str(tmp_path), "blobs": {name: 4}})
    fed = f"{job}\nblob {name} 0\nchunk 4\nabcX{hashlib.sha256(b'abcX').hexdigest()}\n"
    script = [sys.executable, "-c", blobs_module._SCRIPT.read_text()]
    ended = subprocess.run(script, input=fed, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "another SHA-256" in ended.stdout
    assert stored(tmp_path) == {}


def test_a_chunk_that_changed_on_the_way_is_dropped(tmp_path: Path) -> None:
    name = hashlib.sha256(b"abcd").hexdigest()
    job = json.dumps({"root": str(tmp_path), "blobs": {name: 4}})
    fed = f"{job}\nblob {name} 0\nchunk 4\nabcX{name}\n"
    script = [sys.executable, "-c", blobs_module._SCRIPT.read_text()]
    ended = subprocess.run(script, input=fed, capture_output=True, text=True, timeout=60, check=False)
    assert "arrived damaged" in ended.stdout
    assert (tmp_path / "partial" / name).stat().st_size == 0


def test_a_receiver_left_behind_is_ended(tmp_path: Path, line: Line) -> None:
    job = json.dumps({"root": str(tmp_path), "blobs": {}})
    script = [sys.executable, "-c", blobs_module._SCRIPT.read_text()]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as old:
        assert old.stdin
        assert old.stdout
        old.stdin.write(job + "\n")
        old.stdin.flush()
        assert old.stdout.readline().startswith("difyfleet ")
        send(Host(), str(tmp_path), [blob(b"new")], RECORD)
        assert old.wait(10) != 0


def test_agreed_stops_at_the_first_difference() -> None:
    data = bytes(range(100))
    points = [(end, hashlib.sha256(data[:end]).hexdigest()) for end in (10, 20, 30)]
    points[1] = (20, "0" * 64)
    file = io.BytesIO(data)
    offset, digest = agreed(file, points)
    assert (offset, file.tell(), digest.hexdigest()) == (10, 10, points[0][1])
