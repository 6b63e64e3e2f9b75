"""A stand-in for Open WebUI 0.4.7, for difyfleet's lab: its accounts, settings and Ollama connection, without its interface.

Shapes and rules follow the published source of that version: the first account becomes the admin, later ones get
DEFAULT_USER_ROLE, ENABLE_SIGNUP=false refuses the first one too, and a setting saved through the API outlives the environment.
"""

VERSION = "0.4.7"
