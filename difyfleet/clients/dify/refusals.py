"""From an HTTP answer that says no to the exception that names the reason (see errors for the seven shapes)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import requests

from difyfleet.clients.dify import errors

_BY_CODE: dict[str, type[errors.Refused]] = {
    "not_setup": errors.NotSetUp,
    "not_init_validated": errors.InitNotConfirmed,
    "init_validate_failed": errors.InitPasswordWrong,
    "already_setup": errors.AlreadySetUp,
    "unauthorized": errors.NotLoggedIn,
    "email_or_password_mismatch": errors.WrongPassword,
    "account_not_found": errors.AccountNotFound,
    "email_code_login_limit": errors.LockedOut,
    "forbidden": errors.Forbidden,
    "invalid_param": errors.InvalidRequest,
    "bad_request": errors.InvalidRequest,
    "bad_request_key_error": errors.InvalidRequest,
    "app_not_found": errors.NotFound,
    "dataset_not_found": errors.NotFound,
    "not_found": errors.NotFound,
    "dataset_name_duplicate": errors.NameTaken,
    "file_too_large": errors.TooLarge,
    "unsupported_file_type": errors.UnsupportedFile,
    "max_keys_exceeded": errors.TooManyKeys,
    "invalid_action": errors.InvalidAction,
    "document_indexing": errors.InvalidAction,
    "provider_not_initialize": errors.ProviderNotReady,
    "completion_request_error": errors.CompletionFailed,
    "app_unavailable": errors.AppUnavailable,
    "not_chat_app": errors.AppUnavailable,
}
_BY_STATUS: dict[int, type[errors.Refused]] = {
    400: errors.InvalidRequest,
    401: errors.NotLoggedIn,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.NameTaken,
    413: errors.TooLarge,
    415: errors.InvalidRequest,
    422: errors.InvalidRequest,
    429: errors.LockedOut,
    500: errors.ServerCrashed,
    502: errors.GatewayError,
    503: errors.GatewayError,
    504: errors.GatewayError,
}
_CREDENTIALS_CHECK = "An error occurred during credentials validation: "


def refusal(response: requests.Response, where: str) -> errors.Refused:
    """The exception for an answer with an HTTP status of 400 or more.

    Args:
        where: method and path, for the message.
    """
    status = response.status_code
    try:
        body: Any = response.json()
    except ValueError:
        return _from_page(response.text, status, where)
    if not isinstance(body, dict):
        return _class_of("", status)(f"HTTP {status}: {str(body)[:200]}", where=where, status=status)
    return from_object(body, status, where)


def from_object(body: Mapping[str, Any], status: int, where: str) -> errors.Refused:
    """The exception for a JSON object that says no; also for the error event of a stream, whose own `status` then counts."""
    if body.get("result") == "fail":
        return errors.SessionExpired(_sentence(body.get("data"), status), where=where, status=status)
    code = str(body.get("code") or "")
    words = _sentence(body.get("message"), status)
    if words.startswith(_CREDENTIALS_CHECK):
        return errors.ModelRefused(
            words.removeprefix(_CREDENTIALS_CHECK), where=where, code=code, status=status
        )
    kind = _class_of(code, status)
    if kind is errors.InvalidRequest:
        field = str(body.get("params") or "")
        text = f"{field}: {words}" if field else words
        return errors.InvalidRequest(text, where=where, code=code, status=status, field=field)
    if kind is errors.TooLarge:
        # the server's text has an unfilled {message} in it
        return errors.TooLarge(words.replace("{message}", "").strip(), where=where, code=code, status=status)
    return kind(words, where=where, code=code, status=status)


def _class_of(code: str, status: int) -> type[errors.Refused]:
    return (
        _BY_CODE.get(code)
        or _BY_STATUS.get(status)
        or (errors.ServerCrashed if status >= 500 else errors.Refused)
    )


def _sentence(words: object, status: int) -> str:
    return " ".join(str(words).split()) if words else f"HTTP {status} without a reason"


def _from_page(page: str, status: int, where: str) -> errors.Refused:
    """HTML (or other text): Dify's own page for an unknown path, or a proxy's."""
    heading = re.search(r"<(h1|title)>(.*?)</\1>", page, re.S | re.I)
    words = (
        f"HTTP {status}: {' '.join(heading[2].split()) if heading else page.strip()[:120] or 'empty answer'}"
    )
    if status == 404:
        return errors.NoSuchRoute(words, where=where, status=status)
    if status == 413:
        return errors.TooLarge(words, where=where, status=status, from_proxy=True)
    return _class_of("", status)(words, where=where, status=status)
