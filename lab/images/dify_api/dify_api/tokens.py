"""Signed things: the console's access token (a JWT) and flask's ``session`` cookie."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from .http import ApiError


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _sign(secret: str, message: str) -> str:
    return _encode(hmac.new(secret.encode(), message.encode(), hashlib.sha256).digest())


def access_token(secret: str, user_id: str, edition: str, minutes: int) -> str:
    """A JWT (HS256) as the console issues it at login."""
    claims = {
        "user_id": user_id,
        "exp": int(time.time()) + minutes * 60,
        "iss": edition,
        "sub": "Console API Passport",
    }
    head = _encode(json.dumps({"alg": "HS256", "typ": "JWT"}, separators=(",", ":")).encode())
    message = f"{head}.{_encode(json.dumps(claims, separators=(',', ':')).encode())}"
    return f"{message}.{_sign(secret, message)}"


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, "unauthorized", message)


def verify(secret: str, token: str) -> str:
    """The user id in an access token.

    :raises ApiError: 401; only the message tells a malformed, forged and expired token apart.
    """
    try:
        head, body, signature = token.split(".")
        algorithm = json.loads(_decode(head))["alg"]
        claims: dict[str, Any] = json.loads(_decode(body))
    except (ValueError, KeyError, TypeError):
        raise _unauthorized("Invalid token.") from None
    if algorithm != "HS256" or not hmac.compare_digest(signature, _sign(secret, f"{head}.{body}")):
        raise _unauthorized("Invalid token signature.")
    if int(claims.get("exp", 0)) <= time.time():
        raise _unauthorized("Token has expired.")
    return str(claims.get("user_id"))


def bearer(authorization: str, query_token: str) -> str:
    """The token of a request: from the Authorization header, else from ``_token`` in the query.

    :raises ApiError: 401 if there is none or the header has another scheme.
    """
    if not authorization:
        if not query_token:
            raise _unauthorized("Invalid Authorization token.")
        return query_token
    scheme, _, token = authorization.partition(" ")
    if not token or scheme.lower() != "bearer":
        raise _unauthorized("Invalid Authorization header format. Expected 'Bearer <api-key>' format.")
    return token.strip()


def session_cookie(secret: str, values: dict[str, Any]) -> str:
    """A ``Set-Cookie`` value that carries signed values.

    :raises RuntimeError: with an empty secret, where the real server has no session either.
    """
    if not secret:
        raise RuntimeError("The session is unavailable because no secret key was set.")
    message = f"{_encode(json.dumps(values).encode())}.{_encode(int(time.time()).to_bytes(4, 'big'))}"
    return f"session={message}.{_sign(secret, message)}; HttpOnly; Path=/"


def read_session(secret: str, cookie: str) -> dict[str, Any]:
    """The values in a session cookie; empty if there is none or the signature is wrong."""
    message, _, signature = cookie.rpartition(".")
    if not secret or not message or not hmac.compare_digest(signature, _sign(secret, message)):
        return {}
    values: dict[str, Any] = json.loads(_decode(message.partition(".")[0]))
    return values
