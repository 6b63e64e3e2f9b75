"""facts.dify_uploads and friends: questions to Dify's database, and files of ours."""

from __future__ import annotations

from difyfleet.facts.dify_state import JsonFile
from difyfleet.facts.dify_uploads import DifyUploads, StoredUpload
from difyfleet.facts.uploaded_file import UploadedFile

ONE = "aa9ec553-101c-460a-9c85-10efa2a33db2"


def test_only_ids_get_into_the_query() -> None:
    command = DifyUploads().command("dify", (ONE, "'; drop table upload_files; --"))
    assert f"where id in ('\"'\"'{ONE}'\"'\"');" in command
    assert "drop table" not in command
    assert "docker exec -i dify-db-1 sh -c" in command
    assert DifyUploads().command("dify", ("nothing",)) == "true"


def test_rows() -> None:
    rows = [
        f"{ONE}|472|c5d2|upload_files/t/u.md",
        "",
        "psql: error: connection refused",
        f"{ONE[:-1]}3|0||upload_files/t/v.md",
    ]
    assert DifyUploads().process(rows) == {
        ONE: StoredUpload(472, "c5d2", "upload_files/t/u.md"),
        f"{ONE[:-1]}3": StoredUpload(0, "", "upload_files/t/v.md"),
    }


def test_json_files() -> None:
    assert JsonFile().process(['{"version": 1,', ' "a": []}']) == {"version": 1, "a": []}
    assert JsonFile().process([]) is None
    assert JsonFile().process(["{broken"]) is None
    assert JsonFile().process(["[1]"]) is None
    assert (
        JsonFile().command("/etc/difyfleet/x y.json")
        == "[ ! -f '/etc/difyfleet/x y.json' ] || cat '/etc/difyfleet/x y.json'"
    )


def test_uploaded_files() -> None:
    assert UploadedFile().process(["=", "YWJj", "ZGVm"]) == "YWJjZGVm"
    assert UploadedFile().process(["="]) == "", "an empty file is a file"
    assert UploadedFile().process([]) is None
