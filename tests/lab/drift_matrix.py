"""The drift matrix: every managed attribute, each changed behind difyfleet's back. test_drift_matrix.py carries it out.

A round is a set of edits that do not hide one another: all are made in this order, one plan must name each with a line of its own, one
apply mends them, and one plan is clean.
"""

from __future__ import annotations

from tests.lab.drift.containers import CONTAINERS
from tests.lab.drift.docker import DOCKER, IMAGES
from tests.lab.drift.files import OF_DIFY, OF_OLLAMA, OF_WEBUI, OF_WEBUI_SETTINGS
from tests.lab.drift.inside import ASSISTANTS, DIFY, KNOWLEDGE, MODELS
from tests.lab.drift.row import Row

# What is inside services first, while they run; Docker itself last.
ROWS: tuple[Row, ...] = (
    *ASSISTANTS,
    *KNOWLEDGE,
    *DIFY,
    *OF_WEBUI_SETTINGS,
    *MODELS,
    *OF_OLLAMA,
    *OF_WEBUI,
    *OF_DIFY,
    *IMAGES,
    *CONTAINERS,
    *DOCKER,
)
ROUNDS = tuple(sorted({row.round for row in ROWS}))

# Made by the edits, and left by difyfleet where it found them: it removes nothing that is not its own.
LEFT_BEHIND = (
    "rm -rf /etc/systemd/system/docker.socket /etc/systemd/system/docker.service.d; systemctl daemon-reload;"
    " docker ps -aq --filter name=-replaced- | xargs -r docker rm -f; rmdir /opt/dify/nginx/ssl"
)

# Named, and on purpose not mended: the plan of the host stops with what to do. Attribute -> the test that shows it.
REFUSED = {
    "database password of the inventory, other than the data was made with": "test_another_database_password_is_refused_once_there_is_data",
    "a generated secret that is lost while its data lives": "test_a_lost_secret_with_living_data_is_an_error",
    "technique or embedding model of a knowledge base with documents": "test_another_technique_under_documents_is_refused",
    "docker network difyfleet: of another kind": "test_a_network_of_another_kind_is_refused",
    "data_root under existing containers": "test_data_root_does_not_move_under_containers",
    "Dify admin's password lost, or refused": "test_a_wrong_password_is_one_attempt_and_reset_password_mends_it",
    "a folder where a file must be, and the reverse": "test_a_directory_in_the_files_place_is_an_error_not_a_loss",
    "two apps or knowledge bases of one name": "test_two_of_one_name_are_an_error_that_lists_both",
}

# Managed, but not on this host. Attribute -> the test that shows it on given facts.
ELSEWHERE = {
    "packages of method rpm: versions and files": "test_missing_other_and_damaged",
    "repository file and key of method rpm": "test_the_repository_and_its_key",
    "packages of other container engines": "test_other_engines_packages",
    "TLS certificate and key: content, mode": "test_an_opened_key_is_closed_without_a_swap",
    "model of another digest than declared": "test_another_digest_is_pulled_then_named_and_nothing_is_removed",
    "admin password of Open WebUI given by the inventory": "test_another_password_in_the_inventory_is_given_to_the_account",
    "a document still being indexed": "test_an_edit_is_found_and_mended",
}

# Not managed. Attribute -> why not.
UNMANAGED = {
    "drop-ins in docker.service.d": "kept on purpose: proxies go there. One that systemd has not read is found",
    "mode and owner of difyfleet's records (engine.json, images.json ...)": "they decide nothing but what difyfleet looks at; losing one costs a look",
    "a recorded answer of a mirror": "it stands until --reprobe-mirrors, so that a mirror that flaps does not make every plan dirty",
    "value of a generated secret": "the kept file is the only place that says what it is; what is made of it (.env, containers) is compared",
    "labels and options of the network difyfleet": "nothing reads the label; a network of another kind is refused",
    "removed resource limits of a container": "a limit that Docker dropped for want of a cgroup looks the same; one more than declared is found",
    "content of data folders": "data",
    "Open WebUI's accounts beside the admin, and its other settings": "the page's users' own",
    "name and password of Open WebUI's admin, once claimed": "its owner may change them; a password that does not open is an error with a way out",
    "name of Dify's admin and of the workspace": "an account that exists is never changed",
    "models in Dify or Ollama that nobody declared": "left alone; verify lists them, remove_undeclared_models removes Ollama's",
    "documents that nobody declared": "left alone; verify lists them, remove_undeclared_documents removes them",
    "text of single segments": "Dify has no hash of them; edited segments are lost with the next change of their document",
    "title, language and texts of an assistant's web page": "not in the inventory",
    "input form, tools, moderation and speech of an assistant": "not in the inventory; they survive every apply",
    "mode of an assistant's model (chat, completion)": "Dify sets it to the model's own whenever it stores the configuration",
    "further API keys of an assistant": "others may have been given them",
    "difyfleet's memory of ids (dify-state.json)": "everything is found again by name and hash; the plan stays empty",
}
