#!/usr/bin/env bash
# As in the real image: without WEBUI_SECRET_KEY a random one is kept beside the program, outside the data volume, so that a
# recreated container forgets every session.
cd /app/backend || exit 1
KEY_FILE=.webui_secret_key
if test "$WEBUI_SECRET_KEY $WEBUI_JWT_SECRET_KEY" = " "; then
    echo "Loading WEBUI_SECRET_KEY from file, not provided as an environment variable."
    if ! [ -e "$KEY_FILE" ]; then
        echo "Generating WEBUI_SECRET_KEY"
        (umask 077; head -c 12 /dev/random | base64 > "$KEY_FILE")
    fi
    echo "Loading WEBUI_SECRET_KEY from $KEY_FILE"
    WEBUI_SECRET_KEY=$(cat "$KEY_FILE")
    export WEBUI_SECRET_KEY
fi
exec python3 -m open_webui.main
