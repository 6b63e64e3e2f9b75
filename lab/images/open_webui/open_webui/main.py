"""The HTTP server: health, accounts, settings, and what passes through to Ollama."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import VERSION
from .state import DATABASE, SETTINGS
from .tokens import session, user_of_token
from .upstream import all_models, fetch, ollama_models

AUTH = os.environ.get("WEBUI_AUTH", "True").lower() == "true"
CHAT_TIMEOUT = 300  # s

_PROHIBITED = (
    "You do not have permission to access this resource. Please contact your administrator for assistance."
)
_BAD_LOGIN = "The email or password provided is incorrect. Please check for typos and try logging in again."
_SESSION_OVER = "Your session has expired or the token is invalid. Please sign in again."
_WRONG_PASSWORD = "The password provided is incorrect. Please check for typos and try again."  # noqa: S105 - a message
_BAD_EMAIL = (
    "The email format you entered is invalid. Please double-check and make sure you're using a valid email address "
    "(e.g., yourname@example.com)."
)
_TAKEN = "Uh-oh! This email is already registered. Sign in with your existing account or choose another email to start anew."
_PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Open WebUI (stand-in)</title>"
    "<h1>Open WebUI 0.4.7: stand-in</h1><p>This is difyfleet's lab. The API answers, the interface is not here.</p></html>"
)


class HttpError(Exception):
    """An answer of the shape ``{"detail": ...}``."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(str(detail))
        self.status, self.detail = status, detail


# A form's field -> its path in the saved configuration.
ADMIN_FIELDS = {
    "SHOW_ADMIN_DETAILS": "auth.admin.show",
    "ENABLE_SIGNUP": "ui.enable_signup",
    "DEFAULT_USER_ROLE": "ui.default_user_role",
    "JWT_EXPIRES_IN": "auth.jwt_expiry",
    "ENABLE_COMMUNITY_SHARING": "ui.enable_community_sharing",
    "ENABLE_MESSAGE_RATING": "ui.enable_message_rating",
}
OLLAMA_FIELDS = {
    "ENABLE_OLLAMA_API": "ollama.enable",
    "OLLAMA_BASE_URLS": "ollama.base_urls",
    "OLLAMA_API_CONFIGS": "ollama.api_configs",
}
OPENAI_FIELDS = {
    "ENABLE_OPENAI_API": "openai.enable",
    "OPENAI_API_BASE_URLS": "openai.api_base_urls",
    "OPENAI_API_KEYS": "openai.api_keys",
    "OPENAI_API_CONFIGS": "openai.api_configs",
}


def email_of(form: dict[str, Any]) -> str:
    """The e-mail field, in lower case."""
    return str(form["email"]).lower()


class Handler(BaseHTTPRequestHandler):
    """Routes by method and path; unknown GET paths get the page, as a single-page application does."""

    protocol_version = "HTTP/1.1"
    _headers_out: dict[str, str]

    # --- plumbing

    def _token(self) -> str:
        authorization = self.headers.get("Authorization", "")
        if authorization.lower().startswith("bearer "):
            return authorization[7:].strip()
        match = re.search(r"(?:^|;\s*)token=([^;]+)", self.headers.get("Cookie", ""))
        return match.group(1) if match else ""

    def _user(self, *roles: str) -> dict[str, Any]:
        token = self._token()
        if not token:
            raise HttpError(403, "Not authenticated")
        user = user_of_token(token)
        if user is None:
            raise HttpError(401, _SESSION_OVER)
        if roles and user["role"] not in roles:
            raise HttpError(401, _PROHIBITED)
        return user

    def _form(self, *required: str) -> dict[str, Any]:
        try:
            form = json.loads(self._body)
        except ValueError:
            raise HttpError(
                422, [{"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error"}]
            ) from None
        absent = [name for name in required if not isinstance(form, dict) or name not in form]
        if absent:
            raise HttpError(
                422, [{"type": "missing", "loc": ["body", name], "msg": "Field required"} for name in absent]
            )
        return dict(form)

    def _send(self, status: int, content: bytes, content_type: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        for name, value in self._headers_out.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _serve(self) -> None:
        self._headers_out = {}
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.split("?")[0]
        path = path.rstrip("/") if path.startswith(("/api/", "/ollama/", "/openai/")) else path
        method = "GET" if self.command == "HEAD" else self.command
        handler = _ROUTES.get((method, path))
        try:
            if handler:
                self._send(200, json.dumps(handler(self), ensure_ascii=False).encode())
            elif path.startswith("/ollama/api/"):
                self._pass_to_ollama(path.removeprefix("/ollama"))
            elif method == "GET" and not path.startswith(("/api/", "/ollama/", "/openai/")):
                self._send(200, _PAGE.encode(), "text/html; charset=utf-8")
            else:
                raise HttpError(404, "Not Found")
        except HttpError as error:
            self._send(error.status, json.dumps({"detail": error.detail}).encode())
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_DELETE = do_HEAD = _serve

    def log_message(self, format: str, *args: object) -> None:
        """Requests as uvicorn logs them, health checks left out."""
        if "/health" not in self.path:
            print(f"INFO: {self.address_string()} - {format % args}", flush=True)

    # --- accounts

    def signup(self) -> Any:
        form = self._form("name", "email", "password")
        if not SETTINGS["ui.enable_signup"] or not SETTINGS["ui.enable_login_form"] or not AUTH:
            raise HttpError(403, _PROHIBITED)
        if not re.match(r"[^@]+@[^@]+\.[^@]+", email_of(form)):
            raise HttpError(400, _BAD_EMAIL)
        picture = str(form.get("profile_image_url") or "/user.png")
        try:
            user = DATABASE.add_user(
                email_of(form),
                str(form["password"]),
                str(form["name"]),
                picture,
                SETTINGS["ui.default_user_role"],
            )
        except sqlite3.IntegrityError:
            raise HttpError(400, _TAKEN) from None
        body, self._headers_out = session(user)
        return body

    def signin(self) -> Any:
        form = self._form("email", "password")
        user = DATABASE.authenticate(email_of(form), str(form["password"]))
        if user is None:
            raise HttpError(400, _BAD_LOGIN)
        body, self._headers_out = session(user)
        return body

    def session_user(self) -> Any:
        user = self._user()
        _, self._headers_out = session(user)
        return {name: user[name] for name in ("id", "email", "name", "role", "profile_image_url")}

    def update_password(self) -> Any:
        user = self._user()
        form = self._form("password", "new_password")
        if DATABASE.authenticate(user["email"], str(form["password"])) is None:
            raise HttpError(400, _WRONG_PASSWORD)
        DATABASE.set_password(user["email"], str(form["new_password"]))
        return True

    # --- settings

    def config(self) -> Any:
        user = user_of_token(self._token()) if self._token() else None
        body: dict[str, Any] = {
            "status": True,
            "name": os.environ.get("WEBUI_NAME", "Open WebUI"),
            "version": VERSION,
            "default_locale": os.environ.get("DEFAULT_LOCALE", ""),
            "oauth": {"providers": {}},
            "features": {
                "auth": AUTH,
                "auth_trusted_header": False,
                "enable_ldap": False,
                "enable_signup": SETTINGS["ui.enable_signup"],
                "enable_login_form": SETTINGS["ui.enable_login_form"],
            },
        }
        if user:
            body["default_models"] = SETTINGS["ui.default_models"]
        elif DATABASE.user_count() == 0:
            body["onboarding"] = True
        return body

    def _read(self, fields: dict[str, str]) -> Any:
        self._user("admin")
        return {name: SETTINGS[path] for name, path in fields.items()}

    def _update(self, fields: dict[str, str], *required: str) -> Any:
        self._user("admin")
        form = self._form(*required)
        if "DEFAULT_USER_ROLE" in form and form["DEFAULT_USER_ROLE"] not in ("pending", "user", "admin"):
            del form["DEFAULT_USER_ROLE"]
        SETTINGS.save(
            **{path.replace(".", "__"): form[name] for name, path in fields.items() if name in form}
        )
        return {name: SETTINGS[path] for name, path in fields.items()}

    # --- Ollama

    def tags(self) -> Any:
        self._user("user", "admin")
        return {"models": ollama_models()}

    def models(self) -> Any:
        self._user("user", "admin")
        return {"data": all_models()}

    def ollama_version(self) -> Any:
        versions = [
            found["version"] for url in SETTINGS["ollama.base_urls"] if (found := fetch(f"{url}/api/version"))
        ]
        if not versions:
            raise HttpError(500, "WebUI could not connect to Ollama")
        return {"version": min(versions, key=lambda text: [int(part) for part in re.findall(r"\d+", text)])}

    def _pass_to_ollama(self, path: str) -> None:
        """Hand a request to the first Ollama server and stream its answer back, line by line."""
        self._user("user", "admin")
        urls = SETTINGS["ollama.base_urls"]
        if not urls:
            raise HttpError(500, "Open WebUI: Server Connection Error")
        request = urllib.request.Request(  # noqa: S310 - the admin's own setting
            urls[0] + path,
            data=self._body or None,
            headers={"Content-Type": "application/json"},
            method=self.command,
        )
        try:
            answer = urllib.request.urlopen(request, timeout=CHAT_TIMEOUT)  # noqa: S310
        except urllib.error.HTTPError as error:
            raise HttpError(error.code, f"Ollama: {error.read().decode(errors='replace')}") from None
        except OSError:
            raise HttpError(500, "Open WebUI: Server Connection Error") from None
        with answer:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            for line in _lines(answer):
                self.wfile.write(line)


def _lines(answer: Any) -> Iterator[bytes]:
    while line := answer.readline():
        yield line


def _fixed(value: Any) -> Callable[[Handler], Any]:
    return lambda handler: value


_ROUTES: dict[tuple[str, str], Callable[[Handler], Any]] = {
    ("GET", "/health"): _fixed({"status": True, "stand-in": True}),
    ("GET", "/health/db"): _fixed({"status": True}),
    ("GET", "/api/version"): _fixed({"version": VERSION}),
    ("GET", "/api/config"): Handler.config,
    ("POST", "/api/v1/auths/signup"): Handler.signup,
    ("POST", "/api/v1/auths/signin"): Handler.signin,
    ("GET", "/api/v1/auths"): Handler.session_user,
    ("POST", "/api/v1/auths/update/password"): Handler.update_password,
    ("GET", "/api/v1/auths/admin/config"): lambda handler: handler._read(ADMIN_FIELDS),
    ("POST", "/api/v1/auths/admin/config"): lambda handler: handler._update(ADMIN_FIELDS, *ADMIN_FIELDS),
    ("GET", "/ollama/config"): lambda handler: handler._read(OLLAMA_FIELDS),
    ("POST", "/ollama/config/update"): lambda handler: handler._update(
        OLLAMA_FIELDS, "OLLAMA_BASE_URLS", "OLLAMA_API_CONFIGS"
    ),
    ("GET", "/openai/config"): lambda handler: handler._read(OPENAI_FIELDS),
    ("POST", "/openai/config/update"): lambda handler: handler._update(
        OPENAI_FIELDS, "OPENAI_API_BASE_URLS", "OPENAI_API_KEYS", "OPENAI_API_CONFIGS"
    ),
    ("GET", "/ollama/api/tags"): Handler.tags,
    ("GET", "/ollama/api/version"): Handler.ollama_version,
    ("GET", "/api/models"): Handler.models,
}


def main() -> int:
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = int(os.environ.get("PORT", "8080"))
    print(f"Open WebUI {VERSION} stand-in: listening on port {port}", flush=True)
    server = ThreadingHTTPServer((os.environ.get("HOST", "0.0.0.0"), port), Handler)
    server.daemon_threads = True
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
