"""Ollama's models as things that the hosts of a fleet hand to each other: blobs and manifest, told by their hashes, never the identity key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from difyfleet.facts.ollama import HASH_TIMEOUT, OllamaStore, Store
from difyfleet.remote.neighbours import Key, Offer, read_fact


@dataclass(frozen=True)
class WantedModel:
    """A model that a host lacks.

    Args:
        digest: of the manifest it must have (a prefix is enough); None = any.
        timeout: seconds that it may take.
    """

    name: str
    data_dir: str
    digest: str | None
    timeout: int

    @property
    def key(self) -> Key:
        return "model", self.name

    def fits(self, offer: Offer) -> bool:
        return offer.digest.startswith(self.digest or "")

    def order(self, offer: Offer) -> Mapping[str, Any]:
        """What is to be taken: each part with its hash and size."""
        return {"models": f"{self.data_dir}/models", **offer.what}

    def arrived(self, on: Any) -> Offer | None:
        store = read_fact(on, OllamaStore, HASH_TIMEOUT, data_dir=self.data_dir)
        return offers(store, [self.key], self.data_dir).get(self.key)


def offers(store: Store, keys: Sequence[Key], data_dir: str) -> dict[Key, Offer]:
    """Those of the keys that are whole in a host's store. Pure."""
    found = {}
    for key in keys:
        model = store.models.get(key[1])
        if model is not None and model.complete:
            path = model.path.removeprefix(f"{data_dir}/models/manifests/")
            blobs = [{"digest": blob.digest, "size": blob.size} for blob in model.blobs]
            what = {"manifest": {"path": path, "digest": model.digest}, "blobs": blobs}
            found[key] = Offer(model.digest, model.size, what)
    return found


class Models:
    """How models are looked for on other hosts."""

    def has(self, on: Any, keys: Sequence[Key]) -> Mapping[Key, Offer]:
        data_dir = on.data.spec.ollama.data_dir
        return offers(read_fact(on, OllamaStore, HASH_TIMEOUT, data_dir=data_dir), keys, data_dir)

    def declares(self, on: Any, key: Key) -> bool:
        spec = on.data.spec
        return bool(spec.share.enabled and spec.ollama.enabled) and any(
            model.name == key[1] for model in spec.ollama.declared()
        )
