"""Session tokens: a JWT (HS256) signed with WEBUI_SECRET_KEY."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import time
from typing import Any

from .state import DATABASE, SETTINGS

SECRET = os.environ.get("WEBUI_SECRET_KEY") or os.environ.get("WEBUI_JWT_SECRET_KEY") or "t0p-s3cr3t"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _signature(message: str) -> str:
    return _encode(hmac.new(SECRET.encode(), message.encode(), hashlib.sha256).digest())


def _lifetime(text: str) -> int | None:
    """Seconds of a duration such as ``4w`` or ``1h30m``; None for ``-1`` and ``0``: never ends."""
    if text in ("-1", "0"):
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    return int(
        sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)([smhdw])", text))
    )


def create_token(user_id: str) -> str:
    """A JWT (HS256) signed with WEBUI_SECRET_KEY."""
    claims: dict[str, Any] = {"id": user_id}
    lifetime = _lifetime(SETTINGS["auth.jwt_expiry"])
    if lifetime:
        claims["exp"] = int(time.time()) + lifetime
    head = json.dumps({"alg": "HS256", "typ": "JWT"}).encode()
    message = f"{_encode(head)}.{_encode(json.dumps(claims).encode())}"
    return f"{message}.{_signature(message)}"


def user_of_token(token: str) -> dict[str, Any] | None:
    """The account of a token that is well signed and not expired."""
    message, _, signature = token.rpartition(".")
    if not message or not hmac.compare_digest(signature, _signature(message)):
        return None
    body = message.partition(".")[2]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    if claims.get("exp", time.time() + 1) <= time.time():
        return None
    return DATABASE.user("id", claims.get("id", ""))


def session(user: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Body and headers that sign-in and sign-up answer with."""
    token = create_token(user["id"])
    fields = {name: user[name] for name in ("id", "email", "name", "role", "profile_image_url")}
    body = {"token": token, "token_type": "Bearer", **fields}
    return body, {"Set-Cookie": f"token={token}; HttpOnly; Path=/; SameSite=lax"}
