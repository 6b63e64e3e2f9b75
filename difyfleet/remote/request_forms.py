"""An HTTP request as requests prepares it, as it is learned, and as the host sends it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from difyfleet.remote.learned_requests import GIVEN, KEPT, Asked, SignIn
from difyfleet.secrets import mask

# what requests sends by itself; with any other header a request is made as ever
_USUAL = {
    "user-agent",
    "accept-encoding",
    "accept",
    "connection",
    "content-length",
    "content-type",
    "authorization",
}
_BEARER = "Bearer "
_ENDS_A_SESSION = "/logout"  # a GET that changes something


def is_usual(request: requests.PreparedRequest) -> bool:
    """Whether it has no header of its own."""
    return {name.lower() for name in request.headers} <= _USUAL and request.headers.get("Accept") == "*/*"


def asks_only(request: requests.PreparedRequest) -> bool:
    """Whether it is a GET that changes nothing."""
    ends = urlsplit(request.url or "").path.endswith(_ENDS_A_SESSION)
    return request.method == "GET" and request.body is None and not ends


def head_of(asked: Asked) -> str:
    """Request line and headers as requests sends them, without the token, and without asking for a packed body."""
    to = urlsplit(asked.url)
    target = f"{to.path or '/'}?{to.query}" if to.query else to.path or "/"
    host = to.hostname or ""
    address = f"[{host}]" if ":" in host else host
    usual = to.port in (None, 443 if to.scheme == "https" else 80)
    lines = [
        f"{asked.method} {target} HTTP/1.1",
        f"Host: {address}" if usual else f"Host: {address}:{to.port}",
        f"User-Agent: {requests.utils.default_user_agent()}",
        "Accept-Encoding: identity",
        "Accept: */*",
        "Connection: keep-alive",
        *(["Content-Type: application/json"] if asked.around is not None else []),
    ]
    return "".join(f"{line}\r\n" for line in lines)


def body_of(request: requests.PreparedRequest) -> bytes:
    body = request.body or b""
    return body.encode() if isinstance(body, str) else bytes(body)


def token_of(request: requests.PreparedRequest) -> str:
    return request.headers.get("Authorization", "").removeprefix(_BEARER)


def recipe_of(body: bytes, sign_in: SignIn) -> tuple[tuple[str, str], str] | None:
    """The body around the secret, and the secret's place; None = it is not known, or the rest holds a secret, too."""
    try:
        secret = json.loads(body)[sign_in.field]
    except (ValueError, KeyError, TypeError):
        return None
    said = json.dumps(secret)
    opening = f"{json.dumps(sign_in.field)}: "
    before, found, after = body.decode().partition(opening + said)
    if not (isinstance(secret, str) and secret and found):
        return None
    around = (before + opening + '"', '"' + after)
    given = sign_in.given()
    if mask("".join(around)) != "".join(around) or (given is not None and given.reveal() != secret):
        return None
    return around, KEPT if given is None else GIVEN


def dug(response: requests.Response, keys: Iterable[str]) -> str | None:
    return dug_from(response.content, keys)


def dug_from(body: bytes, keys: Iterable[str]) -> str | None:
    try:
        found = json.loads(body)
        for key in keys:
            found = found[key]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def way_in(asked: Asked, around: tuple[str, str], sign_in: SignIn) -> dict[str, Any] | None:
    """How the host signs in (http_script.py); None = the inventory's secret is another matter than when it was learned."""
    given = sign_in.given()
    if (given is None) != (asked.place == KEPT):
        return None
    return {
        "before": around[0],
        "after": around[1],
        "value": given.reveal() if given is not None else None,
        "file": sign_in.kept,
        "unless": list(sign_in.unless),
        "token": list(sign_in.token),
    }


def by_service(requests: Iterable[Asked]) -> dict[tuple[str, str], list[Asked]]:
    """Requests in their order, by scheme and address."""
    found: dict[tuple[str, str], list[Asked]] = defaultdict(list)
    for asked in requests:
        to = urlsplit(asked.url)
        found[to.scheme, to.netloc].append(asked)
    return found


def services_of(
    requests: Iterable[Asked],
    known: Mapping[str, str],
    sign_in: Callable[[Asked], dict[str, Any] | None],
    numbers: Mapping[Asked, int] | None = None,
) -> list[dict[str, Any]]:
    """Requests as the host takes them (http_script.py).

    Args:
        known: tokens by name.
        numbers: of the requests, where they have them by now.
    """
    return [
        {
            "scheme": scheme,
            "address": urlsplit(f"//{address}").hostname or "",
            "port": urlsplit(f"//{address}").port or (443 if scheme == "https" else 80),
            "known": dict(known),
            "requests": [
                {
                    **({"number": numbers[asked]} if numbers is not None else {}),
                    "head": head_of(asked),
                    "seconds": asked.seconds,
                    "who": asked.who,
                    "sign_in": sign_in(asked),
                }
                for asked in each
            ],
        }
        for (scheme, address), each in by_service(requests).items()
    ]
