# Runs the daemon, "$@", for as long as the pipe on standard input is open: a demo that is killed leaves none behind.
exec 3<&0
"$@" 3<&- </dev/null &
daemon=$!
{ read -r _ <&3; kill -TERM "$daemon"; } 2>/dev/null &
wait "$daemon"
