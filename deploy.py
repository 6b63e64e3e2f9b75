"""The whole stack, in order. `difyfleet apply INVENTORY` runs it; so does `pyinfra inventory/lab.py deploy.py`."""

from difyfleet.stack import run
from roles import dify, docker, images, ollama, openwebui, preflight

run(
    preflight,  # is this host fit? Everything below is only tried when it is
    docker,  # engine, compose, daemon.json, registry mirrors
    images,  # every image, pulled by the host itself through its mirrors
    ollama,  # the model server and its models
    openwebui,  # a chat page on top of Ollama, its admin claimed before others can
    dify,  # nine containers behind one nginx
)
