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
    images,  # every image, pulled by the host itself through its mirrors
    ollama,  # the model server; its models begin to come
    openwebui,  # a chat page on top of Ollama, its admin claimed before others can
    dify,  # nine containers behind one nginx
    ollama.models_proved,  # the models are waited for, hashed and asked
    dify_admin,  # its first account, before anybody else makes it
    dify_models,  # Ollama's models in it, tried from inside its containers
    knowledge,  # documents, segmented and indexed
    assistants,  # apps that answer from them, and the questions that prove it
)
