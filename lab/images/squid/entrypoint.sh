#!/bin/bash
# As ubuntu/squid: certificate if missing, logs to stdout, cache folders, then squid with the given arguments.
if [ ! -f /etc/ssl/private/ssl-cert-snakeoil.key ]; then
    /usr/sbin/make-ssl-cert generate-default-snakeoil --force-overwrite > /dev/null 2>&1
fi
for log in access error store cache; do
    tail -F "/var/log/squid/$log.log" 2> /dev/null &
done
/usr/sbin/squid -Nz
exec /usr/sbin/squid "$@"
