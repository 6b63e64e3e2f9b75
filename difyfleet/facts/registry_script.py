"""Runs ON THE HOST (Python >= 3.6, standard library): what registries say of images and models, and hashes of files behind URLs.

argv: one JSON list of questions, each with "key" (any JSON) and "places", tried in turn until one answers:
    {"manifest": "https://REGISTRY/v2/NAME/manifests/TAG", "insecure": false, "timeout": seconds}
    {"file": "https://..."}
Prints one JSON object per question: {"key", "place", "digest", "config", "blobs": {digest: bytes}} or {"key", "error"}. For an image of
several platforms `digest` is the index's, config and blobs are those of this machine's. Reads only (GET), writes no file.
"""

import concurrent.futures
import hashlib
import json
import platform
import re
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
LARGEST = 4 << 20  # bytes of a manifest; registries accept no larger ones
PARALLEL = 4
TLS = ssl.create_default_context()
NO_TLS = ssl._create_unverified_context()  # noqa: S323 - for insecure_registries only, as dockerd treats them


class Refused(Exception):
    """Why a place has no answer, in words."""


class Place:
    """One manifest's address, with the token it was found to need."""

    def __init__(self, place: "dict[str, Any]") -> None:
        self.url = place["manifest"]
        self.base, _, rest = self.url.partition("/v2/")
        self.repository = rest.rpartition("/manifests/")[0]
        self.timeout = float(place.get("timeout") or 15)
        self.context = NO_TLS if place.get("insecure") else TLS
        self.authorization = ""

    def get(self, url: str, again: bool = True) -> bytes:
        """The body behind a URL, with an anonymous token if one is asked for."""
        headers = {"Accept": ACCEPT, "User-Agent": "difyfleet"}
        if self.authorization and url.startswith(self.base):
            headers["Authorization"] = self.authorization
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http or https, the controller built it
        try:
            with urllib.request.urlopen(request, timeout=self.timeout, context=self.context) as answer:  # noqa: S310
                if "html" in (answer.headers.get("Content-Type") or "").lower():
                    raise Refused("a web page, not a registry")
                body = answer.read(LARGEST + 1)  # type: bytes
        except urllib.error.HTTPError as error:
            challenge = error.headers.get("Www-Authenticate") or ""
            if error.code == 401 and again and challenge.lower().startswith("bearer"):
                self.authorization = self.token(challenge)
                return self.get(url, again=False)
            raise Refused("does not have it" if error.code == 404 else f"HTTP {error.code}") from None
        if len(body) > LARGEST:
            raise Refused("answers without end")
        return body

    def token(self, challenge: str) -> str:
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        query = {"scope": f"repository:{self.repository}:pull"}
        if fields.get("service"):
            query["service"] = fields["service"]
        realm = fields.get("realm", "")
        if not realm.startswith(("https://", "http://")):
            raise Refused("wants a login")
        found = json.loads(
            self.get(
                realm + ("&" if "?" in realm else "?") + urllib.parse.urlencode(query), again=False
            ).decode()
        )
        return "Bearer " + (found.get("token") or found.get("access_token") or "")

    def answer(self) -> "dict[str, Any]":
        """Digest, configuration and blobs of what the address names, for this machine's platform."""
        body = self.get(self.url)
        digest, asked = sha256(body), self.url.rpartition("/")[2]
        if asked.startswith("sha256:") and asked != digest:
            raise Refused("answers with another content than asked for")
        manifest = json.loads(body.decode())
        if "manifests" in manifest:
            mine = [
                one["digest"]
                for one in manifest["manifests"]
                if (one.get("platform") or {}).get("architecture") == ARCHITECTURE
                and (one.get("platform") or {}).get("os") == "linux"
            ]
            if not mine:
                raise Refused("has it, but not for linux/" + ARCHITECTURE)
            below = self.get(f"{self.base}/v2/{self.repository}/manifests/{mine[0]}")
            if sha256(below) != mine[0]:
                raise Refused("answers with another content than asked for")
            manifest = json.loads(below.decode())
        parts = [manifest["config"]] + manifest["layers"]
        blobs = {part["digest"]: part["size"] for part in parts if part.get("digest")}
        return {"digest": digest, "config": manifest["config"]["digest"], "blobs": blobs}


def sha256(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def hashed(url: str) -> "dict[str, Any]":
    """The hash of a file, which is read and not kept."""
    digest = hashlib.sha256()
    request = urllib.request.Request(url, headers={"User-Agent": "difyfleet"})  # noqa: S310 - the inventory's models see to http or https
    with urllib.request.urlopen(request, timeout=60, context=TLS) as answer:  # noqa: S310
        for block in iter(lambda: answer.read(1 << 20), b""):
            digest.update(block)
    return {"digest": "sha256:" + digest.hexdigest(), "config": None, "blobs": {}}


def ask(question: "dict[str, Any]") -> "dict[str, Any]":
    """The first place's answer, or why none has one."""
    said = []
    for place in question["places"]:
        address = place.get("manifest") or place["file"]
        try:
            found = Place(place).answer() if "manifest" in place else hashed(address)
            return dict(found, key=question["key"], place=urllib.parse.urlsplit(address).netloc)
        except Refused as error:
            words = str(error)
        except urllib.error.HTTPError as error:
            words = f"HTTP {error.code}"
        except (KeyError, TypeError, AttributeError):
            words = "answers, but with no manifest"
        except (OSError, ValueError) as error:
            words = str(getattr(error, "reason", error)) or type(error).__name__
        said.append(f"{urllib.parse.urlsplit(address).netloc}: {words}")
    return {"key": question["key"], "error": "; ".join(said) or "nobody to ask"}


def main() -> None:
    """Ask all questions, a few at a time."""
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        for answer in pool.map(ask, json.loads(sys.argv[1])):
            print(json.dumps(answer))


main()
