#!/bin/sh
# What a host's part of Ceph needs before its daemons start: each verb may be called again at any time, and after a crash.
# usage: ceph-host.sh mon MONMAP           NAME=ADDRESSES ..., as monmaptool takes them, in one word each
#        ceph-host.sh keyring mgr|mds      of this host
#        ceph-host.sh osd ID DEVICE
#        ceph-host.sh filesystem NAME      whether it can be mounted
#        ceph-host.sh cluster [class ID CLASS | pool NAME SIZE MIN_SIZE CLASS|- APPLICATION | fs NAME META DATA]...
# FSID, HOST; SECRETS: what make-ceph made for this host; STATE (/var/lib/ceph), OWNER (ceph:ceph), CEPH_CONF.
set -eu
STATE=${STATE:-/var/lib/ceph} OWNER=${OWNER:-ceph:ceph}
export CEPH_CONF="${CEPH_CONF:-/etc/ceph/ceph.conf}"

fail() {
    echo "skyflake-ceph: error: $1" >&2
    exit "${2:-78}"
}

ask() { ceph --connect-timeout "${ASK_S:-15}" --name client.admin --keyring "$SECRETS/ceph.client.admin.keyring" "$@"; }

# A store, made whole or not at all: of a cluster that is there, or of a new one, if the operator said that it is new.
mon() {
    dir=$STATE/mon/ceph-$HOST
    [ ! -e "$dir/keyring" ] || return 0
    mkdir -p "$STATE/mon"
    rm -rf "$dir.new"
    mkdir "$dir.new"
    map=$dir.new/monmap
    if ask mon getmap -o "$map" 2> /dev/null; then
        echo "skyflake-ceph: the monitors that are there take '$HOST' in"
    else
        [ -e "$STATE/new" ] ||
            fail "no monitor answers, and '$dir' is empty: a new cluster, or one that is lost? (if it is new: touch $STATE/new, on each monitor's host)"
        set -- --create --clobber --fsid "$FSID" "$@"
        monmap "$map" "$@"
    fi
    ceph-mon --mkfs -i "$HOST" --mon-data "$dir.new/store" --monmap "$map" --keyring "$SECRETS/ceph.keyring"
    chown -R "$OWNER" "$dir.new"
    [ ! -d "$dir" ] || rmdir "$dir" # a unit's StateDirectory
    sync -f "$dir.new"
    mv "$dir.new/store" "$dir"
    rm -rf "$dir.new" "$STATE/new"
}

monmap() { # FILE OPTION... NAME=ADDRESSES...
    file=$1
    shift
    for each; do
        shift
        case $each in
        *=*) set -- "$@" --addv "${each%%=*}" "${each#*=}" ;;
        *) set -- "$@" "$each" ;;
        esac
    done
    monmaptool "$@" "$file"
}

keyring() { # TYPE ID
    mkdir -p "$STATE/$1/ceph-$2"
    install -m 0600 "$SECRETS/ceph.$1.$2.keyring" "$STATE/$1/ceph-$2/keyring.new"
    chown -R "$OWNER" "$STATE/$1/ceph-$2"
    mv "$STATE/$1/ceph-$2/keyring.new" "$STATE/$1/ceph-$2/keyring"
}

label() { # DEVICE KEY
    ceph-bluestore-tool show-label --dev "$1" 2> /dev/null | jq -r --arg key "$2" '.[][$key] // empty'
}

# A device is taken when it is blank, or this OSD's already. Any other is somebody's data.
osd() { # ID DEVICE
    id=$1 device=$2 dir=$STATE/osd/ceph-$1
    [ -e "$device" ] || fail "osd.$id: '$device' is not there" 69
    of=$(label "$device" ceph_fsid)
    if [ -n "$of" ] && [ "$of:$(label "$device" whoami)" != "$FSID:$id" ]; then
        fail "osd.$id: '$device' is OSD $(label "$device" whoami) of cluster $of (wipe it, if nobody misses it)"
    fi
    mkdir -p "$dir"
    if [ "$(label "$device" mkfs_done)" != yes ]; then
        if [ -z "$of" ]; then
            [ -z "$(wipefs --no-act --parsable "$device")" ] ||
                fail "osd.$id: '$device' is not blank (wipefs -a, if nobody misses what is on it)"
        fi
        # Said once and kept, so that who was killed goes on with the same.
        [ -s "$dir.uuid" ] || { cat /proc/sys/kernel/random/uuid > "$dir.uuid.new" && mv "$dir.uuid.new" "$dir.uuid"; }
        uuid=$(cat "$dir.uuid")
        ask osd new "$uuid" "$id" > /dev/null ||
            fail "osd.$id: the monitors do not take it (is there another osd.$id? 'ceph osd purge $id' forgets a dead one)" 69
        rm -rf "$dir"
        mkdir "$dir"
        ln -s "$device" "$dir/block"
        ceph-osd -i "$id" --mkfs --osd-objectstore bluestore --osd-uuid "$uuid" --osd-data "$dir" --keyring "$SECRETS/ceph.osd.$id.keyring"
        rm -f "$dir.uuid"
    fi
    [ -e "$dir/block" ] || ceph-bluestore-tool prime-osd-dir --dev "$device" --path "$dir"
    ln -sfn "$device" "$dir/block"
    chown "$OWNER" "$(readlink -f "$device")"
    keyring osd "$id"
}

pool() { # NAME SIZE MIN_SIZE CLASS|- APPLICATION
    rule=replicated_rule
    if [ "$4" != - ]; then
        rule=skyflake-$4
        ask osd crush rule create-replicated "$rule" default host "$4" || fail "pool $1: no OSD is of class '$4' yet" 75
    fi
    ask osd pool create "$1" --pg-num-min 8 || ask osd pool get "$1" size > /dev/null
    ask osd pool set "$1" crush_rule "$rule"
    ask osd pool set "$1" size "$2"
    ask osd pool set "$1" min_size "$3"
    ask osd pool application enable "$1" "$5"
}

cluster() {
    ask auth import -i "$SECRETS/ceph.keyring"
    while [ $# -gt 0 ]; do
        case $1 in
        class)
            # An OSD that starts for the first time says what it takes its device for; one that is not there yet has its turn later.
            if ask osd find "$2" > /dev/null 2>&1 && [ "$(ask osd crush get-device-class "osd.$2")" != "$3" ]; then
                ask osd crush rm-device-class "osd.$2"
                ask osd crush set-device-class "$3" "osd.$2" || fail "osd.$2 is just starting" 75
            fi
            shift 3
            ;;
        pool)
            pool "$2" "$3" "$4" "$5" "$6"
            shift 6
            ;;
        fs)
            ask fs get "$2" > /dev/null 2>&1 || ask fs new "$2" "$3" "$4"
            shift 4
            ;;
        *) fail "cluster: what is '$1'?" 64 ;;
        esac
    done
}

filesystem() { # NAME
    ceph --connect-timeout "${ASK_S:-15}" --name client.skyflake-fs --keyfile "$SECRETS/ceph.client.skyflake-fs.secret" fs dump -f json |
        jq -e --arg name "$1" '[.filesystems[].mdsmap | select(.fs_name == $name) | .info[].state] | index("up:active")' > /dev/null ||
        fail "filesystem '$1' has no active metadata server yet" 75
}

verb=${1:-}
[ $# -eq 0 ] || shift
: "${FSID:?}" "${HOST:?}" "${SECRETS:?}"
case $verb in
keyring) keyring "$1" "$HOST" ;;
mon | osd | cluster | filesystem) "$verb" "$@" ;;
*)
    sed -n 's/^# usage: /usage: /p; s/^#        ceph/       ceph/p' "$0" >&2
    exit 64
    ;;
esac
