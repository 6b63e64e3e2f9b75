"""Stand-in for Dify's code sandbox: ``GET /health`` and ``POST /v1/sandbox/run`` with the key of the environment."""

from __future__ import annotations

import hmac
import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = os.environ.get("API_KEY", "dify-sandbox")
TIMEOUT = float(os.environ.get("WORKER_TIMEOUT", "15"))  # s


def run(code: str) -> dict[str, str]:
    """Run Python code; output and error text as the sandbox returns them."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return {"stdout": "", "error": "error: timeout"}
    return {"stdout": done.stdout, "error": done.stderr}


class Handler(BaseHTTPRequestHandler):
    """Health without a key, everything else with it."""

    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("X-Stand-In", "true")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _allowed(self) -> bool:
        return hmac.compare_digest(self.headers.get("X-Api-Key", ""), KEY)

    def do_GET(self) -> None:
        """``/health``."""
        if self.path == "/health":
            self._answer(200, "ok")
        else:
            self._answer(
                404 if self._allowed() else 401, {"code": -401, "message": "Unauthorized", "data": None}
            )

    def do_POST(self) -> None:
        """``/v1/sandbox/run`` for ``python3``."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._allowed():
            self._answer(401, {"code": -401, "message": "Unauthorized", "data": None})
            return
        if self.path != "/v1/sandbox/run":
            self._answer(404, {"code": -404, "message": "not found", "data": None})
            return
        try:
            request = json.loads(body)
            language, code = request["language"], request["code"]
        except (ValueError, KeyError, TypeError):
            self._answer(400, {"code": -400, "message": "invalid request", "data": None})
            return
        if language != "python3":
            self._answer(200, {"code": -400, "message": "unsupported language", "data": None})
            return
        self._answer(200, {"code": 0, "message": "success", "data": run(code)})

    def log_message(self, format: str, *args: object) -> None:
        """GIN_MODE=release logs no requests."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("SANDBOX_PORT", "8194"))), Handler).serve_forever()
