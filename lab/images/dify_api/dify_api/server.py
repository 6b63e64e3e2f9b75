"""MODE=api: the HTTP server on port 5001."""

from __future__ import annotations

import logging
import os
import signal
import sys
from http.server import ThreadingHTTPServer

from . import VERSION, routes, settings
from .accounts import App
from .http import handler_class


class Server(ThreadingHTTPServer):
    """A burst of clients is queued, not refused; threads do not keep the process alive."""

    daemon_threads = True
    request_queue_size = 128


def main() -> int:
    """Serve until SIGTERM."""
    loaded = settings.load_or_exit(os.environ)
    host, port = os.environ.get("DIFY_BIND_ADDRESS", "0.0.0.0"), int(os.environ.get("DIFY_PORT", "5001"))
    server = Server((host, port), handler_class(App(loaded), loaded.deploy_env))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.getLogger("dify_api").info(
        "Dify %s stand-in: listening on %s:%d with %d groups of routes", VERSION, host, port, len(routes.ALL)
    )
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
