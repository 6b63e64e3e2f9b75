"""Types of single values, checked one by one: mirror URLs, networks, images, addresses.

Each checker takes the text, raises ValueError with a sentence that can stand after a key path, and returns the text unchanged.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator

# Grammar of distribution/reference: [registry[:port]/]path[:tag][@sha256:digest]
_IMAGE = re.compile(
    r"(?:(?P<registry>[A-Za-z0-9][A-Za-z0-9.-]*(?::\d+)?)/)?"
    r"(?P<path>[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_FLOATING_TAGS = frozenset(("latest", "main", "master", "edge", "nightly", "dev", "stable"))
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_DURATION = re.compile(r"-?(\d+(\.\d+)?(ns|us|ms|s|m|h))+|-?\d+")
_LOG_SIZE = re.compile(r"\d+[kmg]")


def mirror_url(value: str) -> str:
    """A registry mirror as dockerd accepts it. One bad entry in registry-mirrors and the daemon does not start (moby, registry/config.go)."""
    parts = _http_url(value)
    if parts.username is not None or parts.password is not None:
        raise ValueError("a mirror URL cannot carry a user name or password; dockerd would refuse to start")
    if "?" in value or "#" in value:
        raise ValueError("a mirror URL cannot carry a query or fragment; dockerd would refuse to start")
    return value


def http_url(value: str) -> str:
    """An http or https URL with a host."""
    _http_url(value)
    return value


def _http_url(value: str) -> Any:
    if re.search(r"\s", value):
        raise ValueError("a URL cannot hold blanks")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{_quoted(value)} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{_quoted(value)} must begin with https:// (or http://)")
    if port == 0:
        raise ValueError("port 0 cannot be asked")
    if not parts.hostname or not (_HOST.fullmatch(parts.hostname) or ":" in parts.hostname):
        raise ValueError(f"{_quoted(value)} names no host")
    return parts


def _quoted(url: str) -> str:
    """The URL for an error text, without what might be a password."""
    return repr(re.sub(r"(?<=//)[^/@]*@", "", url))


def insecure_registry(value: str) -> str:
    """`host`, `host:port` or a CIDR, as daemon.json's insecure-registries takes it."""
    if "://" in value:
        raise ValueError("an insecure registry is written host:port, without http://")
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        host, _, port = value.partition(":")
        if not _HOST.fullmatch(host) or (port and not port.isdigit()):
            raise ValueError(f"{value!r} is neither host:port nor a network in CIDR form") from None
    return value


def bridge_address(value: str) -> str:
    """docker0's own address with its prefix, `10.200.0.1/24`."""
    if "/" not in value:
        raise ValueError(f"{value!r} lacks the prefix length, as in 10.200.0.1/24")
    try:
        interface = ipaddress.ip_interface(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an address in CIDR form, as in 10.200.0.1/24") from None
    network = interface.network
    if network.num_addresses > 2 and interface.ip in (network.network_address, network.broadcast_address):
        raise ValueError(
            f"{value!r} is the network itself; docker0 needs an address in it, as in {network[1]}/{network.prefixlen}"
        )
    return value


def address_pool(value: dict[str, Any]) -> dict[str, Any]:
    """One entry of default-address-pools: `{base: CIDR, size: prefix length of each network}`."""
    if set(value) != {"base", "size"}:
        raise ValueError(
            "an address pool has exactly the keys base and size, as in {base: 10.201.0.0/16, size: 24}"
        )
    base, size = value["base"], value["size"]
    try:
        network = ipaddress.ip_network(base if isinstance(base, str) else "")
    except ValueError:
        loose = _loose_network(base)
        meant = f"; did you mean {loose}?" if loose else ", as in 10.201.0.0/16"
        raise ValueError(f"base {base!r} is not a network in CIDR form{meant}") from None
    if (
        isinstance(size, bool)
        or not isinstance(size, int)
        or not network.prefixlen <= size <= network.max_prefixlen - 2
    ):
        raise ValueError(
            f"size {size!r} must be a prefix length from {network.prefixlen} to {network.max_prefixlen - 2}"
        )
    return value


def _loose_network(base: object) -> str | None:
    try:
        return str(ipaddress.ip_network(str(base), strict=False)) if "/" in str(base) else None
    except ValueError:
        return None


def bind_address(value: str) -> str:
    """An IP address to publish a port on; Docker takes no names here."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(
            f"{value!r} is not an IP address; Docker binds published ports to addresses only, as in 127.0.0.1"
        ) from None
    return value


def image_reference(value: str) -> str:
    """A Docker image reference."""
    if not _IMAGE.fullmatch(value):
        raise ValueError(f"{value!r} is not an image reference, as in ollama/ollama:0.4.7")
    return value


def with_tag(reference: str) -> str:
    """An image reference as `docker image ls` shows it: no docker.io/library/, no digest, a tag."""
    name = reference.split("@", 1)[0]
    name = name.removeprefix("docker.io/").removeprefix("index.docker.io/").removeprefix("library/")
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def repository(reference: str) -> str:
    """An image's name without tag and digest, as RepoDigests has it."""
    return with_tag(reference).rpartition(":")[0]


def stands_for(reference: str, tags: Container[str], digests: Container[str]) -> bool:
    """Whether a reference means the image with these tags and RepoDigests. With a digest in the reference, the digest decides."""
    digest = reference.partition("@")[2]
    return f"{repository(reference)}@{digest}" in digests if digest else with_tag(reference) in tags


def model_name(name: str) -> str:
    """An Ollama model's name with its tag: no tag means latest."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def floating_tag(image: str) -> str | None:
    """What makes an image reference movable (`tag latest`, `no tag`), or None when it names a fixed tag or a digest."""
    match = _IMAGE.fullmatch(image)
    if match is None or match["digest"]:
        return None
    if match["tag"] is None:
        return "no tag (which means latest)"
    return f"the moving tag {match['tag']}" if match["tag"] in _FLOATING_TAGS else None


def duration(value: str) -> str:
    """A Go duration such as 30m or 1h30m, or a number of seconds; negative = for ever."""
    if not _DURATION.fullmatch(value):
        raise ValueError(f'{value!r} is not a duration, as in 30m, 1h30m or "-1" (for ever)')
    return value


def log_size(value: str) -> str:
    """A json-file log size such as 20m."""
    if not _LOG_SIZE.fullmatch(value):
        raise ValueError(f"{value!r} is not a log size, as in 500k, 20m or 1g")
    return value


def server_name(value: str) -> str:
    """nginx's server_name: `_` or host names, blank-separated. It stands in nginx's configuration and in .env, so nothing else gets in."""
    names = value.split()
    if value == "_" or (names and all(_HOST.fullmatch(name.removeprefix("*.")) for name in names)):
        return value
    raise ValueError(f"{value!r} is not a server name, as in dify.example.com, or _ for any")


MirrorUrl = Annotated[str, AfterValidator(mirror_url)]
HttpUrl = Annotated[str, AfterValidator(http_url)]
InsecureRegistry = Annotated[str, AfterValidator(insecure_registry)]
BridgeAddress = Annotated[str, AfterValidator(bridge_address)]
AddressPool = Annotated[dict[str, Any], AfterValidator(address_pool)]
BindAddress = Annotated[str, AfterValidator(bind_address)]
ImageReference = Annotated[str, AfterValidator(image_reference)]
Duration = Annotated[str, AfterValidator(duration)]
ServerName = Annotated[str, AfterValidator(server_name)]
LogSize = Annotated[str, AfterValidator(log_size)]
