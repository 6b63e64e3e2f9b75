"""All modules that register routes; importing this one makes the server whole."""

from . import (
    account,
    app_routes,
    chat_routes,
    dataset_routes,
    default_models,
    document_routes,
    files,
    hit_testing,
    keys,
    providers,
    segments,
    service_app,
    service_datasets,
    setup,
)

ALL = (
    setup, account, providers, default_models, files, dataset_routes, document_routes, segments, hit_testing, app_routes, keys,
    chat_routes, service_app, service_datasets,
)  # fmt: skip
