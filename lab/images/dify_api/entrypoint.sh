#!/bin/bash
# As in the real image: the migration runs first, in api and in worker, and its failure on the database is only logged.
set -e
if [[ "${MIGRATION_ENABLED}" == "true" ]]; then
    echo "Running migrations"
    flask upgrade-db
fi
if [[ "${MODE}" == "worker" ]]; then
    # LOG_LEVEL has no default here, so an empty one breaks the command line, as it does in the real image.
    exec celery -A app.celery worker -P gevent -c "${CELERY_WORKER_AMOUNT:-1}" --loglevel ${LOG_LEVEL} -Q dataset,mail,ops_trace,app_deletion
else
    exec python3 -m dify_api.server
fi
