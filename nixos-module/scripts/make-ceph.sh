#!/bin/sh
# Makes the keys of a Ceph on the hosts, once, away from them: DIR/HOST holds what belongs into `skyflake.secrets` of that host.
# Called again, with hosts or OSDs more, it keeps the keys that are there and makes the others.
# usage: make-ceph DIR --mons "n1 n2 n3" [--hosts "n1 n2 n3 n4"] --osds "n1:0 n2:1 ..." [--pools "skyflake"] [--fs skyflake]
set -eu
umask 077
usage() {
    sed -n 's/^# usage: /usage: /p' "$0" >&2
    exit 64
}
[ $# -ge 1 ] || usage
DIR=$1 MONS='' HOSTS='' OSDS='' POOLS=skyflake FS=skyflake
shift
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --mons) MONS=$2 ;;
    --hosts) HOSTS=$2 ;;
    --osds) OSDS=$2 ;;
    --pools) POOLS=$2 ;;
    --fs) FS=$2 ;;
    *) usage ;;
    esac
    shift 2
done
HOSTS=${HOSTS:-$MONS}
if [ -z "$MONS" ] || [ -z "$OSDS" ]; then usage; fi

mkdir -p "$DIR"
all=$DIR/ceph.keyring
[ -e "$all" ] || ceph-authtool -C "$all" > /dev/null

entity() { # NAME SERVICE CAPS...: a key, if there is none, and what it may
    name=$1
    shift
    ceph-authtool "$all" -n "$name" -p > /dev/null 2>&1 || ceph-authtool "$all" -n "$name" --gen-key
    while [ $# -gt 0 ]; do
        set -- "$@" --cap "$1" "$2"
        shift 2
        [ "$1" != --cap ] || break
    done
    ceph-authtool "$all" -n "$name" "$@"
}
only() { # NAME FILE: that one key, with its name
    key=$(ceph-authtool "$all" -n "$1" -p)
    printf '[%s]\n\tkey = %s\n' "$1" "$key" > "$2.new"
    mv "$2.new" "$2"
}

entity mon. mon 'allow *'
entity client.admin mon 'allow *' osd 'allow *' mds 'allow *' mgr 'allow *'
for host in $HOSTS; do
    entity "mgr.$host" mon 'allow profile mgr' osd 'allow *' mds 'allow *'
    entity "mds.$host" mon 'allow profile mds' osd 'allow rwx' mds 'allow' mgr 'allow profile mds'
done
for osd in $OSDS; do
    entity "osd.${osd#*:}" mon 'allow profile osd' mgr 'allow profile osd' osd 'allow *'
done
pools=''
for pool in $POOLS; do pools="${pools:+$pools, }profile rbd pool=$pool"; done
entity client.skyflake mon 'profile rbd' osd "$pools"
entity client.skyflake-fs mon "allow r fsname=$FS" mds "allow rw fsname=$FS" osd "allow rw tag cephfs data=$FS"

for host in $HOSTS; do
    out=$DIR/$host
    mkdir -p "$out"
    only client.skyflake "$out/ceph.client.skyflake.keyring"
    ceph-authtool "$all" -n client.skyflake-fs -p > "$out/ceph.client.skyflake-fs.secret"
    only "mgr.$host" "$out/ceph.mgr.$host.keyring"
    only "mds.$host" "$out/ceph.mds.$host.keyring"
    for osd in $OSDS; do
        [ "${osd%%:*}" != "$host" ] || {
            only "osd.${osd#*:}" "$out/ceph.osd.${osd#*:}.keyring"
            only client.admin "$out/ceph.client.admin.keyring"
        }
    done
    case " $MONS " in
    *" $host "*)
        cp "$all" "$out/ceph.keyring"
        only client.admin "$out/ceph.client.admin.keyring"
        ;;
    esac
done
echo "keys are in $DIR: bring each host its own as the content of skyflake.secrets, and keep ceph.keyring where no host is" >&2
