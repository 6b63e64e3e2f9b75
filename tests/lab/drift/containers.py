"""Rows of the containers: Ollama's, Open WebUI's and Dify's nine."""

from __future__ import annotations

from tests.lab.drift.row import Row

NAMES = {"ollama": "ollama", "open-webui": "open-webui"}  # service -> container; Dify's: dify-SERVICE-1
ROLES = {"ollama": "ollama", "open-webui": "openwebui"}
FOLDERS = {
    "ollama": ("ollama", "/opt/difyfleet/ollama"),
    "open-webui": ("openwebui", "/opt/difyfleet/openwebui"),
}


def name_of(service: str) -> str:
    return NAMES.get(service, f"dify-{service}-1")


def container(number: int, service: str, what: str, edit: str, old: str, new: str, why: str = "") -> Row:
    role = ROLES.get(service, "dify")
    return Row(f"container {service}: {what}", role, number, edit, f"{service}: {old}", new, why)


def stopped(number: int, service: str, words: str = "exited") -> Row:
    return container(
        number, service, "stopped", f"docker stop -t 3 {name_of(service)}", words, "wanted running"
    )


def killed(number: int, service: str) -> Row:
    edit = f"docker kill {name_of(service)}"  # by hand, so that its restart policy does not bring it back
    return container(number, service, "killed", edit, "exited (137)", "wanted running")


def removed(number: int, service: str) -> Row:
    edit = f"docker rm -f {name_of(service)}"
    return container(number, service, "removed", edit, "absent", "", "what is not there has no value")


def paused(number: int, service: str) -> Row:
    return container(
        number, service, "paused", f"docker pause {name_of(service)}", "paused", "wanted running"
    )


def restart_policy(number: int, service: str) -> Row:
    edit = f"docker update --restart no {name_of(service)}"
    return container(number, service, "restart policy", edit, "restart policy no", "wanted always")


def renamed(number: int, service: str) -> Row:
    edit = f"docker rename {name_of(service)} drifted-{service}"
    return container(number, service, "name", edit, f"named drifted-{service}", f"wanted {name_of(service)}")


def limited(number: int, service: str, option: str, old: str, new: str) -> Row:
    edit = f"docker update {option} {name_of(service)}"
    return container(number, service, f"limit {option.split()[0]}", edit, old, f"wanted {new}")


def nameless(number: int, service: str, network: str) -> Row:
    """On its network, but nobody finds it there by its service's name."""
    name = name_of(service)
    edit = f"docker network disconnect {network} {name} && docker network connect {network} {name}"
    old = f"on network {network} without its name {service}"
    return container(number, service, "name on its network", edit, old, f"its name {service}")


def joined(number: int, service: str, network: str) -> Row:
    edit = f"docker network connect {network} {name_of(service)}"
    return container(number, service, "one network more", edit, f"on network {network}", "not wanted")


def left(number: int, service: str, network: str = "difyfleet") -> Row:
    edit = f"docker network disconnect -f {network} {name_of(service)}"
    why = "what is not there has no value"
    return container(number, service, "one network less", edit, f"not on network {network}", "", why)


def remade(number: int, service: str, what: str, sed: str, old: str = "", new: str = "") -> Row:
    """Made again with docker compose from an edited copy of the file."""
    project, folder = FOLDERS.get(service, ("dify", "/opt/dify"))
    edit = (
        f"cd {folder} && sed '/^  {service}:$/,/^    labels:$/ {{ {sed} }}' compose.yml > other.yml"
        f" && ! cmp -s other.yml compose.yml && docker compose -p {project} -f other.yml up -d --no-deps --pull never {service} 2>&1;"
        " r=$?; rm -f other.yml; exit $r"
    )
    why = "" if old else "an environment may hold secrets: the hash of the whole definition is compared"
    return container(number, service, what, edit, old or "was recreated from other files", new, why)


CONTAINERS = (
    # 1: attributes of running containers that Docker lets one change in place
    restart_policy(1, "web"),
    limited(1, "web", "--pids-limit 77", "pids limit 77", "none"),
    joined(1, "sandbox", "dify_default"),
    restart_policy(1, "sandbox"),
    restart_policy(1, "weaviate"),
    container(
        1,
        "nginx",
        "restarted with an edited file",
        "docker restart -t 3 dify-nginx-1",
        "sees another /etc/nginx/proxy.conf",
        "",
        "the file's own row has both texts",
    ),
    stopped(1, "ollama"),
    restart_policy(1, "ollama"),
    restart_policy(1, "open-webui"),
    limited(1, "open-webui", "--pids-limit 77", "pids limit 77", "4096"),
    # 2
    removed(2, "web"),
    paused(2, "sandbox"),
    nameless(2, "ssrf_proxy", "dify_default"),
    restart_policy(2, "ssrf_proxy"),
    nameless(2, "weaviate", "dify_default"),
    joined(2, "weaviate", "bridge"),
    restart_policy(2, "worker"),
    renamed(2, "worker"),
    restart_policy(2, "nginx"),
    limited(2, "nginx", "--pids-limit 77", "pids limit 77", "none"),
    killed(2, "ollama"),
    # 3: the network that the stack shares is gone
    left(3, "ollama"),
    left(3, "open-webui"),
    left(3, "api"),
    left(3, "worker"),
    Row(
        "docker network difyfleet",
        "ollama",
        3,
        "docker network rm difyfleet",
        "docker network difyfleet: absent",
        "",
        "what is not there has no value",
    ),
    restart_policy(3, "api"),
    limited(3, "redis", "--memory 300m --memory-swap 300m", "memory limit 314572800", "none"),
    restart_policy(3, "redis"),
    restart_policy(3, "db"),
    limited(3, "db", "--pids-limit 77", "pids limit 77", "none"),
    # 4: made again by somebody else's hands
    remade(4, "redis", "environment", "s/REDISCLI_AUTH:/DRIFT: x\\n      REDISCLI_AUTH:/"),
    remade(
        4,
        "weaviate",
        "mount",
        "s|- ./volumes/weaviate:.*|&\\n      - ./volumes/weaviate:/drift:ro|",
    ),
    remade(4, "web", "health check", "s/retries: 3/retries: 9/"),
    remade(4, "ssrf_proxy", "capabilities", "/cap_drop/d"),
    remade(4, "sandbox", "logging", 's/max-size: "20m"/max-size: "1g"/'),
    remade(
        4,
        "ollama",
        "published port",
        "s/127.0.0.1/0.0.0.0/",
        "publishes 0.0.0.0:11434->11434/tcp",
        "wanted 127.0.0.1:11434->11434/tcp",
    ),
    remade(
        4,
        "open-webui",
        "image",
        's|image: .*|image: "redis:6-alpine"|; s|restart: always|restart: always\\n    command: [sleep, "600"]|',
        "image redis:6-alpine ",
        "wanted ghcr.io/open-webui/open-webui:0.4.7",
    ),
    Row(
        "container of the project that nobody declared",
        "dify",
        4,
        "docker run -d --name drift-extra --label com.docker.compose.project=dify --label com.docker.compose.service=extra"
        " --label com.docker.compose.oneoff=False redis:6-alpine sleep 900",
        "drift-extra: not declared",
        "removed",
    ),
    # 6: Dify down
    stopped(6, "weaviate"),
    stopped(6, "db"),
    killed(6, "redis"),
    removed(6, "api"),
    stopped(6, "worker"),
    remade(
        6,
        "nginx",
        "published port",
        "s/0.0.0.0:80:80/0.0.0.0:81:80/",
        "publishes 0.0.0.0:81->80/tcp",
        "wanted 0.0.0.0:80->80/tcp",
    ),
    Row(
        "container of somebody else under the name of ours",
        "dify",
        6,
        "docker rm -f dify-web-1 && docker run -d --name dify-web-1 redis:6-alpine sleep 900",
        "web: dify-web-1 is a container of somebody else (redis:6-alpine)",
        "it is set aside",
    ),
    removed(6, "open-webui"),
    removed(6, "ollama"),
)
