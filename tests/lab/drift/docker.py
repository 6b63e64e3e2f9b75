"""Rows of the roles docker and images."""

from __future__ import annotations

from tests.lab.drift.row import Row, changed, gone, json_edit, mode, owner

DAEMON, SYSCTL = "/etc/docker/daemon.json", "/etc/sysctl.d/99-zz-difyfleet.conf"
UNIT, ENGINE = "/etc/systemd/system/docker.service", "/etc/difyfleet/engine.json"
SOCKET = "/etc/systemd/system/docker.socket"


def daemon(key: str, statement: str, old: str, new: str, why: str = "") -> Row:
    return Row(f"daemon.json: {key}", "docker", 1, json_edit(DAEMON, statement), old, new, why)


def reloaded(key: str, statement: str, old: str, new: str) -> Row:
    """Another setting in force than in the file: the file is edited, read by dockerd, and put back."""
    edit = f"cp -p {DAEMON} /root/d.json; {json_edit(DAEMON, statement)}\nsystemctl reload docker; sleep 1; cp -p /root/d.json {DAEMON}; rm /root/d.json"
    return Row(f"dockerd: {key} in force", "docker", 4, edit, old, new)


DOCKER = (
    changed(1, "docker", SYSCTL, "net.ipv4.ip_forward = 1", "net.ipv4.ip_forward = 0"),
    mode(2, "docker", SYSCTL),
    owner(2, "docker", SYSCTL),
    gone(5, "docker", SYSCTL),
    Row(
        "/etc/sysctl.conf: ip_forward",
        "docker",
        1,
        "sed -i 's/^net.ipv4.ip_forward *= *1/net.ipv4.ip_forward = 0/' /etc/sysctl.conf; grep -q 'ip_forward = 0' /etc/sysctl.conf",
        "/etc/sysctl.conf: net.ipv4.ip_forward = 0",
        "wanted 1",
    ),
    Row(
        "kernel: ip_forward",
        "docker",
        1,
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
        "net.ipv4.ip_forward: 0 in the kernel",
        "wanted 1",
    ),
    # the static archive's eight programs and the Compose plugin
    *(
        Row(
            f"/usr/bin/{name}: mode",
            "docker",
            1,
            f"chmod 0777 /usr/bin/{name}",
            f"/usr/bin/{name}: mode 0777 root:root",
            "wanted 0755 root:root",
        )
        for name in ("dockerd", "containerd", "runc")
    ),
    *(
        Row(
            f"/usr/bin/{name}: owner",
            "docker",
            1,
            f"chown bin:bin /usr/bin/{name}",
            f"/usr/bin/{name}: mode 0755 bin:bin",
            "wanted 0755 root:root",
        )
        for name in ("docker", "docker-proxy")
    ),
    Row(
        "/usr/bin/ctr: removed",
        "docker",
        1,
        "rm /usr/bin/ctr",
        "/usr/bin/ctr: absent",
        "",
        "what is not there has no value",
    ),
    Row(
        "/usr/bin/docker-init: content",
        "docker",
        1,
        "echo >> /usr/bin/docker-init",
        "/usr/bin/docker-init: another program than the one installed (SHA-256 ",
        "wanted ",
    ),
    Row(
        "compose plugin: content",
        "docker",
        2,
        "echo >> /usr/local/lib/docker/cli-plugins/docker-compose",
        "cli-plugins/docker-compose: another program than the one installed (SHA-256 ",
        "wanted ",
    ),
    Row(
        "compose plugin: removed",
        "docker",
        3,
        "rm /usr/local/lib/docker/cli-plugins/docker-compose",
        "cli-plugins/docker-compose: absent",
        "",
        "what is not there has no value",
    ),
    Row(
        "engine record: removed",
        "docker",
        5,
        f"rm {ENGINE}",
        "docker: there, but not installed by difyfleet",
        "wanted 26.1.5",
    ),
    Row(
        "containerd-shim: removed while its containers run",
        "docker",
        2,
        "rm /usr/bin/containerd-shim-runc-v2",
        "/usr/bin/containerd-shim-runc-v2: absent",
        "",
        "what is not there has no value",
    ),
    Row("group docker", "docker", 1, "groupdel docker", "group docker: absent", "", "a group has no value"),
    Row(
        "engine record: engine version",
        "docker",
        1,
        json_edit(ENGINE, "d['version'] = '1.2.3'"),
        "docker: version 1.2.3",
        "wanted 26.1.5",
    ),
    Row(
        "engine record: Compose version",
        "docker",
        1,
        json_edit(ENGINE, "d['compose_version'] = '2.0.0'"),
        "compose plugin: version 2.0.0",
        "wanted 2.26.1",
    ),
    Row(
        "engine record: hash of the archive",
        "docker",
        2,
        json_edit(ENGINE, "d['archive_sha256'] = 'f' * 64"),
        "docker 26.1.5: installed from another archive (ffffffffffff)",
        "",
        "the wanted hash stands in the inventory's docker.bundle",
    ),
    Row(
        "engine record: hash of the plugin",
        "docker",
        2,
        json_edit(ENGINE, "d['compose_sha256'] = 'e' * 64"),
        "compose plugin 2.26.1: another file (eeeeeeeeeeee)",
        "",
        "the wanted hash stands in the inventory's docker.bundle",
    ),
    changed(1, "docker", UNIT, "RestartSec=2", "RestartSec=9"),
    mode(2, "docker", UNIT),
    owner(2, "docker", UNIT),
    Row(
        "docker.service: stopped",
        "docker",
        5,
        "systemctl stop docker.socket docker.service",
        "docker.service: inactive",
        "wanted running",
    ),
    Row(
        "docker.service: masked",
        "docker",
        5,
        # not read by systemd, which would take the cgroups of the running containers away
        f"ln -sf /dev/null {UNIT}",
        f"{UNIT}: a link (masked?)",
        "wanted difyfleet's unit",
    ),
    Row(
        "docker.service: on disk another than read",
        "docker",
        4,
        f"touch -d '+1 second' {UNIT}; mkdir -p {UNIT}.d; echo '[Service]' > {UNIT}.d/drift.conf",
        "docker.service: changed on disk, systemd has not read it",
        "",
        "systemd tells only that it differs",
    ),
    daemon(
        "registry-mirrors",
        "d['registry-mirrors'][0] = 'https://evil.example'",
        '-"https://evil.example"',
        '+"https://',
    ),
    daemon("data-root", "d['data-root'] = '/srv/docker'", '-"data-root": "/srv/docker"', '"/var/lib/docker"'),
    daemon("live-restore", "d['live-restore'] = False", '-"live-restore": false', '+"live-restore": true'),
    daemon("log-driver", "d['log-driver'] = 'local'", '-"log-driver": "local"', '"json-file"'),
    daemon("log size", "d['log-opts']['max-size'] = '1m'", '-"max-size": "1m"', '+"max-size": "20m"'),
    daemon("log files", "d['log-opts']['max-file'] = '9'", '-"max-file": "9"', '+"max-file": "5"'),
    daemon("bip", "d['bip'] = '10.9.9.1/24'", '-"bip": "10.9.9.1/24"', '+"bip": "10.200.0.1/24"'),
    daemon(
        "address pool",
        "d['default-address-pools'][0]['base'] = '10.9.0.0/16'",
        '"base": "10.9.0.0/16"',
        '"base": "10.201.0.0/16"',
    ),
    daemon("size of networks", "d['default-address-pools'][0]['size'] = 20", '-"size": 20', '+"size": 24'),
    daemon(
        "downloads", "d['max-concurrent-downloads'] = 1", '-"max-concurrent-downloads": 1', 'downloads": 6'
    ),
    daemon("a key that nobody declared", "d['debug'] = True", '-"debug": true', "debug would go"),
    mode(2, "docker", DAEMON),
    owner(2, "docker", DAEMON),
    gone(3, "docker", DAEMON),
    Row(
        "daemon.json: not JSON",
        "docker",
        5,
        f"echo 'log-level: debug' > {DAEMON}",
        "-log-level: debug",
        "not valid JSON, replaced",
    ),
    Row(
        "record of daemon.json",
        "docker",
        4,
        json_edit("/etc/difyfleet/daemon.json", "d['written'] = '0' * 64"),
        "/etc/difyfleet/daemon.json: does not match /etc/docker/daemon.json",
        "",
        "a hash; it only tells whether the last writer was difyfleet",
    ),
    Row(
        "record of mirrors: an answer lost",
        "docker",
        1,
        json_edit("/etc/difyfleet/mirrors.json", "d['mirrors'].pop('https://dockerhub.icu')"),
        "mirror https://dockerhub.icu: ",
        "",
        "it is asked again, and the new answer is shown",
    ),
    Row(
        "docker.service: at boot",
        "docker",
        1,
        "systemctl disable docker",
        "docker.service: disabled at boot",
        "wanted enabled",
    ),
    Row(
        "docker.socket",
        "docker",
        1,
        f"printf '[Socket]\\nListenStream=/run/drift.sock\\n[Install]\\nWantedBy=sockets.target\\n' > {SOCKET}; systemctl enable docker.socket",
        "docker.socket: enabled",
        "wanted off",
    ),
    Row(
        "iptables: Docker's chain",
        "docker",
        1,
        "iptables -t nat -S | grep -- '-j DOCKER$' | sed 's/^-A/-D/' | while read -r rule; do iptables -t nat $rule; done;"
        " iptables -t nat -F DOCKER && iptables -t nat -X DOCKER",
        "docker.service: restart (Docker's iptables chains are gone",
        "",
        "chains are dockerd's own; a restart makes them",
    ),
    reloaded(
        "mirrors",
        "d['registry-mirrors'] = ['https://evil.example']",
        "docker.service: reload (mirrors in force: https://evil.example",
        "wanted: https://",
    ),
    reloaded(
        "live-restore",
        "d['registry-mirrors'] = ['https://evil.example']; d['live-restore'] = False",
        "docker.service: reload (live-restore in force: false",
        "wanted: true",
    ),
)


OLLAMA, WEBUI = "ollama/ollama:0.4.7", "ghcr.io/open-webui/open-webui:0.4.7"
API, WEB = "langgenius/dify-api:0.11.2", "langgenius/dify-web:0.11.2"
SANDBOX, SQUID = "langgenius/dify-sandbox:0.2.10", "ubuntu/squid:5.7-23.04_beta"
DB, REDIS, NGINX = "postgres:15-alpine", "redis:6-alpine", "nginx:1.27.3"
WEAVIATE = "semitechnologies/weaviate:1.19.0"
IMAGES_RECORD, CANARY = "/etc/difyfleet/images.json", "/etc/difyfleet/canary.json"


def moved(image: str, to: str) -> Row:
    edit = f"docker tag $(docker image inspect -f '{{{{.Id}}}}' {to}) {image}"
    return Row(f"image {image}: tag moved", "images", 1, edit, f"image {image}: the tag is on", "was pulled")


def untagged(image: str) -> Row:
    edit = f"docker rmi -f {image}"
    return Row(f"image {image}: tag removed", "images", 2, edit, f"image {image}: absent", "tagged again")


IMAGES = (
    *(moved(image, SQUID) for image in (OLLAMA, API, REDIS, NGINX)),
    *(untagged(image) for image in (WEBUI, WEB, SANDBOX, DB, SQUID)),
    Row(
        "record of images: another ID",
        "images",
        3,
        json_edit(IMAGES_RECORD, f"d['{WEAVIATE}'] = 'sha256:' + '0' * 64"),
        f"image {WEAVIATE}: the tag is on",
        "000000000000 was pulled",
    ),
    Row(
        "record of images: an entry lost",
        "images",
        4,
        json_edit(IMAGES_RECORD, f"d.pop('{SQUID}')"),
        f"image {SQUID}: there as",
        "not recorded yet",
    ),
    Row(
        "canary: of another engine",
        "images",
        1,
        json_edit(CANARY, "d['engine'] = '18.09.0'"),
        "canary: no thread started in a container with Docker 26.1.5 yet",
        "",
        "the record only says for which engine a thread was tried",
    ),
)
