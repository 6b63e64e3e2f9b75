"""The user's document as data: what an inventory that names only a host and an admin e-mail gets.

Where the document is unsafe or broken the safe form stands here; docs/document.md says why for each.
"""

DOCKER_VERSION = "28.5.2"  # last line with the classic image store by default; runs on cgroup v1
COMPOSE_VERSION = "2.40.3"
DOCKER_STATIC_URL = "https://download.docker.com/linux/static/stable/x86_64/docker-{version}.tgz"
COMPOSE_URL = "https://github.com/docker/compose/releases/download/v{version}/docker-compose-linux-x86_64"
# Hashes of upstream's own files, by address. Compose: as Docker's official `docker:28.5.2-cli` image verifies it. Docker publishes no
# hash for its static archives: without docker.bundle.sha256 the first download is trusted (https), recorded and held to.
KNOWN_SHA256 = {
    COMPOSE_URL.format(version="2.40.3"): "dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372",
}
DOCKER_RPM_BASEURL = "https://download.docker.com/linux/rhel/8/x86_64/stable"
DOCKER_RPM_GPGKEY = "https://download.docker.com/linux/rhel/gpg"
DOCKER_GPG_FINGERPRINT = "060A61C51B558A7F742B77AAC52FEB6B621E9F35"

# The thirteen entries of the document, as they stand there (two of them twice).
MIRRORS = (
    "https://docker.hpcloud.cloud",
    "https://docker.m.daocloud.io",
    "https://docker.unsee.tech",
    "https://docker.1panel.live",
    "http://mirrors.ustc.edu.cn",
    "https://docker.chenby.cn",
    "http://mirror.azure.cn",
    "https://dockerpull.org",
    "https://dockerhub.icu",
    "https://hub.rat.dev",
    "https://dockerpull.com",
    "https://docker.hpcloud.cloud",
    "https://docker.m.daocloud.io",
)

ADDRESS_POOLS = ({"base": "10.201.0.0/16", "size": 24},)
BIP = "10.200.0.1/24"

OLLAMA_IMAGE = "ollama/ollama:0.4.7"
MODELS = ("qwen2.5:7b", "llama3.2")
OLLAMA_URL = "http://ollama:11434"  # its name on the network that the stack shares
OPENWEBUI_IMAGE = "ghcr.io/open-webui/open-webui:0.4.7"

DIFY_API_IMAGE = "langgenius/dify-api:0.11.2"
DIFY_WEB_IMAGE = "langgenius/dify-web:0.11.2"
SANDBOX_IMAGE = "langgenius/dify-sandbox:0.2.10"
POSTGRES_IMAGE = "postgres:15-alpine"
REDIS_IMAGE = "redis:6-alpine"
SQUID_IMAGE = "ubuntu/squid:5.7-23.04_beta"
WEAVIATE_IMAGE = "semitechnologies/weaviate:1.19.0"
NGINX_IMAGE = "nginx:1.27.3"

MEMORY_MIB = 7600
DISK_GIB = 50
SHARE_PORT = 9470  # the first of ten on which a host hands images and models to others
