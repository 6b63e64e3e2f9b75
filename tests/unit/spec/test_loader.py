"""Input YAML -> what the operator reads: file:line:col, key path, text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from difyfleet.errors import SpecError
from difyfleet.spec import defaults, load
from difyfleet.spec.models import HostSpec, Model
from difyfleet.spec.problems import SpecErrors
from tests.unit.spec.conftest import Errors, Load

ROOT = Path(__file__).resolve().parents[3]


def test_a_host_and_an_admin_are_the_whole_document(inventory: Load) -> None:
    environment = inventory("admin: {email: a@b.cd}\nhosts: {llm: 192.168.44.170}\n")
    (spec,) = environment.hosts
    assert environment.name == "inv"
    assert environment.path == Path.cwd() / "inv.yml"
    assert environment.warnings == ()
    assert (spec.name, spec.address, spec.groups, spec.os) == ("llm", "192.168.44.170", (), "openEuler-22.03")
    assert spec.docker.mirrors == list(defaults.MIRRORS)
    assert len(spec.docker.mirrors) == 13
    assert [model.name for model in spec.ollama.declared()] == ["qwen2.5:7b", "llama3.2:latest"]
    assert len(spec.wanted_images) == 10


@pytest.mark.parametrize(
    "written", ["llm: 10.0.0.9", "llm: {address: 10.0.0.9}", "llm:\n    address: 10.0.0.9"]
)
def test_forms_of_a_host(inventory: Load, written: str) -> None:
    assert inventory(f"admin: {{email: a@b.cd}}\nhosts:\n  {written}\n").hosts[0].address == "10.0.0.9"


@pytest.mark.parametrize("written", ["llm:", "llm: {}", "llm: {address: }", "llm: {docker: }"])
def test_a_bare_host_has_its_name_as_address(inventory: Load, written: str) -> None:
    assert inventory(f"admin: {{email: a@b.cd}}\nhosts:\n  {written}\n").hosts[0].address == "llm"


def test_hosts_merge_mappings_and_replace_lists(inventory: Load) -> None:
    environment = inventory(
        """
        admin: {email: a@b.cd, name: ops}
        docker:
          mirrors: [https://one.example, https://two.example]
          bundle: {url: http://files/docker.tgz}
          daemon: {labels: [a], debug: true}
        os: any
        hosts:
          a:
          b:
            docker: {mirrors: [https://three.example], bundle: {compose_url: http://files/compose}, daemon: {debug: false}}
            admin: {email: b@b.cd}
            os: openEuler-22.03
        """
    )
    a, b = environment.hosts
    assert a.docker.mirrors == ["https://one.example", "https://two.example"]
    assert a.os == "any"
    assert b.docker.mirrors == ["https://three.example"]
    assert (b.docker.bundle.url, b.docker.bundle.compose_url) == (
        "http://files/docker.tgz",
        "http://files/compose",
    )
    assert b.docker.daemon == {"labels": ["a"], "debug": False}
    assert (b.admin.email, b.admin.name, b.os) == ("b@b.cd", "ops", "openEuler-22.03")


def test_hosts_share_what_they_do_not_change(inventory: Load) -> None:
    a, b, c = inventory("admin: {email: a@b.cd}\nhosts: {a: , b: , c: {docker: {bip: 10.3.0.1/24}}}\n").hosts
    assert a.docker is b.docker
    assert a.docker is not c.docker
    assert a.ollama is c.ollama


def test_groups_are_on_the_hosts(inventory: Load) -> None:
    environment = inventory("admin: {email: a@b.cd}\nhosts: {a: , b: }\ngroups: {one: [b, a], two: [b, b]}\n")
    assert environment.groups == {"one": ("b", "a"), "two": ("b",)}
    assert [host.groups for host in environment.hosts] == [("one",), ("one", "two")]


def test_paths_are_relative_to_the_file_and_home_is_expanded(folder: Path) -> None:
    (folder / "inv").mkdir()
    (folder / "inv" / "key").touch()
    (folder / "home").mkdir()
    (folder / "home" / "config").touch()
    text = "admin: {email: a@b.cd}\nhosts: {a: }\nssh: {key: key, config: ~/config, known_hosts: ./new}\n"
    (folder / "inv" / "x.yml").write_text(text)
    ssh = load("inv/x.yml").hosts[0].ssh
    assert ssh.key == folder / "inv" / "key"
    assert ssh.config == folder / "home" / "config"
    assert ssh.known_hosts == folder / "inv" / "new"


def test_models_stay_frozen(inventory: Load) -> None:
    spec = inventory("admin: {email: a@b.cd}\nhosts: {a: }\n").hosts[0]
    with pytest.raises(ValueError, match="frozen"):
        spec.docker.bip = None  # type: ignore[misc]


def test_python_code_may_build_models_without_files() -> None:
    spec = HostSpec.model_validate(
        {"name": "a", "address": "b", "admin": {"email": "a@b.cd"}, "ssh": {"key": "none/here"}}
    )
    assert spec.ssh.key == Path("none/here")


# One case: id, text, errors. Every text is loaded as a whole, so each also shows that nothing else is reported.
CASES: list[tuple[str, str, list[str]]] = [
    (
        "unknown top-level key",
        "admin: {email: a@b.cd}\nhosts: {a: }\ndockr: {}\n",
        ["inv.yml:3:1: dockr: unknown key; did you mean docker?"],
    ),
    (
        "key at the wrong level",
        "admin: {email: a@b.cd}\nhosts: {a: }\nhttp_port: 8080\n",
        ["inv.yml:3:1: http_port: unknown key here; it belongs to dify"],
    ),
    (
        "key far from all",
        "admin: {email: a@b.cd, zzz: 1}\nhosts: {a: }\n",
        ["inv.yml:1:24: admin.zzz: unknown key; known here: email, name, password"],
    ),
    (
        "unknown key of a host",
        "admin: {email: a@b.cd}\nhosts:\n  a: {adress: 10.0.0.1}\n",
        ["inv.yml:3:7: hosts.a.adress: unknown key; did you mean address?"],
    ),
    (
        "unknown key in a nested section of a host",
        "admin: {email: a@b.cd}\nhosts:\n  a:\n    dify:\n      https: {enabld: true}\n",
        ["inv.yml:5:15: hosts.a.dify.https.enabld: unknown key; did you mean enabled?"],
    ),
    (
        "an unknown key of a shared section is said once",
        "admin: {email: a@b.cd}\nhosts: {a: , b: , c: {docker: {bip: 10.3.0.1/24}}}\ndocker: {mirors: []}\n",
        ["inv.yml:3:10: docker.mirors: unknown key; did you mean mirrors?"],
    ),
    (
        "two hosts of one name",
        "admin: {email: a@b.cd}\nhosts:\n  llm: 10.0.0.1\n  llm: 10.0.0.2\n",
        ["inv.yml:4:3: hosts.llm: this key is already there, at inv.yml:3:3"],
    ),
    (
        "no hosts",
        "admin: {email: a@b.cd}\n",
        ["inv.yml:1:1: hosts: is missing; write `hosts: {NAME: ADDRESS}`"],
    ),
    (
        "empty hosts, and other errors all the same",
        "admin: {email: a@b.cd}\nhosts:\ndocker: {log_max_file: 0}\n",
        [
            "inv.yml:2:7: hosts: should be a mapping of host names, as in `llm: 192.168.44.170`, not empty",
            "inv.yml:3:24: docker.log_max_file: should be at least 1, not the number 0",
        ],
    ),
    (
        "hosts as a list",
        "admin: {email: a@b.cd}\nhosts: [a, b]\n",
        ["inv.yml:2:8: hosts: should be a mapping of host names, as in `llm: 192.168.44.170`, not a list"],
    ),
    (
        "no admin",
        "hosts: {a: , b: }\n",
        ["inv.yml:1:1: admin: is missing; write `admin: {email: you@example.com}`"],
    ),
    ("no e-mail", "admin: {name: x}\nhosts: {a: }\n", ["inv.yml:1:1: admin.email: is missing"]),
    (
        "bad e-mail",
        "admin: {email: ops}\nhosts: {a: }\n",
        ["inv.yml:1:16: admin.email: should be an e-mail address, not 'ops'"],
    ),
    (
        "a secret written out, which is never repeated",
        "admin: {email: a@b.cd, password: hunter22}\nhosts: {a: }\n",
        [
            "inv.yml:1:34: admin.password: should say where the secret comes from: {env: NAME}, {file: PATH}, "
            "{command: [PROGRAM, ARGUMENT]} or {generate: true}; a secret itself is never written here"
        ],
    ),
    (
        "a name that is too long",
        f"admin: {{email: a@b.cd, name: {'x' * 31}}}\nhosts: {{a: }}\n",
        ["inv.yml:1:30: admin.name: should have at most 30 characters"],
    ),
    (
        "two sources of one secret",
        "admin: {email: a@b.cd, password: {env: A, file: b}}\nhosts: {a: }\n",
        ["inv.yml:1:43: admin.password.file: unknown key; known here: env"],
    ),
    (
        "not an address",
        "admin: {email: a@b.cd}\nhosts: {a: root@10.0.0.1, b: 10.0.0.1:2222, c: http://x, d: 5, e: [1], f: '::1'}\n",
        [
            "inv.yml:2:12: hosts.a: 'root@10.0.0.1' is not an address; the login name is ssh.user",
            "inv.yml:2:30: hosts.b: '10.0.0.1:2222' is not an address; the port is ssh.port",
            "inv.yml:2:48: hosts.c: 'http://x' is not a host name or IP address",
            "inv.yml:2:61: hosts.d: should be an address, not the number 5",
            "inv.yml:2:67: hosts.e: should be an address or a mapping with address and sections, not a list",
        ],
    ),
    (
        "host names that cannot be file names",
        "admin: {email: a@b.cd}\nhosts: {a/b: 10.0.0.1, -c: 10.0.0.2, no: 10.0.0.3, llm.example.com: }\n",
        [
            'inv.yml:2:9: hosts["a/b"]: a host name has letters, digits, dots, - and _ only',
            "inv.yml:2:24: hosts.-c: a host name has letters, digits, dots, - and _ only",
        ],
    ),
    (
        "groups",
        "admin: {email: a@b.cd}\nhosts: {llm: }\ngroups:\n  llm: [llm]\n  all: [llm]\n  x: llm\n  y: [lm]\n",
        [
            "inv.yml:4:3: groups.llm: the name already means a host (inv.yml:2:9)",
            "inv.yml:5:3: groups.all: the name already means every host",
            "inv.yml:6:6: groups.x: should be a list of host names, not 'llm'",
            "inv.yml:7:7: groups.y[0]: there is no host 'lm'; did you mean llm?",
        ],
    ),
    (
        "one machine under two names",
        "admin: {email: a@b.cd}\nhosts: {a: 10.0.0.1, b: 10.0.0.1, c: {address: 10.0.0.1, ssh: {port: 2222}}}\n",
        ["inv.yml:2:22: hosts.b: has the same address and SSH port as a (inv.yml:2:9): 10.0.0.1 port 22"],
    ),
    (
        "not YAML",
        "admin: {email: a@b.cd\nhosts: {a: }\n",
        ["inv.yml:2:6: not valid YAML: while parsing a flow mapping did not find expected ',' or '}'"],
    ),
    (
        "a tab",
        "admin:\n\temail: a@b.cd\n",
        [
            "inv.yml:2:1: not valid YAML: while scanning for the next token found character that cannot start any token; "
            "indent with spaces, not tabs"
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_errors(errors: Errors, text: str, expected: list[str]) -> None:
    assert errors(text) == expected


# Sections of one host; line 3 is the first line of the text.
SECTION_CASES: list[tuple[str, str, list[str]]] = [
    (
        "text for a number",
        'dify: {http_port: "80"}',
        ["inv.yml:3:19: dify.http_port: should be a whole number, not '80'; remove the quotes"],
    ),
    (
        "a unit",
        "dify: {upload_limit_mb: 50M}",
        [
            "inv.yml:3:25: dify.upload_limit_mb: should be a whole number, not '50M'; write the number without a unit"
        ],
    ),
    (
        "a fraction",
        "dify: {http_port: 80.5}",
        ["inv.yml:3:19: dify.http_port: should be a whole number, not the number 80.5"],
    ),
    (
        "a boolean for a number",
        "dify: {http_port: true}",
        ["inv.yml:3:19: dify.http_port: should be a whole number, not true"],
    ),
    (
        "out of range",
        "dify: {http_port: 70000}",
        ["inv.yml:3:19: dify.http_port: should be at most 65535, not the number 70000"],
    ),
    (
        "yes for true",
        "dify: {enabled: yes}",
        ["inv.yml:3:17: dify.enabled: should be true or false, not 'yes'; write true"],
    ),
    (
        "a number for text",
        "docker: {version: 28}",
        ["inv.yml:3:19: docker.version: should be text, not the number 28; put it in quotes"],
    ),
    (
        "text for a list",
        "docker: {mirrors: https://a.example}",
        ["inv.yml:3:19: docker.mirrors: should be a list, not 'https://a.example'"],
    ),
    (
        "nothing for a list",
        "docker: {mirrors: }",
        [
            "inv.yml:3:19: docker.mirrors: should be a list, not empty; remove the key to get the default or write []"
        ],
    ),
    (
        "a list for a section",
        "docker: [a]",
        ["inv.yml:3:9: docker: should be a mapping (key: value), not a list"],
    ),
    (
        "not one of the words",
        "dify: {log_level: info}",
        [
            "inv.yml:3:19: dify.log_level: should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR', not 'info'; did you mean INFO?"
        ],
    ),
    (
        "another Dify",
        "dify: {version: 1.15}",
        ["inv.yml:3:17: dify.version: should be '0.11.2', not the number 1.15"],
    ),
    (
        "a relative path on the host",
        "ollama: {data_dir: opt/ollama}",
        [
            "inv.yml:3:20: ollama.data_dir: should be an absolute path on the host without blanks or special characters, not 'opt/ollama'"
        ],
    ),
    (
        "models",
        "ollama:\n  models:\n    - a:b\n    - {name: c, digest: zz}\n    - 7\n    - {digest: 0123456789ab}\n    - {name: d, size: 1}",
        [
            "inv.yml:6:25: ollama.models[1].digest: should be 12 to 64 hex digits in lower case, not 'zz'",
            "inv.yml:7:7: ollama.models[2]: should be a mapping (key: value) or text, not the number 7",
            "inv.yml:8:7: ollama.models[3].name: is missing",
            "inv.yml:9:17: ollama.models[4].size: unknown key; known here: name, digest",
        ],
    ),
    (
        "mirrors",
        "docker:\n  mirrors:\n    - https://ok.example/path/\n    - ok.example\n    - ftp://a.example\n    - https://u:hunter22@b.example\n"
        "    - https://c.example/?a=1\n    - https://d.example/#x\n    - https://\n    - https://e.example:99999\n    - 'https://f g'\n"
        "    - ftp://u:hunter22@h.example",
        [
            "inv.yml:6:7: docker.mirrors[1]: 'ok.example' must begin with https:// (or http://)",
            "inv.yml:7:7: docker.mirrors[2]: 'ftp://a.example' must begin with https:// (or http://)",
            "inv.yml:8:7: docker.mirrors[3]: a mirror URL cannot carry a user name or password; dockerd would refuse to start",
            "inv.yml:9:7: docker.mirrors[4]: a mirror URL cannot carry a query or fragment; dockerd would refuse to start",
            "inv.yml:10:7: docker.mirrors[5]: a mirror URL cannot carry a query or fragment; dockerd would refuse to start",
            "inv.yml:11:7: docker.mirrors[6]: 'https://' names no host",
            "inv.yml:12:7: docker.mirrors[7]: 'https://e.example:99999' is not a URL: Port out of range 0-65535",
            "inv.yml:13:7: docker.mirrors[8]: a URL cannot hold blanks",
            "inv.yml:14:7: docker.mirrors[9]: 'ftp://h.example' must begin with https:// (or http://)",
        ],
    ),
    (
        "networks, each for itself",
        "docker:\n  bip: 10.3.0.0/24\n  address_pools:\n    - {base: 10.4.0.1/16, size: 24}\n    - {base: 10.5.0.0/16, size: 8}\n"
        "    - {base: 10.6.0.0/16}\n    - {base: here, size: 24}",
        [
            "inv.yml:4:8: docker.bip: '10.3.0.0/24' is the network itself; docker0 needs an address in it, as in 10.3.0.1/24",
            "inv.yml:6:7: docker.address_pools[0]: base '10.4.0.1/16' is not a network in CIDR form; did you mean 10.4.0.0/16?",
            "inv.yml:7:7: docker.address_pools[1]: size 8 must be a prefix length from 16 to 30",
            "inv.yml:8:7: docker.address_pools[2]: an address pool has exactly the keys base and size, as in {base: 10.201.0.0/16, size: 24}",
            "inv.yml:9:7: docker.address_pools[3]: base 'here' is not a network in CIDR form, as in 10.201.0.0/16",
        ],
    ),
    (
        "networks against each other",
        "docker:\n  bip: 10.4.3.1/24\n  address_pools:\n    - {base: 10.4.0.0/16, size: 24}\n    - {base: 10.0.0.0/8, size: 24}",
        [
            "inv.yml:6:7: docker.address_pools[0]: overlaps bip 10.4.3.1/24",
            "inv.yml:7:7: docker.address_pools[1]: 10.0.0.0/8 holds the host's own address 10.9.9.9; containers would cut the host off",
            "inv.yml:7:7: docker.address_pools[1]: overlaps address pool 10.4.0.0/16",
            "inv.yml:7:7: docker.address_pools[1]: overlaps bip 10.4.3.1/24",
        ],
    ),
    (
        "bip in a default pool",
        "docker: {bip: 10.201.4.1/24}",
        ["inv.yml:3:15: docker.bip: overlaps address pool 10.201.0.0/16"],
    ),
    (
        "bip around the host",
        "docker: {bip: 10.9.0.1/16}",
        [
            "inv.yml:3:15: docker.bip: 10.9.0.1/16 holds the host's own address 10.9.9.9; containers would cut the host off"
        ],
    ),
    (
        "a bind address that is a name",
        "ollama: {bind: localhost}",
        [
            "inv.yml:3:16: ollama.bind: 'localhost' is not an IP address; Docker binds published ports to addresses only, as in 127.0.0.1"
        ],
    ),
    (
        "not an image",
        "ollama: {image: ollama/Ollama}",
        ["inv.yml:3:17: ollama.image: 'ollama/Ollama' is not an image reference, as in ollama/ollama:0.4.7"],
    ),
    (
        "not a duration",
        "ollama: {keep_alive: soon}",
        ["inv.yml:3:22: ollama.keep_alive: 'soon' is not a duration, as in 30m, 1h30m or \"-1\" (for ever)"],
    ),
    (
        "not a log size",
        "docker: {log_max_size: 20MB}",
        ["inv.yml:3:24: docker.log_max_size: '20MB' is not a log size, as in 500k, 20m or 1g"],
    ),
    (
        "what must not get into nginx's configuration",
        "dify: {server_name: 'a; return 200'}",
        [
            "inv.yml:3:21: dify.server_name: 'a; return 200' is not a server name, as in dify.example.com, or _ for any"
        ],
    ),
    (
        "the other admin's e-mail",
        "openwebui: {admin: {email: me}}",
        ["inv.yml:3:28: openwebui.admin.email: should be an e-mail address, not 'me'"],
    ),
    (
        "insecure registries",
        "docker: {insecure_registries: [10.0.0.0/8, 'a:5000', 'http://b', 'c d']}",
        [
            "inv.yml:3:54: docker.insecure_registries[2]: an insecure registry is written host:port, without http://",
            "inv.yml:3:66: docker.insecure_registries[3]: 'c d' is neither host:port nor a network in CIDR form",
        ],
    ),
    (
        "an engine that is too old",
        "docker: {version: 18.09.0, compose_version: 1.29.2}",
        [
            "inv.yml:3:19: docker.version: Docker Engine 18.09.0 is too old: before 23.0 daemon.json cannot be validated, "
            "before 20.10.10 current images cannot start threads",
            "inv.yml:3:45: docker.compose_version: '1.29.2' is not a Compose version of 2.0 or later",
        ],
    ),
    (
        "what must not get into a URL or a command",
        "docker: {version: '28.5.2-1 ; id', rpm: {gpgkey: /etc/key}}\nollama: {data_dir: /opt/$(id)}",
        [
            "inv.yml:3:50: docker.rpm.gpgkey: should be an https:// or file:// URL, not '/etc/key'",
            "inv.yml:4:20: ollama.data_dir: should be an absolute path on the host without blanks or special characters, not '/opt/$(id)'",
        ],
    ),
    (
        "a mirror path before 24",
        "docker: {version: 23.0.6, mirrors: [https://a.example/hub, https://b.example/]}",
        [
            "inv.yml:3:37: docker.mirrors[0]: Docker Engine 23.0.6 refuses a mirror URL with a path; 24.0 and later take it"
        ],
    ),
    (
        "ports: written against a default",
        "openwebui: {port: 80}",
        ["inv.yml:3:19: openwebui.port: port 80 is also taken by dify.http_port (its default)"],
    ),
    (
        "ports: both written",
        "openwebui: {port: 9000}\nollama: {port: 9000}",
        ["inv.yml:4:16: ollama.port: port 9000 is also taken by openwebui.port (inv.yml:3:19)"],
    ),
    (
        "ports: HTTPS",
        "dify: {http_port: 443, https: {enabled: true, certificate: x, key: y}}",
        [
            "inv.yml:3:60: dify.https.certificate: DIR/x does not exist",
            "inv.yml:3:68: dify.https.key: DIR/y does not exist",
        ],
    ),
    (
        "HTTPS without files",
        "dify: {http_port: 443, https: {enabled: true}}",
        [
            "inv.yml:3:19: dify.http_port: port 443 is also taken by dify.https.port (its default)",
            "inv.yml:3:41: dify.https.enabled: HTTPS needs https.certificate, a PEM file beside the inventory",
            "inv.yml:3:41: dify.https.enabled: HTTPS needs https.key, a PEM file beside the inventory",
        ],
    ),
    (
        "files that are not there",
        "ssh: {key: ~/.ssh/none, config: ssh_config, known_hosts: no/known_hosts}\ndocker: {bundle: {file: a.tgz, sha256sums: /none/SUMS}}",
        [
            "inv.yml:3:12: ssh.key: DIR/home/.ssh/none does not exist",
            "inv.yml:3:33: ssh.config: DIR/ssh_config does not exist",
            "inv.yml:3:58: ssh.known_hosts: the folder DIR/no does not exist",
            "inv.yml:4:25: docker.bundle.file: DIR/a.tgz does not exist",
            "inv.yml:4:44: docker.bundle.sha256sums: /none/SUMS does not exist",
        ],
    ),
    (
        "known_hosts must exist where no unknown host is accepted",
        "ssh: {known_hosts: kh, host_key_checking: yes}",
        [
            "inv.yml:3:20: ssh.known_hosts: DIR/kh does not exist, and host_key_checking: yes accepts no unknown host"
        ],
    ),
    (
        "Dify's .env",
        "dify:\n  upload_limit_mb: x\n  env:\n    UPLOAD_FILE_SIZE_LIMIT: 50M\n    UPLOAD_IMAGE_FILE_SIZE_LIMIT: 10M\n    SECRET_KEY: hunter22\n    DB_HOST: db\n"
        '    DEBUG: maybe\n    A-B: 1\n    MOTD: "it\'s"\n    CUSTOM: difyai123456\n    FOO: [1]\n    APP_WEB_URL: https://a.example/x',
        [
            "inv.yml:4:20: dify.upload_limit_mb: should be a whole number, not 'x'",
            "inv.yml:6:29: dify.env.UPLOAD_FILE_SIZE_LIMIT: is set by difyfleet: write `dify.upload_limit_mb: 50` instead; "
            "'50M' would keep api and worker from starting, the limit is a whole number of MB",
            "inv.yml:7:35: dify.env.UPLOAD_IMAGE_FILE_SIZE_LIMIT: should be a whole number of MB without a unit, not '10M'; Dify would not start with it",
            "inv.yml:8:17: dify.env.SECRET_KEY: is set by difyfleet: use dify.secrets.secret_key instead",
            "inv.yml:9:14: dify.env.DB_HOST: is fixed by difyfleet's own compose project and cannot be set here",
            "inv.yml:10:12: dify.env.DEBUG: should be true or false, not 'maybe'; Dify would not start with it",
            "inv.yml:11:10: dify.env.A-B: is not a name for an environment variable (letters, digits and _)",
            "inv.yml:12:11: dify.env.MOTD: may not hold a single quote or a backslash: .env files have no safe way to carry them",
            "inv.yml:13:13: dify.env.CUSTOM: this value is a secret that upstream publishes; anyone knows it",
            "inv.yml:14:10: dify.env.FOO: should be text, a whole number or true/false, not a list",
            "inv.yml:15:18: dify.env.APP_WEB_URL: should be an origin such as https://dify.example.com (no path) or empty, not 'https://a.example/x'",
        ],
    ),
    (
        "variables of the other containers",
        "ollama: {env: {A B: x, OK: y}}\nopenwebui:\n  env:\n    TWO: |\n      a\n      b\n    WEBUI_SECRET_KEY: t0p-s3cr3t",
        [
            'inv.yml:3:21: ollama.env["A B"]: is not a name for an environment variable (letters, digits and _)',
            "inv.yml:6:10: openwebui.env.TWO: may not hold line breaks",
            "inv.yml:9:23: openwebui.env.WEBUI_SECRET_KEY: this value is a secret that upstream publishes; anyone knows it",
        ],
    ),
    (
        "two sources of the engine",
        "docker: {bundle: {url: http://a/b, file: inv.yml}}",
        ["inv.yml:3:42: docker.bundle.file: bundle.url is given too; one source is enough"],
    ),
]


@pytest.mark.parametrize(
    ("text", "expected"), [case[1:] for case in SECTION_CASES], ids=[case[0] for case in SECTION_CASES]
)
def test_section_errors(section_errors: Errors, text: str, expected: list[str]) -> None:
    assert section_errors(text) == expected


def test_no_secret_is_repeated_in_any_error(section_errors: Errors) -> None:
    cases = [text for _, text, _ in SECTION_CASES if "hunter22" in text]
    assert len(cases) == 2
    assert "hunter22" not in str([section_errors(text) for text in cases])


def test_errors_between_sections_are_found_beside_errors_in_sections(section_errors: Errors) -> None:
    assert section_errors("preflight: {disk_gib: lots}\nopenwebui: {port: 80}") == [
        "inv.yml:3:23: preflight.disk_gib: should be a whole number, not 'lots'",
        "inv.yml:4:19: openwebui.port: port 80 is also taken by dify.http_port (its default)",
    ]


def test_a_broken_section_claims_no_port(section_errors: Errors) -> None:
    assert section_errors("dify: {http_port: 81, directory: x}\nopenwebui: {port: 80}") == [
        "inv.yml:3:34: dify.directory: should be an absolute path on the host without blanks or special characters, not 'x'"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "openwebui: {port: 80, bind: 10.9.9.9}\ndify: {bind: 127.0.0.1}",
        "openwebui: {port: 80, enabled: false}",
        "openwebui: {port: 443}",
        "ollama: {port: 80, bind: '::1'}",
        "dify: {enabled: false}\nollama: {port: 80, bind: 127.0.0.1}",
    ],
)
def test_ports_that_do_not_meet(host_with: Load, text: str) -> None:
    assert len(host_with(text).hosts) == 1


@pytest.mark.parametrize("bind", ["0.0.0.0", "127.0.0.1", "'::'"])
def test_ports_that_meet(section_errors: Errors, bind: str) -> None:
    assert len(section_errors(f"ollama: {{port: 80, bind: {bind}}}")) == 1


def test_one_error_of_many_hosts_names_its_host(errors: Errors) -> None:
    assert errors(
        "admin: {email: a@b.cd}\nhosts:\n  a: 10.0.0.1\n  b: {address: 10.0.0.2, openwebui: {port: 80}}\n"
    ) == ["inv.yml:4:44: hosts.b.openwebui.port: port 80 is also taken by dify.http_port (its default)"]


def test_the_default_networks_around_a_host(errors: Errors) -> None:
    assert errors("admin: {email: a@b.cd}\nhosts: {a: 10.200.0.7, b: 10.201.1.1}\n") == [
        "inv.yml:2:9: hosts.a: the default docker.bip 10.200.0.1/24 holds the host's own address 10.200.0.7; "
        "containers would cut the host off; set docker.bip",
        "inv.yml:2:24: hosts.b: the default docker.address_pools 10.201.0.0/16 holds the host's own address 10.201.1.1; "
        "containers would cut the host off; set docker.address_pools",
    ]


def test_hosts_behind_different_ssh_configs_may_share_an_address(inventory: Load) -> None:
    Path("one").touch()
    Path("two").touch()
    text = "admin: {email: a@b.cd}\nhosts: {a: {address: gate, ssh: {config: one}}, b: {address: gate, ssh: {config: two}}}\n"
    assert [host.name for host in inventory(text).hosts] == ["a", "b"]


WARNINGS: list[tuple[str, str, list[str]]] = [
    (
        "open Ollama",
        "ollama: {bind: 0.0.0.0}",
        [
            "inv.yml:3:16: ollama.bind: Ollama has no authentication: whoever reaches 0.0.0.0 port 11434 can use, pull and delete models. "
            "Open WebUI and Dify on this host reach it without this"
        ],
    ),
    ("loopback of another kind", "ollama: {bind: '::1'}", []),
    (
        "floating tags",
        "ollama: {image: ollama/ollama}\nopenwebui: {image: 'ghcr.io/open-webui/open-webui:main'}\ndify: {images: {nginx: 'nginx:latest', db: 'postgres:15-alpine'}}",
        [
            "inv.yml:3:17: ollama.image: ollama/ollama has no tag (which means latest): two hosts, or two days, may run different images; write a fixed tag, or difyfleet lock",
            "inv.yml:4:20: openwebui.image: ghcr.io/open-webui/open-webui:main has the moving tag main: two hosts, or two days, may run different images; write a fixed tag, or difyfleet lock",
            "inv.yml:5:24: dify.images.nginx: nginx:latest has the moving tag latest: two hosts, or two days, may run different images; write a fixed tag, or difyfleet lock",
        ],
    ),
    ("a digest pins", f"ollama: {{image: 'ollama/ollama:latest@sha256:{'0' * 64}'}}", []),
    (
        "host keys",
        "ssh: {host_key_checking: no}",
        [
            "inv.yml:3:26: ssh.host_key_checking: host keys are not checked, so another machine may stand in for a host; accept-new is enough for fresh hosts"
        ],
    ),
    (
        "sign-up",
        "openwebui: {signup: true}",
        ["inv.yml:3:21: openwebui.signup: whoever reaches the page can make an account"],
    ),
    (
        "insecure registries",
        "docker: {insecure_registries: ['a:5000']}",
        [
            "inv.yml:3:31: docker.insecure_registries: registries without TLS verification: whoever is on the way can replace an image"
        ],
    ),
    (
        "unsigned packages",
        "docker: {method: rpm, rpm: {gpgkey: null}}",
        ["inv.yml:3:37: docker.rpm.gpgkey: packages are installed without a signature check"],
    ),
    (
        "not pinned",
        "docker: {bundle: {url: http://a/b}}",
        [
            "inv.yml:3:24: docker.bundle.url: runs as root on every host but is not pinned: write bundle.sha256 or bundle.sha256sums, or difyfleet lock"
        ],
    ),
    (
        "an old Compose",
        "docker: {compose_version: 2.20.0}",
        [
            "inv.yml:3:27: docker.compose_version: Compose 2.20.0 is older than any this was tried with; 2.24 or later is known to do"
        ],
    ),
    (
        "Dify's .env",
        "dify: {env: {SMTP_PASSWORD: hunter22x, GUNICORN_TIMEOUTT: 5, ADMIN_API_KEY_ENABLE: true, DEBUG: true, OTHER: x}}",
        [
            "inv.yml:3:29: dify.env.SMTP_PASSWORD: this secret stands in the inventory as plain text; keep the file private (chmod 600)",
            "inv.yml:3:40: dify.env.GUNICORN_TIMEOUTT: not a setting of Dify 0.11.2 that difyfleet knows; did you mean GUNICORN_TIMEOUT?",
            "inv.yml:3:97: dify.env.DEBUG: shows Dify's inner workings to whoever meets an error page",
        ],
    ),
]


@pytest.mark.parametrize(
    ("text", "expected"), [case[1:] for case in WARNINGS], ids=[case[0] for case in WARNINGS]
)
def test_warnings(host_with: Load, text: str, expected: list[str]) -> None:
    assert [str(warning) for warning in host_with(text).warnings] == expected


def test_a_secret_in_an_env_is_masked_from_then_on(host_with: Load) -> None:
    from difyfleet.secrets import mask

    host_with("dify: {env: {RESEND_API_KEY: canary-4711}}")
    assert mask("key is canary-4711") == "key is ********"


def test_a_missing_file_and_an_empty_one(folder: Path) -> None:
    with pytest.raises(SpecError, match=re.escape("none.yml: there is no such inventory file")):
        load("none.yml")
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        load(".")
    Path("empty.yml").write_text("# nothing\n")
    with pytest.raises(SpecError, match=re.escape("empty.yml: is empty\n  next: inventory/example.yml")):
        load("empty.yml")
    Path("list.yml").write_text("- a\n")
    with pytest.raises(
        SpecError, match=re.escape("list.yml: should hold a mapping with the key hosts, not a list")
    ):
        load("list.yml")
    Path("latin.yml").write_bytes("admin:\n  name: é\n".encode("latin-1"))
    with pytest.raises(SpecError, match=re.escape("latin.yml:2: is not UTF-8 text")):
        load("latin.yml")


def test_the_list_of_errors_is_there_as_objects(inventory: Load) -> None:
    with pytest.raises(SpecErrors) as caught:
        inventory("admin: {email: ops, x: 1}\nhosts: {a: }\n")
    assert [error.where for error in caught.value.errors] == ["inv.yml:1:16", "inv.yml:1:21"]
    assert caught.value.what == "2 errors in the inventory; no host was contacted"


@pytest.mark.parametrize("name", ["example.yml", "minimal.yml"])
def test_the_inventories_of_the_project_are_valid(name: str) -> None:
    environment = load(ROOT / "inventory" / name)
    assert environment.warnings == ()
    assert [host.address for host in environment.hosts] == ["192.168.44.170"]


def test_the_minimal_inventory_is_a_host_and_an_admin() -> None:
    lines = [
        line
        for line in (ROOT / "inventory" / "minimal.yml").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert len(lines) == 3


def test_declared_models_keep_their_digests(host_with: Load) -> None:
    ollama = host_with("ollama: {models: [a, {name: b, digest: 0123456789ab}, 'a:latest']}").hosts[0].ollama
    assert ollama.declared() == (Model(name="a:latest"), Model(name="b:latest", digest="0123456789ab"))


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("28.5.2", True),
        ("26.1.5+dfsg1", True),
        ("29.0.0-rc.1", True),
        ("28", False),
        ("28.5.2-1 ; id", False),
    ],
)
def test_engine_versions(host_with: Load, section_errors: Errors, version: str, fits: bool) -> None:
    text = f"docker: {{version: '{version}'}}"
    if fits:
        assert host_with(text).hosts[0].docker.version == version
    else:
        assert section_errors(text) == [
            f"inv.yml:3:19: docker.version: {version!r} is not an engine version, as in 28.5.2"
        ]
