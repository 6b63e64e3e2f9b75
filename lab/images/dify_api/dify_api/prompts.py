"""What the model is given: context and the app's prompt as the system's message, what was said before, and the question."""

from __future__ import annotations

import re
from typing import Any

from . import db
from .models import Models
from .providers import PARAMETERS

_CONTEXT = """Use the following context as your learned knowledge, given inside <context></context> tags.

<context>
{context}
</context>

When you answer the user:
- If the context does not have the answer, say that you do not know.
- If you are not sure, ask for clarification.
Do not mention that you have been given a context, and answer in the language of the question.

"""
TITLE = """You name conversations. Read the user's first message and give the conversation a short title of a few words in the
same language. Say what the user wants, not what you think of it. Answer with JSON only, in this form:
{{"Language Type": "the language", "Your Reasoning": "one short sentence", "Your Output": "the title"}}

Example 1
User Input: hi, my name is Lin.
{{"Language Type": "English", "Your Reasoning": "The user greets and gives a name.", "Your Output": "Lin's greeting"}}

Example 2
User Input: 你好，停泊费多少？
{{"Language Type": "Chinese", "Your Reasoning": "用户想知道停泊费。", "Your Output": "停泊费咨询"}}

User Input: {query}
"""


def filled(text: str, inputs: dict[str, Any]) -> str:
    """``{{name}}`` replaced by the inputs; what is not among them stays."""
    return re.sub(r"\{\{([^{}#]+)\}\}", lambda match: str(inputs.get(match[1].strip(), match[0])), text)


def messages(
    config: dict[str, Any],
    inputs: dict[str, Any],
    query: str,
    context: list[str],
    history: list[db.Row],
    chat: bool,
) -> list[dict[str, str]]:
    """The messages of a call.

    :param context: segments; the frame around them is there whenever the app has knowledge bases, even if they found nothing.
    :param history: earlier messages of the conversation, oldest first.
    :param chat: false for completion apps, whose prompt is all that is said.
    """
    system = filled(config["pre_prompt"] or "", inputs)
    if (config["dataset_configs"].get("datasets") or {}).get("datasets"):
        system = _CONTEXT.format(context="\n".join(context)) + system
    if not chat:
        return [{"role": "user", "content": f"{system}\n{query}".strip()}]
    said = [{"role": "system", "content": system}] if system else []
    for row in history:
        said += [{"role": "user", "content": row["query"]}, {"role": "assistant", "content": row["answer"]}]
    return [*said, {"role": "user", "content": query}]


def parameters(config: dict[str, Any], models: Models) -> dict[str, Any]:
    """Completion parameters as the model server gets them: unknown ones are dropped.

    :raises ValueError: for one out of its range.
    """
    given = config["model"]["completion_params"]
    credentials = models.credentials(config["model"]["name"], "llm") or {}
    kept = {}
    for rule in PARAMETERS:
        name = rule["name"]
        if given.get(name) is None:
            continue
        value, low, high = given[name], rule["min"], rule["max"]
        if name == "num_predict":
            high = float(credentials.get("max_tokens", 4096))
        if low is not None and value < low:
            raise ValueError(f"Model Parameter {name} should be greater than or equal to {low}.")
        if high is not None and value > high:
            raise ValueError(f"Model Parameter {name} should be less than or equal to {high}.")
        kept[name] = value
    if given.get("stop"):
        kept["stop"] = given["stop"]
    return kept


def inputs(config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The form's inputs.

    :raises ValueError: if a required one is missing or one is too long.
    """
    kept = {}
    for field in config["user_input_form"]:
        ((kind, form),) = field.items()
        name = form["variable"]
        value = given.get(name)
        if value in (None, ""):
            if form.get("required"):
                raise ValueError(f"{name} is required in input form")
            value = form.get("default") or ""
        if kind == "select" and value and value not in form.get("options", []):
            raise ValueError(f"{name} in input form must be one of the following: {form.get('options', [])}")
        if form.get("max_length") and len(str(value)) > form["max_length"]:
            raise ValueError(f"{name} in input form must be less than {form['max_length']} characters")
        kept[name] = value
    return kept
