"""Stand-in for Dify's web console: a page that says so, carries the API prefixes and shows what the API answers."""

from __future__ import annotations

import html
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Dify (stand-in)</title>
<style>body{{font:16px sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}}code{{background:#eee;padding:0 .3rem}}</style>
</head>
<body data-api-prefix="{console}/console/api" data-public-api-prefix="{app}/api">
<h1>Dify 0.11.2: stand-in of the web console</h1>
<p>This is difyfleet's lab. Behind the same nginx, the API answers:</p>
<ul><li><code>/console/api/setup</code>: <output id="setup">...</output></li>
<li><code>/v1/</code>: <output id="v1">...</output></li></ul>
<script>
const prefix = document.body.dataset.apiPrefix;
for (const [id, url] of [["setup", prefix + "/setup"], ["v1", "/v1/"]])
  fetch(url).then(r => r.text()).then(t => document.getElementById(id).textContent = t)
    .catch(e => document.getElementById(id).textContent = e);
</script>
</body></html>
"""


class Handler(BaseHTTPRequestHandler):
    """The page for every path; static assets do not exist."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the page."""
        prefixes = {
            "console": os.environ.get("CONSOLE_API_URL", ""),
            "app": os.environ.get("APP_API_URL", ""),
        }
        body = PAGE.format(
            **{name: html.escape(value, quote=True) for name, value in prefixes.items()}
        ).encode()
        self.send_response(404 if self.path.startswith("/_next/") else 200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Next.js logs no requests."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "3000"))), Handler).serve_forever()
