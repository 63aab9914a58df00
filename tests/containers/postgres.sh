#!/bin/sh
# As the official images' entry point: POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB say what is made at the first start, and
# /docker-entrypoint-initdb.d/*.sql is run then.
set -eu

data=/var/lib/postgresql/data
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
# psql is the distribution's, the server's programs are not.
psql=/usr/bin/psql

as_postgres() {
    setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"
}

first_start() {
    printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
    chown postgres /tmp/password
    as_postgres initdb --pgdata "$data" --username "$user" --pwfile /tmp/password --encoding UTF8 --locale C.UTF-8 \
        --auth-local trust --auth-host scram-sha-256 >/dev/null
    rm /tmp/password
    printf 'host all,replication all all scram-sha-256\n' >>"$data/pg_hba.conf"
    # Nobody from outside before everything is made.
    as_postgres pg_ctl --pgdata "$data" --wait --options "-c listen_addresses='' -c unix_socket_directories=/tmp" start >/dev/null
    [ "$database" = postgres ] || "$psql" -q -h /tmp -U "$user" -d postgres -c "CREATE DATABASE \"$database\""
    for script in /docker-entrypoint-initdb.d/*.sql; do
        [ ! -e "$script" ] || "$psql" -q -v ON_ERROR_STOP=1 -h /tmp -U "$user" -d "$database" -f "$script"
    done
    as_postgres pg_ctl --pgdata "$data" --wait --mode fast stop >/dev/null
}

[ "${1:-}" != postgres ] || shift
if [ ! -s "$data/PG_VERSION" ]; then
    install -d -o postgres -g postgres -m 700 "$data"
    first_start
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups -- \
    postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp "$@"
