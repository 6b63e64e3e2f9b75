"""The whole client: one object for one Dify server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import requests

from difyfleet.clients.dify.console.apps import Apps
from difyfleet.clients.dify.console.datasets import Datasets
from difyfleet.clients.dify.console.documents import Documents
from difyfleet.clients.dify.console.dsl import Dsl
from difyfleet.clients.dify.console.files import Files
from difyfleet.clients.dify.console.hit_testing import HitTesting
from difyfleet.clients.dify.console.keys import Keys
from difyfleet.clients.dify.console.models import Models
from difyfleet.clients.dify.console.session import Login
from difyfleet.clients.dify.console.setup import Setup
from difyfleet.clients.dify.service.chat import AppService
from difyfleet.clients.dify.service.datasets import DatasetService
from difyfleet.clients.dify.transport import Counts, Line, Retry, Transport
from difyfleet.secrets import Secret


class Dify:
    """One Dify 0.11 server: the console API by subject, and the service API by key.

        dify = Dify(requests.Session(), "http://127.0.0.1:5001")
        dify.session.login("admin@example.com", Secret(...))
        app = dify.apps.find("Handbook")
        key = dify.keys.all(app.id)[0]
        answer = dify.app(key.token).ask_streaming("When was the lighthouse built?", user="me")
        print(answer.text, [citation.document_name for citation in answer.citations])

    Args:
        session: how requests travel: `requests.Session()`, or difyfleet.remote.http.session(host) for a server behind SSH.
        base_url: origin without a path; nginx or the API server itself.
        retry: for reads; a write is sent once.
        reading: a context entered around POST and DELETE calls that change nothing lasting (login, validate, hit test, questions), for
            sessions that count changes: difyfleet.remote.http.reading.
    """

    def __init__(
        self,
        session: requests.Session,
        base_url: str,
        *,
        retry: Retry | None = None,
        reading: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        console = Transport(Line(session, base_url.rstrip("/"), retry or Retry(), reading))
        self._open = console.sibling()  # never carries a token
        self.setup = Setup(self._open)
        self.session = Login(console)
        self.models = Models(console)
        self.apps = Apps(console)
        self.keys = Keys(console)
        self.dsl = Dsl(console)
        self.datasets = Datasets(console)
        self.files = Files(console)
        self.documents = Documents(console)
        self.hit_testing = HitTesting(console)

    @property
    def counts(self) -> Counts:
        """Reads and writes that this client has sent, the service API's too."""
        return self._open.line.counts

    def app(self, key: Secret) -> AppService:
        """The service API of the app that an `app-...` key belongs to."""
        return AppService(self._open.sibling(key))

    def knowledge(self, key: Secret) -> DatasetService:
        """The knowledge base API, by a `dataset-...` key."""
        return DatasetService(self._open.sibling(key))
