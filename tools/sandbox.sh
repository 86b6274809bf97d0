#!/bin/sh
# Run a command that can reach little: SCRATCH=folder READ="folders, one a line" SANDBOX=full sandbox.sh COMMAND…
#
# full (Linux): a file system in which only READ and the system's programs exist, read-only, and SCRATCH, to write in;
# no network; processes of its own, which all die with it; and no right to change any of this.
# none (elsewhere): it works in SCRATCH, and that is all.
set -eu

case $SANDBOX in
none)
    cd "$SCRATCH"
    exec "$@" ;;
full)
    SANDBOX=inside exec unshare --user --map-root-user --mount --net --pid --fork --kill-child sh "$0" "$@" ;;
inside)
    root=$SCRATCH/.root
    mkdir -p "$root"
    mount -t tmpfs -o size=256m tmpfs "$root"
    IFS='
'
    for path in /bin /sbin /lib /lib64 /usr /etc /sys/devices/system/cpu $READ; do
        if [ -L "$path" ]; then
            cp -P "$path" "$root$path"
        elif [ -d "$path" ]; then
            mkdir -p "$root$path"
            mount --bind "$path" "$root$path"
            mount -o remount,bind,ro "$root$path"
        fi
    done
    mkdir -p "$root/tmp" "$root/dev/shm" "$root/proc" "$root$SCRATCH"
    for device in null zero random urandom; do
        : > "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mount -t proc proc "$root/proc"
    mount --bind "$SCRATCH" "$root$SCRATCH"
    exec chroot "$root" setpriv --no-new-privs --bounding-set=-all --inh-caps=-all \
        prlimit --data=6000000000 --fsize=200000000 --nproc=300 --core=0 \
        sh -c 'cd "$SCRATCH" && exec "$@"' sh "$@" ;;
esac
