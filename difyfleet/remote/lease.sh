# The host's side of a lease: remote/lease.py runs it as root through bash, with its arguments set in front of it.
#
#   take FOLDER SECONDS PATIENCE
#                            reads the holder's facts (the inside of a JSON object) from standard input, waits at most PATIENCE
#                            seconds for a command that an earlier run left behind, holds the lease while a line arrives at
#                            least every SECONDS, and answers each line
#   show FOLDER              who holds it
#   release FOLDER RUN       ends the holder, if it is still that run
#
# What holds the lease is the kernel's lock on lease.lock: it is free the moment this process is gone, however it went. lease.json only
# tells people who it is; without the lock it means nothing. Only builtins keep the locked file open for long. Each changing command
# of a run holds work.lock, shared, and outlives its run: see at_work() in lease.py.
set -u
umask 077
verb=$1 folder=$2 lock=$2/lease.lock note=$2/lease.json
trap '' PIPE # a controller that is gone is met at the next read

command -v flock >/dev/null || { echo "lease needs flock"; exit; }

stamp() { # seconds since 1970 -> UTC
  TZ=UTC0 printf '%(%Y-%m-%dT%H:%M:%SZ)T' "$1"
}

take() {
  local silence=$1 patience=$2 facts beat now since heard
  IFS= read -r -t "$silence" facts || exit 1
  mkdir -p -m 0755 "$folder" && exec 9>>"$lock" || exit 1
  # half a second, so that somebody's `show` (which locks for an instant) does not look like a holder
  flock -w 0.5 9 || { echo "lease busy $(cat "$note" 2>/dev/null)"; exit; }
  exec 8>>"$folder/work.lock" || exit 1
  flock -w "$patience" 8 || { echo "lease busy $(left_behind)"; exit; }
  exec 8>&-
  printf -v now '%(%s)T' -1
  since=$(stamp "$now")
  write() { # whole or not at all
    printf -v now '%(%s)T' -1
    printf '{%s,"since":"%s","until":"%s","pid":%d}\n' "$facts" "$since" "$(stamp $((now + ${silence%.*})))" $$ >"$note.new" &&
      mv -f "$note.new" "$note" 9>&-
  }
  trap 'echo "lease ended: it was released by hand"; exit' TERM
  trap 'exit' HUP INT
  trap 'rm -f "$note"' EXIT
  write || exit 1
  echo "lease taken"
  while true; do
    IFS= read -r -t "$silence" beat
    heard=$?
    [ $heard -eq 0 ] || break
    write
    echo "lease kept $beat"
  done
  [ $heard -le 128 ] || echo "lease ended: nothing was heard for $silence s"
}

left_behind() { # the command that holds work.lock, as a holder; of several processes the last, which is rather the program than its shell
  local file pid=0 name=ended
  for file in /proc/[0-9]*/fd/8; do
    [[ $file == /proc/$$/* || $file == /proc/$BASHPID/* || ! $file -ef $folder/work.lock ]] && continue
    pid=${file#/proc/} pid=${pid%%/*}
    read -r name 2>/dev/null <"/proc/$pid/comm"
  done
  printf '{"owner":"a command that an earlier run left behind","run":"none","reason":"%s, pid %d"}' "${name//[^a-zA-Z0-9._-]/}" "$pid"
}

show() {
  if [ -e "$lock" ] && exec 9<"$lock" && ! flock -n -s 9; then
    echo "lease busy $(cat "$note" 2>/dev/null)"
  else
    echo "lease free"
  fi
}

release() {
  local run=$1 text pid
  [ -e "$lock" ] || { echo "lease free"; exit; }
  exec 9>>"$lock" || exit 1
  if ! flock -n 9; then
    text=$(cat "$note" 2>/dev/null)
    pid=${text##*\"pid\":} pid=${pid%%\}*}
    # the number may be somebody else's by now: only a process that has the locked file open is the holder
    if [[ $text != *"\"run\":\"$run\""* || ! $pid =~ ^[0-9]+$ || ! $lock -ef /proc/$pid/fd/9 ]]; then
      echo "lease busy $text"
      exit
    fi
    kill -TERM "$pid"
    flock -w 3 9 || { kill -KILL "$pid"; flock -w 3 9; } || { echo "lease stuck"; exit; }
  fi
  rm -f "$note"
  echo "lease free"
}

shift 2
"$verb" "$@"
