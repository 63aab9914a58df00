# shellcheck shell=sh
# Installs packages of the distribution, for the scripts beside this directory. All messages go to stderr.

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}

# Whether packages can be installed here; says why not otherwise.
can_install() {
    if ! command -v apt-get >/dev/null 2>&1; then
        say "This is no Debian or Ubuntu (there is no apt-get), so that nothing can be installed automatically."
        return 1
    fi
    if [ "$(id -u)" -eq 0 ]; then
        return 0
    fi
    if ! command -v sudo >/dev/null 2>&1; then
        say "Installing a package needs root or sudo; this is neither root, nor is there sudo."
        return 1
    fi
    # Without a terminal sudo could only wait for a password that nobody types.
    if ! sudo -n true 2>/dev/null && ! [ -t 0 ]; then
        say "Installing a package needs root; sudo wants a password here, and there is no terminal to type it at."
        return 1
    fi
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# A machine that has just booted may still be updating itself: wait for dpkg's lock rather than fail.
apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >&2
}

# The lists' own lock is not waited for by apt-get, hence the attempts. Old lists may do too, so that failing is no end yet.
update_package_lists() {
    for pause in 5 10 20 40 0; do
        if apt update; then
            return 0
        fi
        say "The package lists could not be updated."
        sleep "$pause"
    done
    say "Going on with the package lists that are there."
}

install_packages() {
    apt install --no-install-recommends "$@"
}

# Debian's packages start their services, which nobody asked for. They are told not to while this runs, unless whoever runs the
# machine has a policy already, which is left as it is.
without_services() {
    policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
        "$@"
        return
    fi
    trap 'as_root rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
    status=0
    "$@" || status=$?
    as_root rm -f "$policy"
    trap - EXIT HUP INT TERM
    return "$status"
}
