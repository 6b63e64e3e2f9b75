"""HTTP reads of a host's services, made on the host at once with its other reads, in the same exec (read_ahead.py).

An answer is given to a GET, or to a sign-in inside `reading()`, if method, URL, the body's hash and the token are those that the
host used; a sign-in's answer is the one that the run gets, so that there is one try as ever. The rules of reads hold: void as soon as a change
goes out, at the end of the phase and when it is old; given as often as the last run asked. What got no answer, or one of a service that is not
up (5xx), is asked by the run itself.

A sign-in is made ahead only where the last one was good: as soon as one is refused, or nobody knows, it is forgotten.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from difyfleet.remote import journal
from difyfleet.remote.digest_script import of_response
from difyfleet.remote.http_script import NOT_MADE, UNSURE
from difyfleet.remote.learned_requests import Asked, LearnedRequests, SignIn
from difyfleet.remote.made_response import response_of
from difyfleet.remote.mux import BROKEN, Answer, Mux
from difyfleet.remote.request_forms import (
    asks_only,
    body_of,
    by_service,
    dug,
    dug_from,
    is_usual,
    recipe_of,
    services_of,
    token_of,
    way_in,
)
from difyfleet.secrets import mask

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
        self._told: dict[Asked, Answer] = {}  # of sign-ins made for a digest: they are not made again
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
        self._early = told
        self._left.update(
            {asked: 1 for asked in told if asked not in self._left}
        )  # a refused one is forgotten
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
        return numbers, services_of(numbers, self._used, self._sign_in, numbers)

    def told(self, mux: Mux, numbers: Mapping[Asked, int]) -> None:
        """A digest was made: its sign-ins stand for those of the phase that may follow, and a refused one is not tried again."""
        for asked, number in numbers.items():
            if asked.around is None:
                continue
            answer: Answer | None = None
            with contextlib.suppress(TimeoutError):
                answer = mux.wait(number, time.monotonic())
            if answer is not None:
                self._told[asked] = answer
            if answer is None or answer.status not in (200, NOT_MADE):
                self._forget(asked.who)

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
        self._early = {}
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
        services = services_of(to_make, self._used, self._sign_in)
        in_order = [asked for each in by_service(to_make).values() for asked in each]
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
        token = dug(response, sign_in.token) if response.status_code == 200 else None
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
        return dug_from(answer.stdout, sign_in.token)

    def _forget(self, who: str) -> None:
        if who not in self._refused:
            self._refused.add(who)
            with contextlib.suppress(OSError):
                self._learned.forget(who)

    def _is_for(self, found: Answer, request: requests.PreparedRequest, asked: Asked) -> bool:
        """Whether the host's answer is one to this very request, and one to be believed."""
        signs_in = asked.around is not None
        if not isinstance(found.status, int) or found.status // 100 not in (
            (2, 4, 5) if signs_in else (2, 4)
        ):
            return False
        if signs_in:
            return found.stderr.partition(b"\n")[0].decode() == hashlib.sha256(body_of(request)).hexdigest()
        return not asked.who or self._used.get(asked.who) == token_of(request)

    def _as_asked(self, request: requests.PreparedRequest, seconds: float) -> Asked | None:
        url = request.url or ""
        if not is_usual(request) or mask(url) != url:
            return None
        token = token_of(request)
        if asks_only(request):
            who = self._tokens.get(token) if token else ""
            return None if who is None else Asked("GET", url, seconds, who)
        sign_in = self._sign_ins.get(urlsplit(url).path)
        if request.method != "POST" or token or sign_in is None:
            return None
        found = recipe_of(body_of(request), sign_in)
        return Asked("POST", url, seconds, sign_in.who, *found) if found is not None else None

    def _sign_in(self, asked: Asked) -> dict[str, Any] | None:
        """How the host signs in; None = the inventory's secret is another matter now."""
        sign_in = self._sign_ins.get(urlsplit(asked.url).path)
        if sign_in is None or asked.around is None or asked.who in self._refused:
            return None
        return way_in(asked, asked.around, sign_in)


def _refusal(found: Answer, asked: Asked) -> bool:
    """A refused sign-in: it must not be tried again because its answer is old."""
    return asked.around is not None and isinstance(found.status, int) and found.status >= 400


def _was_good(mux: Mux, number: int) -> bool:
    """Whether a sign-in was let in, or was not tried at all."""
    try:
        found = mux.wait(number, time.monotonic() + SURE_WITHIN)
    except (TimeoutError, *BROKEN):
        return False
    return found is not None and found.status in (200, NOT_MADE)
