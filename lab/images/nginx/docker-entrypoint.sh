#!/bin/sh
# Like the official image: scripts of /docker-entrypoint.d run first, and templates are expanded with the environment.
set -e
if [ "$1" = nginx ] || [ "$1" = nginx-debug ]; then
    for script in /docker-entrypoint.d/*.sh; do
        if [ -x "$script" ]; then "$script"; fi
    done
    if [ -d /etc/nginx/templates ]; then
        defined=$(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/${\1}/p' | tr '\n' ' ')
        for template in /etc/nginx/templates/*.template; do
            [ -e "$template" ] || continue
            envsubst "$defined" < "$template" > "/etc/nginx/conf.d/$(basename "$template" .template)"
        done
    fi
fi
exec "$@"
