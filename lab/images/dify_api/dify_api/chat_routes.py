"""Questions to apps: on the console with a configuration in the body, on the service API with the stored one."""

from __future__ import annotations

from typing import Any

from . import apps, db, generation, model_config, prompts
from .accounts import login_required
from .fields import Argument, array, body, boolean, choice, identifier, mapping, string
from .generation import Generation
from .http import ApiError, Request, Response, route
from .models import ProviderMissing
from .service_auth import app_key, end_user

_ARGUMENTS = {
    "inputs": Argument(mapping, required=True),
    "files": Argument(array),
    "response_mode": Argument(choice("blocking", "streaming")),
}
_CONVERSATION = {
    "query": Argument(string, required=True),
    "conversation_id": Argument(identifier),
    "auto_generate_name": Argument(boolean, default=True),
}


@route("POST", "/console/api/apps/<uuid:app>/chat-messages")
@login_required
def console_chat(request: Request) -> Any:
    """The body's configuration counts, not the stored one; citations are always on. Streams unless told otherwise."""
    app = apps.get(request, "chat", "agent-chat")
    given = body(request, **{**_ARGUMENTS, **_CONVERSATION, "model_config": Argument(mapping, required=True)})
    config = model_config.checked(app["mode"], given["model_config"], apps.models(request))
    config["retriever_resource"] = {"enabled": True}
    who = {"from_source": "console", "from_account_id": str(request.account["id"])}
    return _answer(
        request,
        app,
        config,
        {**given, "auto_generate_name": False},
        who,
        stream=given["response_mode"] != "blocking",
    )


@route("POST", "/v1/chat-messages")
@app_key(user="json")
def service_chat(request: Request) -> Any:
    app = request.account
    if app["mode"] not in ("chat", "agent-chat", "advanced-chat"):
        raise ApiError(400, "not_chat_app", "Please check if your app mode matches the right API route.")
    given = body(request, **_ARGUMENTS, **_CONVERSATION)
    return _service(request, given)


@route("POST", "/v1/completion-messages")
@app_key(user="json")
def service_completion(request: Request) -> Any:
    if request.account["mode"] != "completion":
        raise ApiError(400, "app_unavailable", "App unavailable, please check your app configurations.")
    given = body(request, **_ARGUMENTS, query=Argument(string, default=""))
    return _service(request, {**given, "auto_generate_name": False, "conversation_id": None})


def _service(request: Request, given: dict[str, Any]) -> Any:
    app = request.account
    row = apps.config_row(request.app.database, app)
    if row is None:
        raise ApiError(400, "app_unavailable", "App unavailable, please check your app configurations.")
    who = {"from_source": "api", "from_end_user_id": end_user(request, request.json()["user"])}
    return _answer(request, app, row["configs"], given, who, stream=given["response_mode"] == "streaming")


def _answer(
    request: Request,
    app: db.Row,
    config: dict[str, Any],
    given: dict[str, Any],
    who: dict[str, str],
    stream: bool,
) -> Any:
    """Check what can be checked before the answer begins, and then begin.

    :raises ApiError: 400 and 404.
    :raises redis.RedisError: Redis counts the requests that run, so nothing is answered without it.
    """
    if app["mode"] == "agent-chat" and not stream:
        raise ValueError("Agent Chat App does not support blocking mode")
    if app["mode"] != "completion" and not given["query"]:
        raise ValueError("query is required")
    request.app.redis.incr(f"stand-in:requests:{app['id']}")
    models = apps.models(request)
    conversation = _conversation(request, app, given["conversation_id"], who)
    inputs = conversation["inputs"] if conversation else prompts.inputs(config, given["inputs"])
    if config["model"]["provider"] != "ollama" or models.credentials(config["model"]["name"], "llm") is None:
        raise ProviderMissing(config["model"]["name"])
    model = models.client(config["model"]["name"], "llm", prompts.parameters(config, models))
    new = conversation is None
    conversation = conversation or _new_conversation(request, app, config, inputs, who)
    made = Generation(
        app=request.app,
        row=app,
        tenant=request.tenant,
        config=config,
        inputs=inputs,
        query=given["query"] or "",
        model=model,
        source="dev" if who["from_source"] == "console" else "api",
        conversation=conversation,
        message_id="",
        history=generation.history(request.app.database, str(conversation["id"])),
        title=new and given["auto_generate_name"] and app["mode"] != "completion",
    )
    made.message_id = _new_message(request, app, conversation, made, who)
    return Response(None, stream=made.streaming()) if stream else made.blocking()


def _conversation(request: Request, app: db.Row, wanted: str | None, who: dict[str, str]) -> db.Row | None:
    """:raises ApiError: 404 if it is not there or belongs to another user."""
    if not wanted:
        return None
    column = "from_end_user_id" if "from_end_user_id" in who else "from_account_id"
    row = request.app.database.one(
        f"SELECT * FROM conversations WHERE id = %s AND app_id = %s AND {column} = %s AND NOT is_deleted",  # noqa: S608
        wanted, str(app["id"]), who[column],
    )  # fmt: skip
    if row is None:
        raise not_there()
    return dict(row)


def not_there() -> ApiError:
    """404 of a conversation."""
    return ApiError(404, "not_found", "Conversation Not Exists.")


def _new_conversation(
    request: Request, app: db.Row, config: dict[str, Any], inputs: dict[str, Any], who: dict[str, str]
) -> db.Row:
    row = request.app.database.one(
        "INSERT INTO conversations (app_id, mode, name, inputs, introduction, from_source, from_end_user_id, from_account_id)"
        " VALUES (%s, %s, 'New conversation', %s, %s, %s, %s, %s) RETURNING *",
        str(app["id"]), app["mode"], db.as_json(inputs), prompts.filled(config["opening_statement"] or "", inputs),
        who["from_source"], who.get("from_end_user_id"), who.get("from_account_id"),
    )  # fmt: skip
    assert row is not None
    return dict(row)


def _new_message(
    request: Request, app: db.Row, conversation: db.Row, made: Generation, who: dict[str, str]
) -> str:
    row = request.app.database.one(
        "INSERT INTO messages (app_id, conversation_id, inputs, query, from_source, from_end_user_id, from_account_id)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
        str(app["id"]), str(conversation["id"]), db.as_json(made.inputs), made.query, who["from_source"],
        who.get("from_end_user_id"), who.get("from_account_id"),
    )  # fmt: skip
    assert row is not None
    return str(row["id"])
