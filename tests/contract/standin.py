"""The lab's own images of Dify's api, PostgreSQL, Redis and weaviate, run by this machine's Docker daemon for the contract tests."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from lab import engine, images
from tests.contract import comparison, exchanges
from tests.contract.model_server import ModelServer

PASSWORD = "contract-pa55"
INIT_PASSWORD = "contract-init"
SECRET_KEY = "contract-secret-key"
WEAVIATE_KEY = "contract-weaviate-key"
MODEL_SERVER = "http://127.0.0.1:11434"  # where the recordings had it
_WEAVIATE = {
    "PERSISTENCE_DATA_PATH": "/var/lib/weaviate",
    "AUTHENTICATION_APIKEY_ENABLED": "true",
    "AUTHENTICATION_APIKEY_ALLOWED_KEYS": WEAVIATE_KEY,
    "AUTHENTICATION_APIKEY_USERS": "dify",
}


class Stack:
    """A Docker network of its own with PostgreSQL and Redis; ``api()`` adds API servers on databases of their own."""

    def __init__(self) -> None:
        engine.ensure_docker()
        self.name = f"dfl-contract-{secrets.token_hex(3)}"
        self.image = images.local_image("dify_api")
        self._containers: list[str] = []
        self._models: ModelServer | None = None
        self.storage = f"{self.name}-storage"
        engine.run(["docker", "network", "create", self.name], timeout=60)
        engine.run(["docker", "volume", "create", self.storage], timeout=60)
        self.database = self.run("db", images.local_image("postgres"), {"POSTGRES_PASSWORD": PASSWORD})
        self.redis = self.run(
            "redis", images.local_image("redis"), {}, "redis-server", "--requirepass", PASSWORD
        )
        self.wait(lambda: self._ok(self.database, "pg_isready", "-h", "127.0.0.1"), "PostgreSQL")
        self.wait(lambda: "PONG" in self.execute(self.redis, "redis-cli", "-a", PASSWORD, "ping"), "Redis")

    def close(self) -> None:
        """Remove everything."""
        if self._models:
            self._models.close()
        for container in self._containers:
            engine.run(["docker", "rm", "-f", "-v", container], timeout=60, check=False)
        engine.run(["docker", "network", "rm", self.name], timeout=60, check=False)
        engine.run(["docker", "volume", "rm", self.storage], timeout=60, check=False)

    def run(
        self, alias: str, image: str, environment: dict[str, str], *command: str, volume: str = ""
    ) -> str:
        """Start a container; returns its id.

        :param volume: mounted as the storage of Dify's images.
        """
        variables = [part for name, value in environment.items() for part in ("-e", f"{name}={value}")]
        mounts = ["-v", f"{volume}:/app/api/storage"] if volume else []
        argv = [
            "docker",
            "run",
            "-d",
            "--network",
            self.name,
            "--network-alias",
            alias,
            *variables,
            *mounts,
            image,
            *command,
        ]
        container = engine.run(argv, timeout=120).stdout.strip()
        self._containers.append(container)
        return container

    def execute(self, container: str, *command: str) -> str:
        """Output of a command in a container, its exit status ignored."""
        return engine.run(["docker", "exec", container, *command], timeout=60, check=False).stdout

    def _ok(self, container: str, *command: str) -> bool:
        return engine.run(["docker", "exec", container, *command], timeout=60, check=False).returncode == 0

    @staticmethod
    def wait(condition: Any, what: str, timeout: float = 60) -> None:
        """Poll until a condition holds; fails the test after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"{what} is not ready after {timeout} s"
            time.sleep(0.1)

    def environment(self, database: str, **changes: str) -> dict[str, str]:
        """What a compose file gives the api container."""
        return {
            "MODE": "api", "LOG_LEVEL": "INFO", "MIGRATION_ENABLED": "true", "SECRET_KEY": SECRET_KEY, "DEPLOY_ENV": "PRODUCTION",
            "DB_HOST": "db", "DB_PORT": "5432", "DB_USERNAME": "postgres", "DB_PASSWORD": PASSWORD, "DB_DATABASE": database,
            "REDIS_HOST": "redis", "REDIS_PASSWORD": PASSWORD, "CELERY_BROKER_URL": f"redis://:{PASSWORD}@redis:6379/1",
            "UPLOAD_FILE_SIZE_LIMIT": "15", "WEAVIATE_ENDPOINT": "http://weaviate:8080", "WEAVIATE_API_KEY": WEAVIATE_KEY,
            "CONSOLE_API_URL": "http://127.0.0.1:5001", "SERVICE_API_URL": "http://127.0.0.1:5001",
            "APP_WEB_URL": "http://127.0.0.1:3000", **changes,
        }  # fmt: skip

    def new_database(self) -> str:
        """An empty database of its own."""
        name = f"dify_{secrets.token_hex(3)}"
        engine.run(["docker", "exec", self.database, "createdb", "-U", "postgres", name], timeout=60)
        return name

    def api(self, **changes: str) -> Api:
        """An API server on a fresh database, answering."""
        environment = {**self.environment(self.new_database()), **changes}
        return Api(self, self.run("api", self.image, environment))

    def whole(self) -> Api:
        """The same with a worker that shares its storage, a vector store and a model server; owned and logged in."""
        self.vectors = self.run("weaviate", images.local_image("weaviate"), _WEAVIATE)
        environment = self.environment(self.new_database())
        api = Api(self, self.run("api", self.image, environment, volume=self.storage))
        self.worker = self.run("worker", self.image, {**environment, "MODE": "worker"}, volume=self.storage)
        where = urlsplit(self.models.url)
        api.known[MODEL_SERVER] = self.models.url
        api.known["host='127.0.0.1', port=11434"] = f"host='{where.hostname}', port={where.port}"
        assert api.replay(20, 27) == []
        return api

    @property
    def models(self) -> ModelServer:
        """A model server on the host's address in this network."""
        if self._models is None:
            template = "{{range .IPAM.Config}}{{.Gateway}}{{end}}"
            gateway = engine.run(["docker", "network", "inspect", "-f", template, self.name]).stdout.strip()
            self._models = ModelServer(gateway)
        return self._models

    @contextmanager
    def stopped(self, container: str) -> Iterator[None]:
        """A container that is away for a while."""
        engine.run(["docker", "stop", "-t", "5", container], timeout=60)
        try:
            yield
        finally:
            engine.run(["docker", "start", container], timeout=60)


class Api:
    """One API server and what has been learned from its answers."""

    def __init__(self, stack: Stack, container: str) -> None:
        self.stack = stack
        self.container = container
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = engine.run(["docker", "inspect", "-f", template, container]).stdout.strip()
        self.address = f"{address}:5001"
        self.known = {"PASSWORD": "abcdefg1-Owner", "INIT_PASSWORD": INIT_PASSWORD}
        stack.wait(self._answers, "the API server")

    def _answers(self) -> bool:
        try:
            return exchanges.send(self.address, "GET", "/health", {}, None).status == 200
        except OSError:
            return False

    def replay(self, *numbers: int) -> list[str]:
        """Send recorded requests in order; returns all differences from the recorded answers."""
        problems = []
        for number in numbers:
            exchange = exchanges.recording(number)
            if "ACCESS_TOKEN" in self.known:
                self.known.setdefault(
                    "ACCESS_TOKEN_2", self.known["ACCESS_TOKEN"]
                )  # that of the recordings' second login
            answer = exchanges.replay(self.address, exchange, self.known)
            problems += comparison.differences(exchange, answer, self.known)
        return problems
