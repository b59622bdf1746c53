#!/usr/bin/env bats
# The keys and units of Ceph on the hosts: the module's scripts with Ceph's own daemons, in one directory.
bats_require_minimum_version 1.5.0

port=${SKY_PORT:-17010}
addresses="[v2:127.0.0.1:$port,v1:127.0.0.1:$((port + 1))]"
scripts=$BATS_TEST_DIRNAME/../../nixos-module/scripts

setup_file() {
    export DIR=$BATS_FILE_TMPDIR FSID HOST=n1 OWNER=root:root ASK_S=10
    FSID=$(cat /proc/sys/kernel/random/uuid)
    export SECRETS=$DIR/keys/n1 STATE=$DIR/state CEPH_CONF=$DIR/ceph.conf
    mkdir -p "$STATE" "$DIR/run" "$DIR/log"
    cat >"$CEPH_CONF" <<EOF
[global]
fsid = $FSID
mon host = $addresses
public addr = 127.0.0.1
run dir = $DIR/run
admin socket = $DIR/run/\$name.asok
log file = $DIR/log/\$name.log
mon cluster log file = $DIR/log/cluster.log
mon data = $STATE/mon/ceph-\$id
osd data = $STATE/osd/ceph-\$id
mon data avail crit = 1
osd crush chooseleaf type = 0
bluestore block db create = false
EOF
}

teardown_file() {
    local each pid
    for each in "$DIR"/run/*.pid; do
        if [ -e "$each" ]; then
            pid=$(cat "$each")
            [[ $(readlink "/proc/$pid/exe") != */ceph-* ]] || kill -KILL "$pid"
        fi
    done
}

host() { sh "$scripts/ceph-host.sh" "$@"; }
ask() { ceph --connect-timeout 20 --name client.admin --keyring "$SECRETS/ceph.client.admin.keyring" "$@"; }
daemon() { # TYPE ID
    setsid "ceph-$1" -f -i "$2" >"$DIR/log/$1.$2.out" 2>&1 </dev/null 3>&- &
    echo $! >"$DIR/run/$1.$2.pid"
}
soon() {
    local n
    for ((n = 0; n < 300 * ${SKY_PATIENCE:-1}; n++)); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    "$@"
}

@test "nixos: make-ceph gives each host its keys and no other's, and keeps those that are there" {
    cd "$DIR" || return
    sh "$scripts/make-ceph.sh" keys --mons n1 --hosts "n1 n2" --osds "n1:0 n2:1" --pools "skyflake fast"
    cp keys/ceph.keyring before
    sh "$scripts/make-ceph.sh" keys --mons n1 --hosts "n1 n2" --osds "n1:0 n2:1 n2:2" --pools "skyflake fast"
    local name
    for name in mon. client.admin client.skyflake client.skyflake-fs mgr.n1 mds.n2 osd.0 osd.1; do
        [ "$(ceph-authtool before -n "$name" -p)" = "$(ceph-authtool keys/ceph.keyring -n "$name" -p)" ]
    done
    run ! ceph-authtool before -n osd.2 -p
    [ "$(cat keys/n2/ceph.client.skyflake-fs.secret)" = "$(ceph-authtool before -n client.skyflake-fs -p)" ]
    # A host that is no monitor has none but its own; nobody else reads them.
    [ "$(find keys/n2 -printf '%f\n' | sort | xargs)" = "ceph.client.admin.keyring ceph.client.skyflake-fs.secret ceph.client.skyflake.keyring ceph.mds.n2.keyring ceph.mgr.n2.keyring ceph.osd.1.keyring ceph.osd.2.keyring n2" ]
    [ -z "$(find keys -perm /077)" ]
    run ! grep -rF "$(ceph-authtool before -n osd.0 -p)" keys/n2
    ceph-authtool keys/ceph.keyring -l | grep -F 'profile rbd pool=skyflake, profile rbd pool=fast'
}

@test "nixos: a monitor without a store is made anew only where the operator said that it is new" {
    run -78 host mon "n1=$addresses"
    [[ $output == *"if it is new: touch $STATE/new"* ]]
    [ ! -e "$STATE/mon/ceph-n1" ]
    touch "$STATE/new"
    # Killed on the way, and begun again: whole or not there.
    mkdir -p "$STATE/mon/ceph-n1.new/store"
    host mon "n1=$addresses"
    [ -e "$STATE/mon/ceph-n1/keyring" ]
    [ ! -e "$STATE/new" ]
    daemon mon n1
    soon ask quorum_status
    [ "$(ask fsid)" = "$FSID" ]
    host mon "n1=$addresses"
}

@test "nixos: an OSD takes a blank device, knows its own again, and leaves all others alone" {
    truncate -s 3G "$DIR/disk0" "$DIR/data"
    host osd 0 "$DIR/disk0"
    # After a boot the directory is empty.
    rm -rf "$STATE/osd/ceph-0"
    host osd 0 "$DIR/disk0"
    [ "$(cat "$STATE/osd/ceph-0/whoami")" = 0 ]
    cmp <(ceph-authtool "$STATE/osd/ceph-0/keyring" -n osd.0 -p) <(ceph-authtool "$SECRETS/ceph.osd.0.keyring" -n osd.0 -p)
    daemon osd 0
    soon ask osd find 0
    mkfs.ext4 -q "$DIR/data"
    cp "$SECRETS/ceph.osd.0.keyring" "$SECRETS/ceph.osd.1.keyring"
    run -78 host osd 1 "$DIR/data"
    [[ $output == *"is not blank"* ]]
    run -78 host osd 1 "$DIR/disk0"
    [[ $output == *"is OSD 0 of cluster $FSID"* ]]
    FSID=00000000-0000-0000-0000-000000000000 run -78 host osd 0 "$DIR/disk0"
    run -69 host osd 0 "$DIR/no-disk"
    [[ $output == *"is not there"* ]]
}

@test "nixos: pools, classes and the filesystem are what the configuration says, however often it is said" {
    local n
    soon ask osd crush get-device-class osd.0
    for n in 1 2; do
        # An OSD that comes up binds itself to a class once more; its unit tries again, too.
        soon host cluster class 0 nvme class 7 nvme pool skyflake 3 2 nvme rbd pool skyfs.meta 3 2 - cephfs pool skyfs.data 2 1 - cephfs \
            fs skyflake skyfs.meta skyfs.data
    done
    [ "$(ask osd crush get-device-class osd.0 -f json | jq -r '.[].device_class // .')" = nvme ]
    [ "$(ask osd pool get skyflake crush_rule -f json | jq -r .crush_rule)" = skyflake-nvme ]
    [ "$(ask osd pool get skyfs.data min_size -f json | jq -r .min_size)" = 1 ]
    ask fs get skyflake
    # Nobody mounts it before an MDS is active; the hosts' key may ask.
    run -75 host filesystem skyflake
    [[ $output == *"no active metadata server yet"* ]]
    run ! grep -q "EACCES" <<<"$output"
    [ "$(ask osd pool application get skyflake | jq -c keys)" = '["rbd"]' ]
    # The hosts' key may do what fencing needs.
    ceph --connect-timeout 20 --name client.skyflake --keyring "$SECRETS/ceph.client.skyflake.keyring" osd blocklist ls
    run ! ceph --connect-timeout 20 --name client.skyflake --keyring "$SECRETS/ceph.client.skyflake.keyring" osd pool create more
}

@test "nixos: a second monitor joins those that are there, unasked" {
    mkdir -p "$DIR/second"
    HOST=n2 STATE=$DIR/second host mon "n2=[v2:127.0.0.1:$((port + 2)),v1:127.0.0.1:$((port + 3))]"
    [ -e "$DIR/second/mon/ceph-n2/keyring" ]
}
