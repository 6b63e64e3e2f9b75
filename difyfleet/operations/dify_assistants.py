"""Chat assistants in Dify: app, configuration, web page, API key."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from pyinfra import host, state

from difyfleet.clients.dify import Dify, Icon, ModelConfig, Settings
from difyfleet.content import assistants, console, knowledge
from difyfleet.content import state as remembered
from difyfleet.content.state import DifyState, KnownAssistant
from difyfleet.errors import HostError
from difyfleet.facts.secrets import SECRETS_DIR, HostSecrets
from difyfleet.operations.base import Change, call, declaring, operation
from difyfleet.operations.dify_admin import known_after_apply
from difyfleet.operations.files import put_command
from difyfleet.spec.content import shown_name
from difyfleet.spec.models import HostSpec


def dataset_ids(spec: HostSpec, key: str, dify: Dify, kept: DifyState) -> dict[str, str]:
    """Ids of an assistant's knowledge bases by key; those that are not there are left out."""
    found = {}
    for name in spec.assistants[key].knowledge:
        dataset = knowledge.find(dify, kept.knowledge.get(name), shown_name(name, spec.knowledge[name]))
        if dataset is not None:
            found[name] = dataset.id
    return found


def _app(spec: HostSpec, key: str) -> tuple[Any, ...]:
    """What the inventory says of an app; its knowledge bases stand there by key, not by id."""
    section = spec.assistants[key]
    return (
        shown_name(key, section),
        section.description,
        section.icon,
        section.icon_background,
        section.site,
        section.api_key,
        assistants.settings_of(spec, key, {name: name for name in section.knowledge}),
    )


@operation
@declaring(_app)
def assistant(spec: HostSpec, key: str) -> Generator[Any, None, None]:
    """One app as declared: name, icon, whole configuration, web page and service API.

    Raises:
        HostError: two apps of its name; a knowledge base is not there.
    """
    section = spec.assistants[key]
    name = shown_name(key, section)
    dify = console.reader(host, spec, executing=state.is_executing)
    if dify is None:
        yield from known_after_apply(f"assistant {name}")
        return
    app = assistants.find(dify, remembered.load(host).assistants.get(key), name)
    made = app is None
    if app is None:
        yield Change(f"assistant {name}: absent")
        yield call(make, spec, key)
        app = assistants.find(dify, remembered.load(host).assistants.get(key), name)
        assert app is not None  # made just now
    datasets = dataset_ids(spec, key, dify, remembered.load(host))
    missing = [each for each in section.knowledge if each not in datasets]
    if missing:
        if state.is_executing:
            raise HostError(
                f"its knowledge bases are not there: {', '.join(missing)}",
                where=f"assistant {name}",
                hint="difyfleet apply --role knowledge",
            )
        yield from known_after_apply(
            f"assistant {name}: configuration, since {', '.join(missing)} is not there yet;"
        )
        return
    wanted = assistants.settings_of(spec, key, datasets)
    names = (
        {dataset.id: dataset.name for dataset in dify.datasets.all()}
        if section.knowledge or _attached(app.config)
        else {}
    )
    drift = assistants.drift(app, key, spec, wanted, names)
    if not made:  # of a new one the defaults that it was born with are no news
        yield from drift.changes
    if drift.about:
        yield call(set_about, spec, key, app.id)
    if drift.config:
        yield call(set_config, spec, app.id, wanted)
    if drift.site:
        yield call(set_site, spec, app.id, bool(section.site))
    if drift.api:
        yield call(set_api, spec, app.id, bool(section.api_key))


def _attached(config: ModelConfig | None) -> bool:
    return config is not None and bool(config.datasets)


def make(on: Any, spec: HostSpec, key: str) -> None:
    """Make the app, or find that a cut run has made it, and remember its id."""
    section = spec.assistants[key]
    dify = console.signed_in(on, spec)
    name = shown_name(key, section)
    found = dify.apps.find(name, assistants.MODE)
    icon = assistants.icon_of(section)
    identity = found.id if found else dify.apps.create(name, assistants.MODE, section.description, icon)
    kept = remembered.load(on)
    kept.assistants[key] = KnownAssistant(identity)
    remembered.save(on, kept)


def set_about(on: Any, spec: HostSpec, key: str, app_id: str) -> None:
    """Name, description and icon."""
    section = spec.assistants[key]
    dify = console.signed_in(on, spec)
    icon = assistants.icon_of(section) or dify.apps.get(app_id).icon or Icon()
    dify.apps.update(app_id, shown_name(key, section), section.description, icon)


def set_config(on: Any, spec: HostSpec, app_id: str, wanted: Settings) -> None:
    """The configuration, whole: what is not managed goes back as the server has it now."""
    dify = console.signed_in(on, spec)
    now = dify.apps.get(app_id).config
    if now is None:
        raise HostError(
            "an app of this kind has no configuration to set",
            where=f"app {app_id}",
            hint="is it a chat assistant?",
        )
    dify.apps.set_config(app_id, now.change(wanted))


def set_site(on: Any, spec: HostSpec, app_id: str, wanted: bool) -> None:
    """Web page on or off."""
    console.signed_in(on, spec).apps.enable_site(app_id, wanted)


def set_api(on: Any, spec: HostSpec, app_id: str, wanted: bool) -> None:
    """Service API on or off."""
    console.signed_in(on, spec).apps.enable_api(app_id, wanted)


@operation
@declaring(lambda spec, key: (shown_name(key, spec.assistants[key]), spec.assistants[key].api_key))
def api_key(spec: HostSpec, key: str) -> Generator[Any, None, None]:
    """One API key of the app, and the same key in a root-only file on the host. A key that is there is used, never a second one made.

    Raises:
        TooManyKeys: ours was deleted, and ten others are there.
    """
    section = spec.assistants[key]
    name = shown_name(key, section)
    if not section.api_key:
        return
    dify = console.reader(host, spec, executing=state.is_executing)
    if dify is None:
        yield from known_after_apply(f"API key of assistant {name}")
        return
    app = assistants.find(dify, remembered.load(host).assistants.get(key), name)
    if app is None:  # in a plan; while executing it has been made
        yield Change(f"API key of assistant {name}: absent")
        yield call(_unmade, name)
        return
    known = remembered.load(host).assistants.get(key)
    known = known if known is not None and known.id == app.id else None
    file = host.get_fact(HostSecrets).get(assistants.key_file(key))
    ours = assistants.our_key(dify.keys.all(app.id), known, file.value if file else None)
    path = f"{SECRETS_DIR}/{assistants.key_file(key)}"
    if ours is None:
        was = "absent" if known is None or not known.key_id else "removed in Dify"
        yield Change(f"API key of assistant {name}: {was}")
        yield call(make_key, spec, key, app.id)
        known = remembered.load(host).assistants[key]
        ours = next(each for each in dify.keys.all(app.id) if each.id == known.key_id)
    if file is None:
        yield Change(f"{path}: absent")
    elif file.value != ours.token:
        yield Change(f"{path}: another key than the app's in Dify")
    elif (file.mode, file.owner) != ("0600", "root:root"):
        yield Change(f"{path}: mode {file.mode} {file.owner}, wanted 0600 root:root")
    else:
        return
    yield put_command(path, ours.token.reveal().encode(), mode="0600", owner="root", group="root")


def _unmade(on: Any, name: str) -> None:
    raise HostError(
        "the app is not there", where=f"assistant {name}", hint="difyfleet apply --role assistants"
    )


def make_key(on: Any, spec: HostSpec, key: str, app_id: str) -> None:
    """A new key, remembered."""
    made = console.signed_in(on, spec).keys.create(app_id)
    kept = remembered.load(on)
    kept.assistants[key] = KnownAssistant(app_id, made.id)
    remembered.save(on, kept)
