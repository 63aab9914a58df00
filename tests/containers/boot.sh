#!/bin/sh
# Gives systemd a tree of control groups that it may write, and becomes it.
set -eu

# As on a machine: a service's credentials are mounted beside it, and reach it by propagation.
mount --make-rshared /
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    # The engine has made one for this container.
    mount -o remount,rw /sys/fs/cgroup
    exec /lib/systemd/systemd
fi
# A machine with the first version's trees: a branch of the second version's, which is there too, of this container's own.
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
branch=/sys/fs/cgroup/webhookdb-test-$(hostname)
mkdir -p "$branch"
echo $$ >"$branch/cgroup.procs"
exec unshare --cgroup -- sh -c 'umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
    exec /lib/systemd/systemd'
