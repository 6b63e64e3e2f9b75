"""Runs ON THE HOST (Python >= 3.6, standard library): which registry mirrors answer like a registry, all asked at once.

argv: seconds per request, image to ask for as NAME:TAG ("" = none), then mirror URLs. Prints one JSON object per mirror:
{"url", "alive", "reason", "seconds"}. Reads only (GET).
"""

import json
import os
import re
import socket
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message
from typing import Any

LIMIT = float(sys.argv[1])
IMAGE = sys.argv[2]
URLS = sys.argv[3:]
ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
# one for all: reading the CA bundle takes 2 s on an emulated CPU, once per request it ate the mirrors' time-out
TLS = ssl.create_default_context()
RESULTS: "dict[str, dict[str, Any]]" = {}


class Dead(Exception):
    """Why a mirror is not to be used."""


def ask(url: str, headers: "dict[str, str] | None" = None) -> "tuple[int, Message, bytes]":
    """(status, headers, first 64 KiB). HTTP errors are answers, too."""
    request = urllib.request.Request(  # noqa: S310 - mirror URLs are http or https, the inventory's models see to that
        url, headers=dict({"User-Agent": "docker/28 difyfleet-probe"}, **(headers or {}))
    )
    try:
        with urllib.request.urlopen(request, timeout=LIMIT, context=TLS) as answer:  # noqa: S310
            return answer.status, answer.headers, answer.read(65536)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read(65536)


def words(error: BaseException) -> str:
    """An exception in an operator's words."""
    inner = getattr(error, "reason", error)
    if isinstance(inner, socket.gaierror):
        return "no such name in DNS" if inner.errno in (-2, -5) else f"DNS does not answer ({inner.strerror})"
    if isinstance(inner, (socket.timeout, TimeoutError)) or "timed out" in str(inner):
        return f"silent for {LIMIT:g} s"
    if isinstance(inner, ConnectionRefusedError):
        return "connection refused"
    if "CERTIFICATE_VERIFY_FAILED" in str(inner):
        return "TLS certificate not trusted"
    return str(inner) or type(inner).__name__


def is_html(headers: Message) -> bool:
    """Whether a content type says web page."""
    return "html" in (headers.get("Content-Type") or "").lower()


def token(challenge: str, repository: str) -> "str | None":
    """The Authorization header that a 401 asks for, anonymously."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not fields.get("realm"):
        return None
    query = {"scope": f"repository:{repository}:pull"}
    if fields.get("service"):
        query["service"] = fields["service"]
    url = fields["realm"] + ("&" if "?" in fields["realm"] else "?") + urllib.parse.urlencode(query)
    try:
        status, _, body = ask(url)
        found = json.loads(body.decode()) if status == 200 else {}
    except (OSError, ValueError) as error:
        raise Dead(f"its token service {urllib.parse.urlsplit(url).netloc} fails: {words(error)}") from None
    value = found.get("token") or found.get("access_token")
    if not value:
        raise Dead(f"its token service {urllib.parse.urlsplit(url).netloc} answers HTTP {status}")
    return f"Bearer {value}"


def probe(base: str) -> str:
    """What is good about a mirror; raises Dead with what is not."""
    base = base.rstrip("/")
    status, headers, _ = ask(base + "/v2/")
    challenge = headers.get("Www-Authenticate") or ""
    if status not in (200, 401):
        raise Dead(f"/v2/ answers HTTP {status}{', a web page' if is_html(headers) else ''}")
    if is_html(headers):
        raise Dead("a web page, not a registry")
    if status == 401 and not challenge.lower().startswith(("bearer", "basic")):
        raise Dead("/v2/ answers 401 without a challenge")
    if status == 200 and "registry/2" not in (headers.get("Docker-Distribution-Api-Version") or ""):
        raise Dead("/v2/ answers without Docker-Distribution-Api-Version")
    if challenge.lower().startswith("basic"):
        return "answers, wants a login"
    if not IMAGE:
        return "answers"
    name, _, tag = IMAGE.rpartition(":")
    wanted = {"Accept": ACCEPT}
    manifest = f"{base}/v2/{name}/manifests/{tag}"
    try:
        status, headers, _ = ask(manifest, wanted)
        challenge = headers.get("Www-Authenticate") or ""
        if status == 401 and challenge.lower().startswith("bearer"):
            authorization = token(challenge, name)
            if authorization:
                status, headers, _ = ask(manifest, dict(wanted, Authorization=authorization))
    except (OSError, ValueError) as error:
        if "silent" in words(
            error
        ):  # a pull-through cache that fetches an image for the first time is slow, not dead
            return f"answers, slow with {IMAGE}"
        raise
    if status == 200 and not is_html(headers):
        return f"serves {IMAGE}"
    if status == 404 and not is_html(headers):
        return f"answers, does not have {IMAGE}"
    raise Dead(f"refuses {IMAGE}: HTTP {status}{', a web page' if is_html(headers) else ''}")


def work(url: str) -> None:
    """Probe one mirror and keep the answer; a thread's body."""
    start = time.time()
    try:
        alive, reason = True, probe(url)
    except Dead as error:
        alive, reason = False, str(error)
    except Exception as error:
        alive, reason = False, words(error)
    RESULTS[url] = {"url": url, "alive": alive, "reason": reason, "seconds": round(time.time() - start, 2)}


THREADS = [threading.Thread(target=work, args=(url,), daemon=True) for url in URLS]
END = time.time() + 3 * LIMIT + 1
for thread in THREADS:
    thread.start()
for thread in THREADS:
    thread.join(max(0.0, END - time.time()))
for url in URLS:
    silent = {
        "url": url,
        "alive": False,
        "reason": f"silent for {3 * LIMIT:g} s",
        "seconds": round(3 * LIMIT, 2),
    }
    print(json.dumps(RESULTS.get(url, silent)))
sys.stdout.flush()
os._exit(0)  # look-ups that hang in the resolver cannot be cancelled
