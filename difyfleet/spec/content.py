"""What is inside Dify, as a user writes it: models, knowledge bases with their documents, assistants with their golden questions."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from difyfleet.spec.section import Section

LLM, EMBEDDING = "llm", "text-embedding"
HIGH_QUALITY, ECONOMY = "high_quality", "economy"
SEMANTIC, FULL_TEXT, HYBRID, KEYWORD = (
    "semantic_search",
    "full_text_search",
    "hybrid_search",
    "keyword_search",
)

# Of Dify 0.11.2 (ETL_TYPE=dify), and jsonl, which Dify cannot read and difyfleet turns into text on the way.
DOCUMENT_FORMATS = ("txt", "md", "markdown", "pdf", "docx", "html", "htm", "csv", "xlsx", "xls", "jsonl")

REFUSALS = (
    "没有找到", "未找到", "找不到", "没有相关", "未提及", "没有提到", "没有提及", "不知道", "不清楚", "无法回答", "无法确定",
    "没有足够", "don't know", "do not know", "cannot answer", "can't answer", "not mentioned", "no information", "not found",
)  # fmt: skip

# Families of Ollama models that only embed. The type decides what Dify asks of a model, so it is never guessed from anything else.
_EMBEDDERS = re.compile(
    r"(^|/)(nomic-embed|mxbai-embed|snowflake-arctic-embed|bge-|all-minilm|granite-embedding|paraphrase-)|embed"
)

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]*$")]
Score = Annotated[float, Field(ge=0, le=1)]


class DifyModel(Section):
    """One model of Ollama, as Dify is told about it."""

    name: ModelName = Field(..., description="Name with tag, as Ollama knows it.")
    type: Literal["llm", "text-embedding"] = Field("llm", description="What it does.")
    context_size: Annotated[int, Field(ge=128)] | None = Field(
        None,
        description="Tokens. For an embedding model its real window (longer segments are cut to it). Default: 4096, embedding 2048.",
    )
    max_tokens: Annotated[int, Field(ge=1)] = Field(4096, description="Longest answer in tokens; llm only.")
    mode: Literal["chat", "completion"] = Field("chat", description="How Ollama is asked; llm only.")
    vision: bool = Field(False, description="Whether images may be sent; llm only.")
    default: bool = Field(
        False,
        description="Make it the workspace's default of its type. With none marked: the first of a type.",
    )

    @property
    def window(self) -> int:
        """context_size with its default."""
        return self.context_size or (4096 if self.type == LLM else 2048)


class Segmentation(Section):
    """How a document is cut into segments."""

    separator: Annotated[str, Field(min_length=1)] = Field(
        "\n", description="Text at which a document is cut first."
    )
    max_tokens: Annotated[int, Field(ge=50, le=4000)] = Field(
        500,
        description="Longest segment in GPT-2 tokens (not characters; a Chinese character is about two).",
    )
    overlap: Annotated[int, Field(ge=0)] = Field(
        50, description="Tokens that a segment repeats of the one before."
    )
    remove_extra_spaces: bool = Field(True, description="Collapse runs of blanks and empty lines.")
    remove_urls_emails: bool = Field(False, description="Take URLs and e-mail addresses out of the text.")


class Search(Section):
    """How a knowledge base is searched."""

    method: Literal["semantic_search", "full_text_search", "hybrid_search", "keyword_search"] | None = Field(
        None,
        description="Default: semantic_search; keyword_search where indexing is economy (it has no other).",
    )
    top_k: Annotated[int, Field(ge=1, le=50)] = Field(4, description="Segments at most.")
    score_threshold: Score | None = Field(None, description="Segments below are left out.")
    vector_weight: Score = Field(
        0.7, description="hybrid_search only: weight of the meaning; the rest is the words'."
    )


class Knowledge(Section):
    """A knowledge base and its documents."""

    name: Annotated[str, Field(min_length=1, max_length=40)] | None = Field(
        None, description="Name in Dify (1 to 40 characters). Default: the key."
    )
    description: Annotated[str, Field(max_length=400)] = Field("", description="Shown in Dify.")
    documents: list[Path] | Path | None = Field(
        None,
        description="Folders and files on this machine. Left out, the documents in Dify are nobody's business but the UI's.",
    )
    include: list[str] = Field(
        default_factory=list,
        description="Globs of file names to take, relative to the folder. Default: every file of a format that Dify reads.",
    )
    exclude: list[str] = Field(default_factory=list, description="Globs of file names to leave out.")
    remove_undeclared_documents: bool = Field(
        False,
        description="Delete documents that others put there (in Dify's pages, say). Those that difyfleet put there go when their file goes.",
    )
    indexing: Literal["high_quality", "economy"] = Field(
        "high_quality", description="high_quality: vectors, needs an embedding model. economy: keywords."
    )
    embedding_model: ModelName | None = Field(
        None, description="One of the declared embedding models. Default: the default one."
    )
    segmentation: Literal["automatic"] | Segmentation = Field(
        "automatic", description="automatic: cut at line ends, 500 tokens, overlap 50."
    )
    retrieval: Search | None = Field(
        default_factory=Search,
        description="How it is searched. null: as it is in Dify (with a rerank model, say).",
    )
    permission: Literal["only_me", "all_team_members"] | None = Field(
        None, description="Who may see it in Dify. Default: as it is; a new one belongs to the admin alone."
    )

    @property
    def sources(self) -> tuple[Path, ...]:
        """`documents` as a tuple; empty also where they are not managed."""
        if self.documents is None:
            return ()
        return (self.documents,) if isinstance(self.documents, Path) else tuple(self.documents)

    @property
    def search_method(self) -> str:
        """The method with its default."""
        declared = self.retrieval.method if self.retrieval else None
        return declared or (KEYWORD if self.indexing == ECONOMY else SEMANTIC)


class Parameters(Section):
    """What the model is told with each question."""

    temperature: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="0 = the same answer each time. Dify's own default where left out."
    )
    top_p: Score | None = Field(None, description="Share of the likeliest words to choose from.")
    top_k: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None, description="Number of words to choose from."
    )
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Longest answer (Ollama's num_predict)."
    )
    context: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Tokens of question, documents and answer together (Ollama's num_ctx); 0 = Ollama's own. Default: 4096 with a "
        "knowledge base, since Ollama's own 2048 cuts the documents off in silence.",
    )
    repeat_penalty: Annotated[float, Field(ge=-2, le=2)] | None = Field(
        None, description="Above 1: fewer repetitions."
    )
    seed: int | None = Field(None, description="Number that makes chance repeatable.")
    more: dict[str, str | int | float | bool | list[str]] = Field(
        default_factory=dict,
        description="Other completion parameters of Dify's Ollama provider, as they are. (`stop` has no effect on an assistant's plain "
        "prompt in 0.11.2.)",
    )

    def completion(self, *, documents: bool) -> dict[str, Any]:
        """Dify's completion_params.

        Args:
            documents: whether a knowledge base is attached.
        """
        context = self.context if self.context is not None else (4096 if documents else None)
        named = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "num_predict": self.max_tokens,
            "num_ctx": context or None,
            "repeat_penalty": self.repeat_penalty,
            "seed": self.seed,
        }
        return {key: value for key, value in named.items() if value is not None} | dict(self.more)


class Golden(Section):
    """A question whose answer is known. verify asks it through the assistant's service API."""

    ask: Annotated[str, Field(min_length=1)] = Field(..., description="The question.")
    contains: list[str] | str = Field(
        default_factory=list,
        description="Facts that the answer must hold (blanks, letter case and full-width forms do not count).",
    )
    cites: list[str] | str = Field(
        default_factory=list, description="File names of documents that the answer must cite."
    )
    refuses: bool = Field(
        False, description="The answer must say that it does not know (see refusal_phrases)."
    )
    max_seconds: Annotated[float, Field(gt=0)] = Field(
        120, description="Longest time to the end of the answer."
    )

    @property
    def facts(self) -> tuple[str, ...]:
        """`contains` as a tuple."""
        return (self.contains,) if isinstance(self.contains, str) else tuple(self.contains)

    @property
    def cited(self) -> tuple[str, ...]:
        """`cites` as a tuple."""
        return (self.cites,) if isinstance(self.cites, str) else tuple(self.cites)


class Assistant(Section):
    """A chat assistant: an app in Dify, its knowledge bases, its API key, and the questions that prove it."""

    name: Annotated[str, Field(min_length=1, max_length=255)] | None = Field(
        None, description="Name in Dify. Default: the key."
    )
    description: str = Field("", description="Shown in Dify.")
    icon: Annotated[str, Field(min_length=1, max_length=8)] | None = Field(
        None, description="An emoji. Default: as it is; a new one has 🤖."
    )
    icon_background: Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{3,6}$")] = Field(
        "#FFEAD5", description="Colour behind the icon; counts where icon is given."
    )
    prompt: str | None = Field(None, description="What the model is told before every question.")
    prompt_file: Path | None = Field(
        None, description="The prompt in a text file (UTF-8), instead of `prompt`."
    )
    model: ModelName | None = Field(None, description="One of the declared models. Default: the default one.")
    parameters: Parameters = Field(default_factory=Parameters, description="Temperature and the like.")
    opening_statement: str = Field("", description="The assistant's first words.")
    suggested_questions: list[str] = Field(default_factory=list, description="Questions offered with them.")
    suggest_after_answer: bool = Field(
        False, description="Offer three more after each answer; costs one more call of the model."
    )
    knowledge: list[Key] = Field(default_factory=list, description="Keys of knowledge bases to answer from.")
    top_k: Annotated[int, Field(ge=1, le=50)] = Field(4, description="Segments given to the model, at most.")
    score_threshold: Score | None = Field(None, description="Segments below are left out.")
    merge: Literal["by_score", "all"] | None = Field(
        None,
        description="How findings of its knowledge bases are merged. by_score: the best top_k. all: every segment found (then top_k and "
        "score_threshold do not count). Default: by_score, and all where scores cannot be compared (economy beside high_quality, "
        "full_text_search).",
    )
    citations: bool = Field(True, description="Name the documents that an answer rests on.")
    api_key: bool | None = Field(
        True,
        description="true: service API on, and a key for it, kept on the host as /etc/difyfleet/secrets/dify_app_key_KEY. false: service "
        "API off. null: neither is looked at.",
    )
    site: bool | None = Field(True, description="The assistant's own web page on or off; null: as it is.")
    golden: list[Golden] = Field(default_factory=list, description="Questions that verify asks.")
    refusal_phrases: Annotated[list[str], Field(min_length=1)] = Field(
        default_factory=lambda: list(REFUSALS),
        description="An answer with one of these says that it does not know.",
    )

    @property
    def instructions(self) -> str:
        """The prompt, from wherever it comes. A trailing line end of a file is not part of it."""
        if self.prompt_file is not None:
            return self.prompt_file.read_text(encoding="utf-8").rstrip("\n")
        return self.prompt or ""


def shown_name(key: str, section: Knowledge | Assistant) -> str:
    """The name in Dify."""
    return section.name or key


def dify_models(declared: list[DifyModel | str] | None, of_ollama: list[str]) -> tuple[DifyModel, ...]:
    """The models that Dify is to offer, each type's default marked.

    Args:
        declared: dify.models.
        of_ollama: names of ollama.models as they are written there; used when dify.models is left out.
    """
    entries = list(of_ollama) if declared is None else list(declared)
    models = [
        DifyModel(name=entry, type=EMBEDDING if embeds(entry) else LLM) if isinstance(entry, str) else entry
        for entry in entries
    ]
    for kind in (LLM, EMBEDDING):
        same = [model for model in models if model.type == kind]
        if same and not any(model.default for model in same):
            first = models.index(same[0])
            models[first] = same[0].model_copy(update={"default": True})
    return tuple(dict.fromkeys(models))


def embeds(name: str) -> bool:
    """Whether an Ollama model of this name is one of those that only embed."""
    return bool(_EMBEDDERS.search(name.lower()))


def default_of(models: tuple[DifyModel, ...], kind: str) -> str | None:
    """Name of the default model of a type."""
    return next((model.name for model in models if model.type == kind and model.default), None)


def plain(text: str) -> str:
    """A text as golden questions compare it: no blanks, no letter case, full-width forms as ordinary ones."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
