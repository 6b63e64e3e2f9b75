# Noise on interactive logins, as on openEuler.
printf '\n\nWelcome to %s\n\nSystem information as of time: \t%s\n\n' "$(uname -r)" "$(date)"
printf 'System load: \t%s\nMemory used: \t%s\nUsers online: \t%s\n\n' "$(cut -d' ' -f1 /proc/loadavg)" \
    "$(free | awk '/Mem/ {printf "%.1f%%", $3 / $2 * 100}')" "$(who | wc -l)"
