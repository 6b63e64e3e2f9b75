"""HTTP reads of a host's services that are made on the host, at once with its other reads, in the same exec (read_ahead.py).

An answer is given to a GET, or to a sign-in inside `reading()`, if method, URL, the body's hash and the token are those that the
host used; a sign-in's answer is the one that the run gets, so that there is one try as ever. The rules of reads hold: void as soon as a change
goes out, at the end of the phase and when it is old; given as often as the last run asked. What got no answer, or one of a service that is not
up (5xx), is asked by the run itself.

A sign-in is made ahead only where the last one was good: as soon as one is refused, or nobody knows, it is forgotten.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from difyfleet.remote import journal
from difyfleet.remote.digest_script import of_response
from difyfleet.remote.http_script import NOT_MADE, UNSURE
from difyfleet.remote.learned_requests import GIVEN, KEPT, Asked, LearnedRequests, SignIn
from difyfleet.remote.made_response import response_of
from difyfleet.remote.mux import BROKEN, Answer, Mux
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
SLACK = 5.0  # seconds until the host's own word that nothing came in time has to be here
SURE_WITHIN = 2.0  # seconds to wait for the word about a sign-in before it counts as unknown


class RequestsAhead:
    """The requests of one host.

    Args:
        name: the host's, for the journal.
        learned: where to learn from and to.
        sign_ins: those that may be made ahead.
    """

    def __init__(self, name: str, learned: LearnedRequests, sign_ins: Iterable[SignIn] = ()) -> None:
        self._name, self._learned = name, learned
        self._sign_ins = {each.path: each for each in sign_ins}
        self._asked: Counter[Asked] = Counter()  # in this phase so far; keeps their order
        self._left: Counter[Asked] = Counter()  # how often each answer may still be given
        self._numbers: dict[Asked, int] = {}
        self._first_given: dict[Asked, float] = {}
        self._tokens: dict[str, str] = {}  # of this run, and whose they are
        self._used: dict[str, str] = {}  # by name, what the host signed in with in this phase
        self._refused: set[str] = set()
        self._digests: dict[Asked, bytes] = {}  # of what was given in this phase
        self._told: dict[
            Asked, Answer
        ] = {}  # to sign-ins that the host made for a digest: they are not made again
        self._early: dict[Asked, Answer] = {}  # those of them that this phase expects

    def begin(self, phase: str, like: str = "", *, sign_in: bool = True) -> None:
        """From here on requests are expected to be those that the last run made in this phase.

        Args:
            like: a phase with much the same requests, for the first time.
            sign_in: whether sign-ins may be made ahead. Not where changes are expected: their answers would be void, and asked for again.
        """
        self._asked, self._first_given, self._digests = Counter(), {}, {}
        self._used.clear()
        told, self._told = self._told, {}
        latest = {who: token for token, who in self._tokens.items()}
        self._left = self._learned.load(phase) or self._learned.load(like)
        signed_in = set(latest)
        self._early = {asked: told[asked] for asked in self._left if asked in told}
        for asked in list(self._left):
            if asked in self._early:
                token = self._token_in(self._early[asked], asked)
                if token is not None:
                    self._signed_in(asked.who, token)
                    latest[asked.who] = token
                    signed_in.add(asked.who)
            elif asked.around is not None and sign_in and self._sign_in(asked) is not None:
                signed_in.add(asked.who)
                latest.pop(asked.who, None)
            elif asked.around is not None or asked.who not in {"", *signed_in}:
                del self._left[asked]
        self._used.update(latest)

    def expected(self) -> list[Asked]:
        """The requests that are expected in this phase, in their order."""
        return list(self._left)

    def for_digest(
        self, phase: str, number: Callable[[], int]
    ) -> tuple[dict[Asked, int], list[dict[str, Any]]] | None:
        """The requests of a phase with numbers, and their services; None = the host cannot make all of them by itself.

        Args:
            number: gives the next one.
        """
        signed_in = {""}
        asked = list(self._learned.load(phase))
        for each in asked:
            if each.around is not None and self._sign_in(each) is not None:
                signed_in.add(each.who)
            elif each.around is not None or each.who not in signed_in:
                return None
        self._used.clear()
        numbers = {each: number() for each in asked}
        return numbers, self._services(numbers, numbers)

    def told(self, mux: Mux, numbers: Mapping[Asked, int]) -> None:
        """A digest was made: its sign-ins stand for those of the phase that may follow, and a refused one is not tried again."""
        for asked, number in numbers.items():
            if asked.around is not None:
                with contextlib.suppress(TimeoutError):
                    if (answer := mux.wait(number, time.monotonic())) is not None:
                        self._told[asked] = answer

    def digests(self) -> tuple[list[Asked], list[bytes]] | None:
        """What was asked in this phase and the digests of the answers; None = not all were given from here."""
        asked = list(self._asked)
        if any(each not in self._digests for each in asked):
            return None
        return asked, [self._digests[each] for each in asked]

    def end(self, phase: str) -> None:
        """The phase went to its end and changed nothing: its requests are what the next run will need.

        Raises:
            OSError: they cannot be written down.
        """
        kept = {asked: times for asked, times in self._asked.items() if asked.who not in self._refused}
        self._learned.save(phase, Counter(kept))

    def void(self, mux: Mux | None) -> None:
        """Throw the answers away, but for the word about sign-ins."""
        numbers, self._numbers = self._numbers, {}
        self._left.clear()
        self._used.clear()
        early, self._early = self._early, {}
        for asked, answer in early.items():
            if answer.status not in (200, NOT_MADE):
                self._forget(asked.who)
        for asked, number in numbers.items():
            if asked.around is not None and not (mux is not None and _was_good(mux, number)):
                self._forget(asked.who)

    def send(self, mux: Mux) -> None:
        """Have the host make them.

        Raises:
            SSHException, OSError, EOFError: the channel is broken.
        """
        to_make = [asked for asked in self._left if asked not in self._early]
        for asked in to_make:
            journal.current().write(
                self._name, journal.READ, "ahead", f"{asked.method} {asked.url.split('?')[0]}"
            )
        services = self._services(to_make)
        in_order = [asked for _, each in _by_service(to_make) for asked in each]
        self._numbers = dict.fromkeys(in_order, -1)  # should sending fail, nobody knows what was done
        self._numbers = dict(zip(in_order, mux.ask_http(services), strict=True))

    def foreseen(self, request: requests.PreparedRequest, seconds: float) -> Asked | None:
        """A request as it was learned, if it may be answered from here; counted, as asked."""
        asked = self._as_asked(request, seconds)
        if asked is None:
            return None
        self._asked[asked] += 1
        return asked if self._left[asked] > 0 else None

    def answer(
        self, mux: Mux, request: requests.PreparedRequest, asked: Asked, fresh: float, again: float
    ) -> requests.Response | None:
        """The answer; None = it has to be asked for.

        Args:
            fresh: seconds it may be old.
            again: seconds after it was given first during which it may be given again.

        Raises:
            requests.ReadTimeout, requests.ConnectionError: what the host got instead of an answer.
        """
        number, early = self._numbers.get(asked), self._early.get(asked)
        if number is None and early is None:
            return None
        signs_in = asked.around is not None
        try:
            found = early or mux.wait(number or 0, time.monotonic() + asked.seconds + SLACK)
        except TimeoutError:
            if signs_in:
                raise requests.ReadTimeout(f"no answer within {asked.seconds:g} s", request=request) from None
            return None
        self._left[asked] -= 1
        if found is None:
            return None
        if found.status == "late":
            raise requests.ReadTimeout(f"no answer within {asked.seconds:g} s", request=request)
        if found.status == UNSURE and signs_in:
            raise requests.ConnectionError(f"{self._name}: no whole answer from {asked.url}", request=request)
        now = time.monotonic()
        good_until = min(found.at + fresh, self._first_given.setdefault(asked, now) + again)
        if not self._is_for(found, request, asked) or (good_until < now and not _refusal(found, asked)):
            return None
        response = response_of(request, int(found.status), found.stderr.partition(b"\n")[2], found.stdout)
        digest = of_response(int(found.status), found.stdout, signs_in)
        if digest is not None:
            self._digests[asked] = digest
        if signs_in:
            self.learn(request, response)
            self._used[asked.who] = next((t for t, who in self._tokens.items() if who == asked.who), "")
        return response

    def learn(self, request: requests.PreparedRequest, response: requests.Response) -> None:
        """Take note of whose token a sign-in has brought, or that it was refused."""
        sign_in = self._sign_ins.get(urlsplit(request.url or "").path)
        if sign_in is None or request.method != "POST":
            return
        token = _dug(response, sign_in.token) if response.status_code == 200 else None
        if token is None:
            self._forget(sign_in.who)
            return
        self._signed_in(sign_in.who, token)

    def _signed_in(self, who: str, token: str) -> None:
        self._tokens = {old: each for old, each in self._tokens.items() if each != who}
        self._tokens[token] = who

    def _token_in(self, answer: Answer, asked: Asked) -> str | None:
        sign_in = self._sign_ins.get(urlsplit(asked.url).path)
        if sign_in is None or answer.status != 200:
            return None
        return _dug_from(answer.stdout, sign_in.token)

    def _forget(self, who: str) -> None:
        if who not in self._refused:
            self._refused.add(who)
            self._learned.forget(who)

    def _is_for(self, found: Answer, request: requests.PreparedRequest, asked: Asked) -> bool:
        """Whether the host's answer is one to this very request, and one to be believed."""
        status = found.status
        if not isinstance(status, int) or not (200 <= status < 300 or 400 <= status < 500):
            return False
        if asked.around is not None:
            return found.stderr.partition(b"\n")[0].decode() == hashlib.sha256(_body(request)).hexdigest()
        return not asked.who or self._used.get(asked.who) == _token_of(request)

    def _as_asked(self, request: requests.PreparedRequest, seconds: float) -> Asked | None:
        headers = {name.lower() for name in request.headers}
        url = request.url or ""
        if not headers <= _USUAL or request.headers.get("Accept") != "*/*" or mask(url) != url:
            return None
        token = _token_of(request)
        if (
            request.method == "GET"
            and request.body is None
            and not urlsplit(url).path.endswith(_ENDS_A_SESSION)
        ):
            who = self._tokens.get(token) if token else ""
            return None if who is None else Asked("GET", url, seconds, who)
        sign_in = self._sign_ins.get(urlsplit(url).path)
        if request.method != "POST" or token or sign_in is None:
            return None
        found = _recipe(_body(request), sign_in)
        return Asked("POST", url, seconds, sign_in.who, *found) if found is not None else None

    def _sign_in(self, asked: Asked) -> dict[str, Any] | None:
        """How the host signs in; None = the inventory's secret is another matter now."""
        sign_in = self._sign_ins.get(urlsplit(asked.url).path)
        if sign_in is None or asked.around is None or asked.who in self._refused:
            return None
        given = sign_in.given()
        if (given is None) != (asked.place == KEPT):
            return None
        return {
            "before": asked.around[0],
            "after": asked.around[1],
            "value": given.reveal() if given is not None else None,
            "file": sign_in.kept,
            "unless": list(sign_in.unless),
            "token": list(sign_in.token),
        }

    def _services(
        self, asked: Iterable[Asked], numbers: Mapping[Asked, int] | None = None
    ) -> list[dict[str, Any]]:
        return [self._service(origin, each, numbers) for origin, each in _by_service(asked)]

    def _service(
        self, origin: tuple[str, str], each: Iterable[Asked], numbers: Mapping[Asked, int] | None
    ) -> dict[str, Any]:
        to = urlsplit("://".join(origin))
        return {
            "scheme": to.scheme,
            "address": to.hostname or "",
            "port": to.port or (443 if to.scheme == "https" else 80),
            "known": self._used,
            "requests": [
                {
                    **({"number": numbers[asked]} if numbers is not None else {}),
                    "head": _head(asked),
                    "seconds": asked.seconds,
                    "who": asked.who,
                    "sign_in": self._sign_in(asked),
                }
                for asked in each
            ],
        }


def _by_service(asked: Iterable[Asked]) -> list[tuple[tuple[str, str], list[Asked]]]:
    found: dict[tuple[str, str], list[Asked]] = defaultdict(list)
    for each in asked:
        to = urlsplit(each.url)
        found[to.scheme, to.netloc].append(each)
    return list(found.items())


def _head(asked: Asked) -> str:
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


def _body(request: requests.PreparedRequest) -> bytes:
    body = request.body or b""
    return body.encode() if isinstance(body, str) else bytes(body)


def _token_of(request: requests.PreparedRequest) -> str:
    return request.headers.get("Authorization", "").removeprefix(_BEARER)


def _recipe(body: bytes, sign_in: SignIn) -> tuple[tuple[str, str], str] | None:
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


def _dug(response: requests.Response, keys: Iterable[str]) -> str | None:
    return _dug_from(response.content, keys)


def _dug_from(body: bytes, keys: Iterable[str]) -> str | None:
    try:
        found = json.loads(body)
        for key in keys:
            found = found[key]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _refusal(found: Answer, asked: Asked) -> bool:
    """A refused sign-in: it must not be tried again because its answer is old."""
    return asked.around is not None and isinstance(found.status, int) and found.status >= 400


def _was_good(mux: Mux, number: int) -> bool:
    """Whether a sign-in was let in, or was not tried at all."""
    try:
        found = mux.wait(number, time.monotonic() + SURE_WITHIN)
    except (TimeoutError, *BROKEN):
        return False
    return found is not None and found.status in (200, -1)
