"""Docker, its engine and its images as hosts reported them."""

from __future__ import annotations

import subprocess

from difyfleet.facts.docker import Docker, DockerService, Forwarding, IpForward, parse_info
from difyfleet.facts.engine import FileHashes, FileStat, RpmEngineState, StaticEngineFiles, parse_json
from difyfleet.facts.images import ImagePulls, LocalImages, Pull
from tests.unit.facts.recorded import lines


def test_a_running_service() -> None:
    seen = Docker().process(lines("docker"))
    assert (seen.running, seen.enabled, seen.need_reload) == (True, "enabled", False)
    assert seen.fragment == "/etc/systemd/system/docker.service"
    assert (seen.socket_enabled, seen.socket_active, seen.firewalld, seen.chains) == (
        False,
        False,
        "active",
        True,
    )
    assert seen.pending == ()
    assert seen.info is not None
    assert seen.info.version == "26.1.5+dfsg1"
    assert seen.info.mirrors == ("https://docker.m.daocloud.io",)
    assert (seen.info.live_restore, seen.info.log_driver, seen.info.root) == (
        True,
        "json-file",
        "/var/lib/docker",
    )
    assert (seen.info.cgroup, seen.info.compose) == ("1/cgroupfs", "2.26.1-4")
    assert "journald" in seen.info.log_drivers


def test_a_host_without_docker() -> None:
    text = ["##unit", "Result=success", "LoadState=not-found", "ActiveState=inactive", "SubState=dead", "UnitFileState=",
            "##socket", "inactive", "##pending", "##firewalld", "absent", "##info"]  # fmt: skip
    assert Docker().process(text) == DockerService(result="success")


def test_reasons_left_behind_and_chains_gone() -> None:
    seen = Docker().process(
        ["##pending", "daemon.json: bip", "", "other programs", "##info", "##chains", "missing"]
    )
    assert seen.pending == ("daemon.json: bip", "other programs")
    assert (seen.chains, seen.info) == (False, None)


def test_the_clients_half_of_docker_info_is_no_daemon() -> None:
    assert parse_info('{"ServerVersion":"","Compose":"2.26.1"}') is None
    assert parse_info("") is None


def test_forwarding() -> None:
    out = ["0", "/etc/sysctl.conf:net.ipv4.ip_forward = 0", "/etc/sysctl.d/a.conf: net.ipv4.ip_forward=1"]
    assert IpForward().process(out) == Forwarding(
        "0", (("/etc/sysctl.conf", "0"), ("/etc/sysctl.d/a.conf", "1"))
    )


def test_static_installation() -> None:
    seen = StaticEngineFiles().process(lines("static_engine"))
    assert seen.manifest is not None
    assert seen.manifest["version"] == "26.1.5"
    assert seen.group
    assert seen.owner == ""
    state = seen.files["/usr/bin/runc"]
    assert state == FileStat("0755", "root:root", 8752456, 1795501484, 1795501484, 1091202)
    assert state.stamp == seen.manifest["files"]["/usr/bin/runc"]["stamp"]


def test_a_broken_manifest_is_none() -> None:
    assert parse_json('{"version": ') is None
    assert parse_json("[]") is None
    assert parse_json('{"a": 1}') == {"a": 1}


def test_rpm_installation() -> None:
    seen = RpmEngineState().process(lines("rpm_engine"))
    assert seen.versions["docker-ce"] == "26.1.5"
    assert seen.changed == ("/usr/bin/docker-proxy", "/usr/bin/runc")
    assert seen.keys == {"621e9f35"}
    assert not seen.static


def test_file_hashes(tmp_path: object) -> None:
    command = FileHashes().command(paths=("/dev/null", "/no/such file"))
    out = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=20)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert FileHashes().process(out.stdout.split("\n")[:-1]) == {"/dev/null": empty}


def test_images() -> None:
    found = LocalImages().process(["##up", *lines("images")])
    assert found is not None
    one, two = found
    assert one.id.startswith("sha256:7f0dc9f2f7d5")
    assert one.tags == {"nginx:1.27.3"}
    digest = "sha256:f7c07c25aa551762c8f7d9a5d723b53c0a72a47e9488b668bdfe12682f928f5d"
    assert two.digests == {f"langgenius/dify-api@{digest}"}
    bare = LocalImages().process(["##up", '{"id":"sha256:1","tags":null,"digests":null,"size":0}'])
    assert bare is not None
    assert bare[0].tags == frozenset()


def test_no_image_is_not_the_same_as_no_docker() -> None:
    assert LocalImages().process(["##up"]) == ()
    assert LocalImages().process([""]) is None
    assert LocalImages.default() is None


def test_pulls() -> None:
    state = ImagePulls().process(lines("pulls"))
    assert state.in_flight == 4096
    done = state.pulls["ab74fea8da65"]
    assert (done.active, done.exit_code, done.layers, done.ready) == (False, 0, 8, 8)
    assert done.words[-1] == "docker.io/langgenius/dify-api:0.11.2"
    assert state.pulls["000000000000"] == Pull()
