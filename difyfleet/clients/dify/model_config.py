"""An assistant's configuration as one whole value.

POST model-config replaces everything: a key left out is reset, and to other defaults than a new app has (citations go off, retrieval becomes
`single`). So a configuration is never patched: take the one that the server has, change what you manage, send the whole.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# what the console itself sends for a new chat assistant, with citations on
_WHOLE: dict[str, Any] = {
    "pre_prompt": "",
    "prompt_type": "simple",
    "chat_prompt_config": {},
    "completion_prompt_config": {},
    "user_input_form": [],
    "dataset_query_variable": "",
    "opening_statement": "",
    "suggested_questions": [],
    "more_like_this": {"enabled": False},
    "suggested_questions_after_answer": {"enabled": False},
    "speech_to_text": {"enabled": False},
    "text_to_speech": {"enabled": False, "voice": "", "language": ""},
    "retriever_resource": {"enabled": True},
    "sensitive_word_avoidance": {"enabled": False, "type": "", "configs": []},
    "external_data_tools": [],
    "agent_mode": {"max_iteration": 5, "enabled": False, "strategy": "function_call", "tools": []},
    "dataset_configs": {"retrieval_model": "multiple", "datasets": {"strategy": "router", "datasets": []}},
    "file_upload": {
        "image": {
            "enabled": False,
            "number_limits": 3,
            "detail": "high",
            "transfer_methods": ["remote_url", "local_file"],
        }
    },
}
_READ_ONLY = ("annotation_reply", "created_by", "created_at", "updated_by", "updated_at")


@dataclass(frozen=True)
class Retrieval:
    """How an assistant merges what its knowledge bases found (each of them is searched with its own settings first).

    Args:
        top_k: segments given to the model, at most.
        score_threshold: least score, 0 to 1; None = none. The server applies any number, whatever the flag beside it says.
        mixed: the knowledge bases are of both techniques (economy and high_quality). The server refuses that unless reranking is on; on
            without a rerank model it takes every segment found, and neither top_k nor score_threshold counts.
    """

    top_k: int = 4
    score_threshold: float | None = None
    mixed: bool = False


@dataclass(frozen=True)
class Settings:
    """What a caller manages of a configuration; None = left as the server has it.

    Args:
        provider, model: the model (`ollama`, `qwen2.5:0.5b`).
        model_mode: chat or completion.
        params: completion parameters (temperature, num_ctx, num_predict ...), as a whole.
        prompt: the system prompt; `{{name}}` stands for a variable.
        opening: the first message that a user sees.
        suggested: questions offered with it.
        suggested_after_answer: offer three more after each answer (one more call of the model per answer).
        citations: name the documents that an answer rests on.
        datasets: ids of the knowledge bases, in no order.
        retrieval: how their findings are merged.
        variables: the input form, as Dify wants it.
    """

    provider: str | None = None
    model: str | None = None
    model_mode: str | None = None
    params: Mapping[str, Any] | None = None
    prompt: str | None = None
    opening: str | None = None
    suggested: Sequence[str] | None = None
    suggested_after_answer: bool | None = None
    citations: bool | None = None
    datasets: Sequence[str] | None = None
    retrieval: Retrieval | None = None
    variables: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Difference:
    """One managed setting that is not as wanted."""

    key: str
    is_now: Any
    wanted: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.is_now!r} -> {self.wanted!r}"


@dataclass(frozen=True)
class ModelConfig:
    """A whole configuration. Make one with `new` or `from_answer`, change it with `change`, send it with `apps.set_config`."""

    _values: Mapping[str, Any] = field(repr=False)

    @classmethod
    def new(cls, provider: str, model: str, settings: Settings | None = None) -> ModelConfig:
        """The configuration of a new chat assistant: citations on, retrieval `multiple`, no knowledge base."""
        start = {
            **copy.deepcopy(_WHOLE),
            "model": {"provider": provider, "name": model, "mode": "chat", "completion_params": {}},
        }
        return cls(start).change(settings or Settings())

    @classmethod
    def from_answer(cls, data: Mapping[str, Any]) -> ModelConfig:
        """From an app's `model_config`. What only the server writes is dropped, null and missing keys become the whole value's."""
        given = {key: value for key, value in data.items() if key not in _READ_ONLY and value is not None}
        values = {**copy.deepcopy(_WHOLE), **copy.deepcopy(given)}
        if "retriever_resource" not in given:
            values["retriever_resource"] = {"enabled": False}  # what a missing key means to the server
        return cls(values)

    def body(self) -> dict[str, Any]:
        """The request's body: every key, `retriever_resource` and `dataset_configs.retrieval_model` among them."""
        return copy.deepcopy(dict(self._values))

    def change(self, wanted: Settings) -> ModelConfig:
        """A copy with the managed settings as wanted and everything else as it is."""
        values = self.body()
        model = dict(values.get("model") or {"completion_params": {}})
        for key, value in (
            ("provider", wanted.provider),
            ("name", wanted.model),
            ("mode", wanted.model_mode),
        ):
            if value is not None:
                model[key] = value
        if wanted.params is not None:
            model["completion_params"] = dict(wanted.params)
        values["model"] = {**model, "completion_params": model.get("completion_params") or {}}
        for key, text in (("pre_prompt", wanted.prompt), ("opening_statement", wanted.opening)):
            if text is not None:
                values[key] = text
        for key, switch in (
            ("suggested_questions_after_answer", wanted.suggested_after_answer),
            ("retriever_resource", wanted.citations),
        ):
            if switch is not None:
                values[key] = {"enabled": switch}
        if wanted.suggested is not None:
            values["suggested_questions"] = list(wanted.suggested)
        if wanted.variables is not None:
            values["user_input_form"] = [dict(entry) for entry in wanted.variables]
        values["dataset_configs"] = self._dataset_configs(wanted)
        return ModelConfig(values)

    def _dataset_configs(self, wanted: Settings) -> dict[str, Any]:
        configs = copy.deepcopy(dict(self._values.get("dataset_configs") or {}))
        if wanted.datasets is not None:
            # an entry's first key must be "dataset", else the server skips it in silence
            entries = [{"dataset": {"enabled": True, "id": identity}} for identity in wanted.datasets]
            configs["datasets"] = {"strategy": "router", "datasets": entries}
        if wanted.retrieval is not None:
            configs |= {
                "top_k": wanted.retrieval.top_k,
                "score_threshold_enabled": wanted.retrieval.score_threshold is not None,
                "score_threshold": wanted.retrieval.score_threshold,
                # the server reads reranking_enabled (default: true), the console's pages read reranking_enable
                "reranking_enabled": wanted.retrieval.mixed,
                "reranking_enable": False,
            }
        if wanted.datasets is not None or wanted.retrieval is not None:
            configs["retrieval_model"] = (
                "multiple"  # `single` lets the model choose a knowledge base, which small models cannot
            )
        return configs

    def settings(self) -> Settings:
        """What this configuration says, in the terms of Settings."""
        model = self._values.get("model") or {}
        configs = self._values.get("dataset_configs") or {}
        return Settings(
            provider=str(model.get("provider", "")).removeprefix("langgenius/ollama/"),
            model=str(model.get("name", "")),
            model_mode=str(model.get("mode") or "chat"),
            params=_params(model.get("completion_params")),
            prompt=str(self._values.get("pre_prompt") or ""),
            opening=str(self._values.get("opening_statement") or ""),
            suggested=tuple(self._values.get("suggested_questions") or ()),
            suggested_after_answer=_enabled(self._values.get("suggested_questions_after_answer")),
            citations=_enabled(self._values.get("retriever_resource")),
            datasets=self.datasets,
            retrieval=Retrieval(
                top_k=int(configs.get("top_k") or 4),
                score_threshold=configs.get("score_threshold"),
                mixed=bool(configs.get("reranking_enabled", True)),
            ),
            variables=tuple(self._values.get("user_input_form") or ()),
        )

    @property
    def datasets(self) -> tuple[str, ...]:
        """Ids of the knowledge bases that are switched on, in the server's order."""
        entries = ((self._values.get("dataset_configs") or {}).get("datasets") or {}).get("datasets") or ()
        attached = (entry.get("dataset") or {} for entry in entries if isinstance(entry, Mapping))
        return tuple(
            str(dataset["id"]) for dataset in attached if dataset.get("enabled") and dataset.get("id")
        )

    @property
    def retrieval_mode(self) -> str:
        """`multiple`, or `single`, which is what a body without dataset_configs leaves behind."""
        return str((self._values.get("dataset_configs") or {}).get("retrieval_model") or "single")

    def compare(self, wanted: Settings) -> tuple[Difference, ...]:
        """The managed settings that are not as wanted. What is not managed, and what the server adds, does not count."""
        now = self.settings()
        found: list[Difference] = []
        for key in Settings.__dataclass_fields__:
            want, have = getattr(wanted, key), getattr(now, key)
            if want is None:
                continue
            if key == "params":
                want = _params(want)
            elif key == "datasets":
                want, have = tuple(sorted(want)), tuple(sorted(have))
            elif key in ("suggested", "variables"):
                want, have = list(want), list(have)
            if want != have:
                found.append(Difference(key, have, want))
        if wanted.datasets is not None and self.retrieval_mode != "multiple":
            found.append(Difference("retrieval_model", self.retrieval_mode, "multiple"))
        return tuple(found)


def _params(params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Completion parameters without an empty `stop` list, which the console adds and the server ignores."""
    return {key: value for key, value in (params or {}).items() if not (key == "stop" and not value)}


def _enabled(switch: object) -> bool:
    return bool(switch.get("enabled")) if isinstance(switch, Mapping) else False
