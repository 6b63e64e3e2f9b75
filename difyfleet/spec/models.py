"""What a user may write: the typed models of an inventory file.

Every field is documented here once; docs/reference/inventory.md and the JSON Schema are generated from these models.
Sections given at the top level of the file hold for all hosts; a host may override any of them (deep merge).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from difyfleet.spec import defaults
from difyfleet.spec.content import Assistant, DifyModel, Key, Knowledge, dify_models
from difyfleet.spec.drift import Drift
from difyfleet.spec.lock import Lock, LockedImage
from difyfleet.spec.problems import Warning_
from difyfleet.spec.rollout import Rollout
from difyfleet.spec.secret_source import SecretSource
from difyfleet.spec.section import MAY_BE_MISSING, Section
from difyfleet.spec.selection import selected
from difyfleet.spec.share import Share
from difyfleet.spec.values import (
    AddressPool,
    BindAddress,
    BridgeAddress,
    Duration,
    HttpUrl,
    ImageReference,
    InsecureRegistry,
    LogSize,
    MirrorUrl,
    ServerName,
    model_name,
)

Port = Annotated[int, Field(ge=1, le=65535)]
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
AbsolutePath = Annotated[str, Field(pattern=r"^(/[\w.+@,=-]+)+/?$")]


class Ssh(Section):
    """How the controller reaches a host."""

    user: str | None = Field(None, description="Login name. Default: the ssh_config entry's, else root.")
    port: Port | None = Field(None, description="TCP port. Default: the ssh_config entry's, else 22.")
    key: Path | None = Field(
        None, description="Private key file. Default: agent, ssh_config and ~/.ssh keys."
    )
    password: SecretSource | None = Field(None, description="Login password, where keys are not possible.")
    config: Path | None = Field(None, description="OpenSSH client configuration file to read.")
    known_hosts: Path | None = Field(
        None,
        description="known_hosts file. Keep one small file per fleet. It is made when it is not there (unless host_key_checking is yes).",
        json_schema_extra={MAY_BE_MISSING: True},
    )
    host_key_checking: Literal["accept-new", "yes", "no"] = Field(
        "accept-new",
        description="accept-new stores an unknown host's key at first sight; a changed key is always an error.",
    )
    sudo: bool | None = Field(
        None, description="Become root with sudo. Default: yes unless the user is root."
    )
    sudo_password: SecretSource | None = Field(
        None, description="Password for sudo. Sent on standard input only, never in an argument or a file."
    )
    connect_timeout: Annotated[int, Field(ge=1, le=600)] = Field(
        15, description="Seconds to wait for a connection."
    )


class Preflight(Section):
    """What a host must have before anything on it is changed."""

    memory_mib: Annotated[int, Field(ge=0)] = Field(
        defaults.MEMORY_MIB,
        description="RAM in MiB. The document's models want 8 GiB, the whole stack 16 GiB.",
    )
    disk_gib: Annotated[int, Field(ge=0)] = Field(
        defaults.DISK_GIB,
        description="Free GiB where Docker and the models live, asked for until the images are there (13.5 GB images + 6.7 GB models + room).",
    )
    cpu_avx: Literal["require", "warn", "ignore"] = Field(
        "warn", description="Ollama without AVX is very slow."
    )
    remove_conflicting_packages: bool = Field(
        False,
        description="Remove docker-engine 18.09, podman-docker and the like instead of stopping. They may hold running containers.",
    )
    skip: list[str] = Field(
        default_factory=list, description="Names of preflight checks that only warn on this host."
    )


class StaticBundle(Section):
    """Docker's static archive plus the Compose plugin binary, pinned by SHA-256."""

    url: HttpUrl | None = Field(
        None, description="Archive to download ON THE HOST. Default: upstream's for `version`."
    )
    file: Path | None = Field(None, description="Archive on the controller, uploaded instead of downloaded.")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="Hash the archive must have."
    )
    compose_url: HttpUrl | None = Field(None, description="Compose plugin binary to download on the host.")
    compose_file: Path | None = Field(None, description="Compose plugin binary on the controller.")
    compose_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="Hash the Compose plugin must have."
    )
    sha256sums: Path | None = Field(
        None,
        description="SHA256SUMS file on the controller; the hashes of both files are looked up in it by file name.",
    )


class RpmRepository(Section):
    """An RPM repository that holds docker-ce. openEuler's $releasever breaks upstream's .repo file, so the base URL is written out."""

    baseurl: HttpUrl = Field(defaults.DOCKER_RPM_BASEURL, description="Base URL without $releasever.")
    gpgkey: Annotated[str, Field(pattern=r"^(https?|file)://\S+$")] | None = Field(
        defaults.DOCKER_RPM_GPGKEY,
        description="URL or file:// of the signing key; null switches signature checks off.",
    )
    gpg_fingerprint: str | None = Field(
        defaults.DOCKER_GPG_FINGERPRINT, description="Fingerprint the key must have."
    )


class Docker(Section):
    """Docker Engine, the Compose plugin, daemon.json and registry mirrors."""

    method: Literal["static", "rpm"] = Field(
        "static", description="static: upstream's archive (default). rpm: an RPM repository."
    )
    version: str = Field(defaults.DOCKER_VERSION, description="Docker Engine version.")
    compose_version: str = Field(
        defaults.COMPOSE_VERSION, description="Compose plugin version (v2 or later)."
    )
    bundle: StaticBundle = Field(
        default_factory=StaticBundle, description="Source and hashes of the static files."
    )
    rpm: RpmRepository = Field(default_factory=RpmRepository, description="The repository of method rpm.")
    data_root: AbsolutePath = Field("/var/lib/docker", description="Where images and containers live.")
    mirrors: list[MirrorUrl] = Field(
        default_factory=lambda: list(defaults.MIRRORS),
        description="Registry mirrors for docker.io, in order of preference. Duplicates are dropped, each is probed from the host, dead ones are left out.",
    )
    mirror_probe: bool = Field(
        True, description="Probe mirrors from the host; false writes the list as given (duplicates dropped)."
    )
    mirror_timeout: Annotated[float, Field(gt=0, le=30)] = Field(
        4.0, description="Seconds one mirror may take to answer the probe."
    )
    mirror_max: Annotated[int, Field(ge=0)] = Field(
        0, description="Write at most this many live mirrors; 0 = all."
    )
    insecure_registries: list[InsecureRegistry] = Field(
        default_factory=list, description="Registries spoken to without TLS verification."
    )
    address_pools: list[AddressPool] = Field(
        default_factory=lambda: [dict(pool) for pool in defaults.ADDRESS_POOLS],
        description="default-address-pools: base (CIDR) and size. Away from 172.17/16, which sites use.",
    )
    bip: BridgeAddress | None = Field(defaults.BIP, description="Address of docker0 in CIDR form.")
    log_max_size: LogSize = Field("20m", description="json-file log size per container before rotation.")
    log_max_file: Annotated[int, Field(ge=1)] = Field(5, description="Rotated logs kept per container.")
    live_restore: bool = Field(True, description="Containers survive a restart of dockerd.")
    daemon: dict[str, Any] = Field(
        default_factory=dict,
        description="More daemon.json keys, taken as they are. They win over the ones above.",
    )
    max_concurrent_downloads: Annotated[int, Field(ge=1, le=32)] = Field(
        6, description="Layers pulled at once."
    )


class Model(Section):
    """One Ollama model."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]*$")] = Field(
        ..., description="Name with tag; no tag means :latest."
    )
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{12,64}$")] | None = Field(
        None, description="Manifest digest (SHA-256, at least 12 hex digits) that the model must have."
    )


class Ollama(Section):
    """Ollama in a container, and its models."""

    enabled: bool = Field(True, description="Run Ollama on this host.")
    image: ImageReference = Field(defaults.OLLAMA_IMAGE, description="Image with a fixed tag.")
    data_dir: AbsolutePath = Field("/opt/ollama", description="Host folder mounted at /root/.ollama.")
    bind: BindAddress = Field(
        "127.0.0.1",
        description="Host address of the published port. Ollama has no authentication: keep it private.",
    )
    port: Port = Field(11434, description="Published port.")
    keep_alive: Duration = Field(
        "30m", description="How long a model stays loaded after its last use (-1 = for ever)."
    )
    num_parallel: Annotated[int, Field(ge=0)] = Field(
        0, description="OLLAMA_NUM_PARALLEL; 0 = Ollama decides."
    )
    max_loaded_models: Annotated[int, Field(ge=0)] = Field(
        0, description="OLLAMA_MAX_LOADED_MODELS; 0 = Ollama decides."
    )
    gpus: bool = Field(False, description="Pass all GPUs (needs nvidia-container-toolkit on the host).")
    memory_mib: Annotated[int, Field(ge=0)] = Field(
        0, description="Memory limit of the container in MiB; 0 = none."
    )
    env: dict[str, str] = Field(
        default_factory=dict, description="More environment variables of the container."
    )
    models: list[Model | str] = Field(
        default_factory=lambda: list[Model | str](defaults.MODELS),
        description="Models that must be there: names, or name and digest.",
    )
    remove_undeclared_models: bool = Field(
        False, description="Remove models that are not declared; by default they are only reported."
    )
    warm: bool = Field(True, description="Load each model once after it was pulled and have it answer.")
    pull_timeout: Annotated[int, Field(ge=60)] = Field(14400, description="Seconds a model pull may take.")

    def declared(self) -> tuple[Model, ...]:
        """The models as objects, tags filled in, duplicates dropped, order kept."""
        seen: dict[str, Model] = {}
        for entry in self.models:
            model = Model(name=entry) if isinstance(entry, str) else entry
            name = model_name(model.name)
            seen.setdefault(name, model.model_copy(update={"name": name}))
        return tuple(seen.values())

    @property
    def local_url(self) -> str:
        """The server as the host itself reaches it."""
        address = "127.0.0.1" if self.bind in ("0.0.0.0", "::") else self.bind
        return f"http://{address}:{self.port}"


class WebuiAdmin(Section):
    """The first account of Open WebUI."""

    email: Email | None = Field(None, description="Default: the environment's admin e-mail.")
    name: str | None = Field(None, description="Default: the environment's admin name.")
    password: SecretSource | None = Field(None, description="Default: generated once and kept on the host.")


class OpenWebui(Section):
    """Open WebUI in a container, connected to Ollama."""

    enabled: bool = Field(True, description="Run Open WebUI on this host.")
    image: ImageReference = Field(defaults.OPENWEBUI_IMAGE, description="Image with a fixed tag.")
    data_dir: AbsolutePath = Field("/opt/open-webui", description="Host folder mounted at /app/backend/data.")
    bind: BindAddress = Field(
        "0.0.0.0", description="Host address of the published port, after the admin account is claimed."
    )
    port: Port = Field(8080, description="Published port.")
    ollama_url: HttpUrl | None = Field(None, description="Default: the Ollama container on this host.")
    offline: bool = Field(
        True, description="Start without looking anything up outside (OFFLINE_MODE and friends)."
    )
    signup: bool = Field(False, description="Let visitors sign up.")
    admin: WebuiAdmin = Field(
        default_factory=WebuiAdmin, description="The admin account claimed before the port is open."
    )
    env: dict[str, str] = Field(
        default_factory=dict, description="More environment variables of the container."
    )


class Https(Section):
    """TLS for Dify's nginx with one's own certificate."""

    enabled: bool = Field(False, description="Serve HTTPS.")
    certificate: Path | None = Field(
        None, description="PEM file on the controller: certificate, then its chain."
    )
    key: Path | None = Field(None, description="PEM file on the controller: private key without passphrase.")
    port: Port = Field(443, description="Published HTTPS port.")
    redirect: bool = Field(True, description="Answer plain HTTP with a redirect to HTTPS.")


class DifyImages(Section):
    """Dify's eight images, all with fixed tags."""

    api: ImageReference = Field(defaults.DIFY_API_IMAGE, description="Also runs the worker.")
    web: ImageReference = Field(defaults.DIFY_WEB_IMAGE)
    sandbox: ImageReference = Field(defaults.SANDBOX_IMAGE)
    db: ImageReference = Field(defaults.POSTGRES_IMAGE)
    redis: ImageReference = Field(defaults.REDIS_IMAGE)
    ssrf_proxy: ImageReference = Field(defaults.SQUID_IMAGE)
    weaviate: ImageReference = Field(defaults.WEAVIATE_IMAGE)
    nginx: ImageReference = Field(defaults.NGINX_IMAGE)


class DifySecrets(Section):
    """Dify's own secrets. Each default: generated once on first apply and kept on the host, root-only."""

    secret_key: SecretSource | None = Field(None, description="Signs tokens and file links.")
    db_password: SecretSource | None = Field(None, description="PostgreSQL.")
    redis_password: SecretSource | None = Field(None, description="Redis and the broker URL.")
    weaviate_api_key: SecretSource | None = Field(None, description="Vector store.")
    sandbox_api_key: SecretSource | None = Field(None, description="Code sandbox.")
    init_password: SecretSource | None = Field(
        None,
        description="INIT_PASSWORD: asked before the first account can be created (at most 30 characters).",
    )


class Dify(Section):
    """Dify and its nine containers."""

    enabled: bool = Field(True, description="Run Dify on this host.")
    version: Literal["0.11.2"] = Field("0.11.2", description="Dify release.")
    directory: AbsolutePath = Field("/opt/dify", description="Compose project and volumes on the host.")
    bind: BindAddress = Field("0.0.0.0", description="Host address of the published ports.")
    http_port: Port = Field(80, description="Published HTTP port.")
    https: Https = Field(default_factory=Https, description="TLS.")
    server_name: ServerName = Field("_", description="nginx server_name.")
    upload_limit_mb: Annotated[int, Field(ge=1, le=10240)] = Field(
        15,
        description="Largest upload in whole MB. Sets UPLOAD_FILE_SIZE_LIMIT and, with room, nginx's body limit together.",
    )
    upload_batch_limit: Annotated[int, Field(ge=1)] = Field(
        5, description="Files per upload in the web console."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Log level of api and worker."
    )
    ollama_url: HttpUrl = Field(
        defaults.OLLAMA_URL,
        description="Ollama as Dify's api and worker containers reach it. Default: the Ollama container on this host.",
    )
    models: list[DifyModel | str] | None = Field(
        None,
        description="Models offered in Dify, all of Ollama. Default: every model of ollama.models (those with embedding names as "
        "text-embedding). Models that are not declared are left alone.",
    )
    images: DifyImages = Field(default_factory=DifyImages, description="Images of the nine containers.")
    secrets: DifySecrets = Field(
        default_factory=DifySecrets, description="Secrets; by default generated once and kept."
    )
    env: dict[str, str | int | bool] = Field(
        default_factory=dict,
        description="More keys of Dify's .env. Types of known keys are checked; public default secrets are refused.",
    )
    start_timeout: Annotated[int, Field(ge=30)] = Field(
        600, description="Seconds until every service must be healthy."
    )


class Admin(Section):
    """The owner of the installation."""

    email: Email = Field(..., description="E-mail of the admin account(s).")
    name: Annotated[str, Field(min_length=1, max_length=30)] = Field(
        "admin", description="Display name (Dify allows 30 characters)."
    )
    password: SecretSource | None = Field(None, description="Default: generated once and kept on the host.")


class HostSpec(Section):
    """One host with all its sections resolved. This is what roles see as `host.data.spec`."""

    name: str
    address: str
    ssh: Ssh = Field(default_factory=Ssh)
    admin: Admin
    preflight: Preflight = Field(default_factory=Preflight)
    docker: Docker = Field(default_factory=Docker)
    share: Share = Field(default_factory=Share)
    ollama: Ollama = Field(default_factory=Ollama)
    openwebui: OpenWebui = Field(default_factory=OpenWebui)
    dify: Dify = Field(default_factory=Dify)
    knowledge: dict[Key, Knowledge] = Field(
        default_factory=dict, description="Knowledge bases in Dify, by key."
    )
    assistants: dict[Key, Assistant] = Field(
        default_factory=dict, description="Chat assistants in Dify, by key."
    )
    groups: tuple[str, ...] = ()
    os: Literal["openEuler-22.03", "any"] = Field(
        "openEuler-22.03", description="Distribution the preflight asks for."
    )
    offline: bool = Field(
        False,
        description="Nothing is fetched: engine, images and models come from what `difyfleet bundle push` has brought. "
        "Registry mirrors are left out.",
    )
    locked_images: dict[str, LockedImage] = Field(
        default_factory=dict,
        description="What the lock file says of wanted_images, all of them; empty = there is no lock file. "
        "(Its models and engine stand as digests in ollama.models and docker.bundle.)",
    )

    @property
    def dify_models(self) -> tuple[DifyModel, ...]:
        """The models that Dify offers, the default of each type marked."""
        entries = self.ollama.models if self.ollama.enabled else []
        return dify_models(self.dify.models, [one if isinstance(one, str) else one.name for one in entries])

    @property
    def wanted_images(self) -> tuple[str, ...]:
        """Every image this host runs, without duplicates, in the order they should be pulled (Ollama first: its models take longest)."""
        images: list[str] = []
        if self.ollama.enabled:
            images.append(self.ollama.image)
        if self.dify.enabled:
            images += [str(value) for value in self.dify.images.model_dump().values()]
        if self.openwebui.enabled:
            images.append(self.openwebui.image)
        return tuple(dict.fromkeys(images))

    @property
    def urls(self) -> tuple[str, ...]:
        """Addresses a browser can open: Dify, then Open WebUI."""
        found = []
        if self.dify.enabled:
            scheme, port, usual = (
                ("https", self.dify.https.port, 443)
                if self.dify.https.enabled
                else ("http", self.dify.http_port, 80)
            )
            found.append(f"{scheme}://{self.address}" + ("" if port == usual else f":{port}"))
        if self.openwebui.enabled:
            found.append(f"http://{self.address}:{self.openwebui.port}")
        return tuple(found)


class Environment(Section):
    """A whole inventory file, resolved: one HostSpec per host."""

    name: str
    path: Path
    hosts: tuple[HostSpec, ...]
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    warnings: tuple[Warning_, ...] = ()
    drift: Drift = Field(default_factory=Drift, description="What happens with drift.")
    rollout: Rollout = Field(default_factory=Rollout, description="How a rollout goes over the hosts.")
    lock: Lock | None = Field(None, description="The lock file beside the inventory, if there is one.")

    def host(self, name: str) -> HostSpec:
        for spec in self.hosts:
            if spec.name == name:
                return spec
        raise KeyError(name)

    def select(self, limit: str | None) -> tuple[HostSpec, ...]:
        """The hosts that `--limit` names, in the order of the file.

        Args:
            limit: host names, group names and patterns (`llm*`), comma separated; `all` or None = every host.

        Raises:
            SpecError: a word names no host and no group, or a pattern fits none.
        """
        return selected(self.hosts, self.groups, limit, str(self.path))
