"""The whole stack, in order. `difyfleet apply INVENTORY` runs it; so does `pyinfra inventory/lab.py deploy.py`."""

from difyfleet.stack import run
from roles import (
    assistants,
    dify,
    dify_admin,
    dify_models,
    docker,
    images,
    knowledge,
    ollama,
    openwebui,
    preflight,
)

run(
    preflight,  # is this host fit? Everything below is only tried when it is
    docker,  # engine, compose, daemon.json, registry mirrors
    images,  # every image begins to come, pulled by the host itself through its mirrors
    ollama,  # the model server; its models begin to come
    dify,  # nine containers behind one nginx: their secrets and folders
    images.all_there,  # the other images are waited for
    openwebui,  # a chat page on top of Ollama, for this host only until its admin is claimed
    dify.begun,  # files, and the stores begin to start
    openwebui.claimed,  # its admin is ours before others can reach it
    dify.started,  # all nine containers are waited for
    openwebui.settled,
    ollama.models_proved,  # the models are waited for, hashed and asked
    dify_admin,  # its first account, before anybody else makes it
    dify_models,  # Ollama's models in it, tried from inside its containers
    knowledge,  # documents, segmented and indexed
    assistants,  # apps that answer from them, and the questions that prove it
)
