"""A requests.Response without urllib3: from an answer that was read elsewhere."""

from __future__ import annotations

import http.client
import io
from types import SimpleNamespace

import requests
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers


def response_of(
    request: requests.PreparedRequest, status: int, head: bytes, body: bytes
) -> requests.Response:
    """The response, as requests' own adapter makes it.

    Args:
        head: status line and headers.
        body: the whole of it, neither chunked nor packed.
    """
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    for line in lines:
        name, _, value = line.partition(":")
        value = value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    response = requests.Response()
    response.status_code = status
    response.headers = headers
    response.encoding = get_encoding_from_headers(headers)
    response.reason = (first.split(None, 2)[2:] or [""])[0]
    response.url = request.url or ""
    response.request = request
    response._content = body
    response._content_consumed = True  # type: ignore[attr-defined]
    if "set-cookie" in headers:  # requests.Session takes cookies from here
        parsed = http.client.parse_headers(io.BytesIO(head.partition(b"\r\n")[2]))
        response.raw = SimpleNamespace(_original_response=SimpleNamespace(msg=parsed))
        requests.cookies.extract_cookies_to_jar(response.cookies, request, response.raw)  # type: ignore[no-untyped-call]
    return response
