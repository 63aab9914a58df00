# Sees to it that a throwaway Postgres leaves nothing behind, however its owner ends. $1 is the server's directory.
trap '' HUP INT QUIT TERM

# Returns when the owner closes the pipe, which the kernel does for an owner that is killed.
read -r _

# initdb and the postmaster are in this process group; SIGQUIT is Postgres's immediate shutdown.
kill -QUIT 0

postmaster() { head -n 1 "$1/data/postmaster.pid" 2>/dev/null; }
running() { pid=$(postmaster "$1") && [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; }

# Postgres itself gives its backends 5 s before it kills them: twice that.
left=200
while running "$1" && [ "$left" -gt 0 ]; do
    left=$((left - 1))
    sleep 0.05
done
running "$1" && kill -KILL "$(postmaster "$1")"

# Backends that outlive a crashed postmaster for a moment may still write.
rm -rf "$1" 2>/dev/null || { sleep 1; rm -rf "$1"; }
