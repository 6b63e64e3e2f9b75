# Runs ON THE HOST. Standard input, one base64 line each: the new daemon.json, a configuration for a trial start (empty = none),
# our record, the mirror record (empty = unchanged), a restart reason (empty = none), "by hand" where the old file is not ours.
umask 022
f=/etc/docker/daemon.json; t=$f.difyfleet-new; d=/run/difyfleet; trial_root=@TRIAL@
read -r new; read -r trial; read -r record; read -r mirrors; read -r reason; read -r hand
mkdir -p -m 0755 $d
printf %s "$new" | base64 -d >"$t" || exit 1
refuse() { rm -f "$t"; printf '%s\n' "$1" >&2; exit 1; }

# It answers on standard error, also when all is well.
said=$(dockerd --validate --config-file="$t" 2>&1) || refuse "$said"

# --validate does not look at drivers and their options, so a restart is tried first, beside the running daemon.
if [ -n "$trial" ]; then
  w=$d/trial; rm -rf "$w"; mkdir -p -m 0700 "$w" "$trial_root"
  printf %s "$trial" | base64 -d >"$w/daemon.json"
  dockerd --config-file="$w/daemon.json" >"$w/log" 2>&1 &
  pid=$!; up=; n=0
  while [ $n -lt 150 ] && kill -0 $pid 2>/dev/null; do
    # the socket exists early but answers only once the daemon has come up
    if [ -S "$w/docker.sock" ] && timeout 20 docker -H "unix://$w/docker.sock" version >/dev/null 2>&1; then up=1; break; fi
    sleep 0.2; n=$((n + 1))
  done
  kill $pid 2>/dev/null; wait $pid 2>/dev/null
  said=$(grep -E 'failed to start|level=(error|fatal)|unable to configure|^Error' "$w/log" | tail -n 3)
  [ -n "$said" ] || said=$(tail -n 3 "$w/log")
  grep " $trial_root" /proc/self/mounts | cut -d' ' -f2 | while read -r m; do umount -l "$m" 2>/dev/null; done
  rm -rf --one-file-system "$w" "$trial_root"
  [ -n "$up" ] || refuse "$said"
fi

if [ -n "$hand" ] && [ -e $f ]; then
  cp -p $f "$f.difyfleet-backup-$(date -u +%Y%m%dT%H%M%SZ)" || exit 1
  ls -t $f.difyfleet-backup-* | tail -n +11 | while read -r o; do rm -f "$o"; done
fi
put() { printf %s "$2" | base64 -d >"$1.difyfleet-new" && mv -fT "$1.difyfleet-new" "$1"; }
# the mirror record and the restart reason first: what is cut short after them is only done again
if [ -n "$mirrors" ]; then put @MIRRORS@ "$mirrors" || exit 1; fi
if [ -n "$reason" ]; then printf %s "$reason" | base64 -d >>$d/docker.restart && echo >>$d/docker.restart || exit 1; fi
[ ! -e $f ] || cp -p $f $f.difyfleet-previous || exit 1
chown root:root "$t" && chmod 0644 "$t" && mv -fT "$t" $f && put /etc/difyfleet/daemon.json "$record"
