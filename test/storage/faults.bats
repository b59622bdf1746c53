#!/usr/bin/env bats
# What a real Ceph does to a machine when parts of it are away, slow or full: the machine waits and goes on, who asks is told why
# within a minute, nothing is half made and nothing lost.

# Helpers are called by eventually and on; stderr is set by run.
# shellcheck disable=SC2154,SC2317,SC2016,SC2034
load ../lib/storage

setup_file() {
    load ../lib/storage
    chmod a+x "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/file" "$BATS_FILE_TMPDIR"
    make_host n1 640000 svfc
    join_storage n1
}
setup() { TOP=$BATS_FILE_TMPDIR/n1 SKY_TEST_UIDS=640000 vmdir=$TOP/state/vm/$machine; }
teardown() {
    [ -n "${BATS_TEST_COMPLETED:-}" ] || tail -n 20 "$vmdir/supervisor.log" "$vmdir/console.log" 2>/dev/null || true
    whole
    drop n1
}
teardown_file() {
    load ../lib/storage
    on n1 eval '"$SKY_BIN/sky-net-setup" --config "$TOP/config.json" boundary --off'
    local each
    for each in memory pids cpu unified .; do
        [ ! -d "/sys/fs/cgroup/$each/svfc" ] || find "/sys/fs/cgroup/$each/svfc" -depth -type d -exec rmdir {} + || true
    done
}

# Ceph as it was made. It is always osd.1 that loses what it holds, and osd.0 that has all: no need to wait for copies.
whole() {
    local each
    for each in mon osd.0 osd.1; do ceph start "$each"; done
    admin osd unpause
    room
    eventually 60 both_are_up
}
both_are_up() { [ "$(admin osd dump --format json | jq '[.osds[] | select(.up == 1)] | length')" = 2 ]; }
# OSDs are full from a share of their room on: an operator's own brake, and what a test can have without filling memory.
full() { ratios 0.0001 0.00009 0.00008; }
room() { ratios 0.95 0.9 0.85; }
ratios() { # FULL BACKFILL NEAR
    local all=(full backfillfull nearfull) i
    for i in 0 1 2; do admin osd "set-${all[i]}-ratio" "${@:i+1:1}" >/dev/null; done
}
is_full() { admin osd pool ls detail --format json | jq -e '.[0].flags_names | contains("full")' >/dev/null; }

is_up() { [ "$(field state)" = ready ]; }
up() {
    start
    eventually 120 counts_more 0 5
}
# What it has counted, as its console can not lie about it: without Ceph nobody can look.
stands_still() {
    local before
    before=$(last_of 0)
    sleep 3
    [ "$(last_of 0)" = "$before" ]
}
# The supervisor looks now, not in half a minute.
tells() {
    touch "$vmdir/want.json"
    [[ $(field why) == "the storage of its volumes does not answer: "*"(it goes on once the storage answers)" ]] && field_is state backoff
}
goes_on() { # RUNNER COUNT
    eventually 120 counts_more 0 "$2"
    eventually 60 is_up
    [ "$(of_uid 0)" = "$1" ]
}
refused() { # CODE SENTENCE COMMAND...
    run "-$1" --separate-stderr "${@:3}"
    grep -qF "$2" <<<"$output$stderr" || { echo "$output$stderr" && false; }
}
# Each ends, within a minute if nothing else goes on.
vm_run() { timeout "$((60 * ${SKY_PATIENCE:-1}))" "$SKY_BIN/sky-vm-run" --config "$TOP/config.json" "$@"; }
stop_within() { timeout "$((90 * ${SKY_PATIENCE:-1}))" "$SKY_BIN/sky-vm-run" --config "$TOP/config.json" stop <<<"$(request)"; }
start_within() { spec "${1:-.}" | timeout 60 "$SKY_BIN/sky-vm-run" --config "$TOP/config.json" start; }

@test "a monitor is away for half a minute while a machine writes: nothing stops" {
    local runner before without
    up
    runner=$(of_uid 0)
    before=$(last_of 0)
    ceph stop mon
    sleep 30
    ceph start mon
    without=$(last_of 0)
    [ "$without" -gt $((before + 30)) ] # it counted meanwhile
    before=$without
    goes_on "$runner" $((before + 10))
}

@test "an OSD is lost: the machine goes on; the other goes, too: it waits, whoever asks is told, and it goes on when that is back" {
    local runner before list
    up
    runner=$(of_uid 0)
    ceph stop osd.1
    before=$(last_of 0)
    goes_on "$runner" $((before + 10))
    ceph end osd.0
    eventually 60 tells
    vm_run list </dev/null | jq -e '.pid != null and .state == "backoff"'
    vm_run volume list | grep -qx "alice/infra/www count ceph 64 MiB"
    refused 69 "volumes does not answer" start_within
    ceph start osd.0
    before=$(last_of 0)
    goes_on "$runner" $((before + 10))
}

@test "no OSD is there: a stop ends, a start says why and makes nothing, and goes on by itself when they are back" {
    local before
    up
    ceph stop osd.1
    eventually 120 counts_more 0 5
    ceph end osd.0
    run -0 stop_within
    [ -z "$(ours)" ]
    refused 69 "ceph did not answer within 15 s" vm_run volume snapshot "$machine" count first
    refused 69 "ceph did not answer within 15 s, pool 'sky' (are its monitors and OSDs up" start_within
    ceph start osd.0
    eventually 120 is_up
    [ "$(last_of 0)" -gt 5 ]
    eventually 120 counts_more 1 5
    [ "$(rbd ls | sort | xargs)" = "$(image count) $(image)" ]
}

@test "OSDs that stand still: a new machine is not half made, a stop ends, a running machine goes on" {
    local runner before
    up
    runner=$(of_uid 0)
    admin osd pause
    eventually 60 tells
    admin osd unpause
    before=$(last_of 0)
    goes_on "$runner" $((before + 10))
    ceph pause osd.0
    ceph pause osd.1
    eventually 60 tells
    run -0 stop_within
    [ -z "$(ours)" ]
    refused 69 "ceph did not answer within 15 s" start_within '.volumes += [{ name: "fresh", class: "ceph", size_mib: 8, read_only: false }]'
    ceph start osd.0
    ceph start osd.1
    eventually 120 is_up
    [ "$(rbd ls | sort | xargs)" = "$(image count) $(image fresh) $(image)" ]
    [ "$(last_of 0)" -gt "$before" ]
}

@test "the pool is full: nothing is made or grown, with a sentence; a running machine waits, and goes on once there is room" {
    local runner before size
    up
    runner=$(of_uid 0)
    full
    eventually 60 is_full
    eventually 30 stands_still
    before=$(last_of 0)
    vm_run list </dev/null | jq -e '.pid != null'
    room
    goes_on "$runner" $((before + 10))
    vm stop <<<"$(request)"
    full
    eventually 60 is_full
    size=$(rbd info --format json "$(image count)" | jq .size)
    refused 74 "pool 'sky' is full" vm_run volume grow "$machine" count 80
    refused 74 "pool 'sky' is full" vm_run volume snapshot "$machine" count first
    refused 74 "pool 'sky' is full" vm_run volume import "$machine" count </dev/null
    [ "$(rbd info --format json "$(image count)" | jq .size)" = "$size" ]
    refused 74 "pool 'sky' is full: nothing in it can be opened or made (give it room" start_within \
        '.volumes += [{ name: "fresh", class: "ceph", size_mib: 8, read_only: false }]'
    [ "$(rbd ls | sort | xargs)" = "$(image count) $(image)" ]
    [ "$(last_of 0)" -gt "$before" ]
    room
    eventually 120 is_up
    [ "$(rbd ls | sort | xargs)" = "$(image count) $(image fresh) $(image)" ]
}

@test "the pool fills up while an image is made: that is not taken for the volume, and is made whole once there is room" {
    local file=$BATS_TEST_TMPDIR/file
    up
    vm stop <<<"$(request)"
    # What an import that was cut short leaves behind.
    head -c 5M /dev/urandom >"$file"
    rbd import --no-progress "$file" "$(image fresh).new"
    run -0 start_within '.volumes += [{ name: "fresh", class: "ceph", size_mib: 8, read_only: false }]'
    [ "$(rbd ls | sort | xargs)" = "$(image count) $(image fresh) $(image)" ]
    [ "$(rbd info --format json "$(image fresh)" | jq .size)" = $((8 << 20)) ]
}

@test "no key, no configuration, a user that Ceph does not know, a pool that is not there: each is named, nothing is made" {
    local key
    key=$(jq -r .volumes.classes.ceph.keyring "$TOP/config.json")
    cp "$TOP/config.json" "$BATS_TEST_TMPDIR/config"
    with() { # JQ
        # shellcheck disable=SC2046 # who tries reads its configuration once
        kill -KILL $(supervisors) 2>/dev/null || true
        jq "$1" "$BATS_TEST_TMPDIR/config" >"$TOP/new" && cat "$TOP/new" >"$TOP/config.json"
    }
    with '.volumes.classes.ceph.keyring = "/nowhere/keyring"'
    refused 71 "cannot read '/nowhere/keyring', which pool 'sky' needs: No such file or directory" start_within
    with '.volumes.classes.ceph.conf = "/nowhere/ceph.conf"'
    refused 71 "cannot read '/nowhere/ceph.conf', which pool 'sky' needs: No such file or directory" start_within
    with '.volumes.classes.ceph.user = "nobody"'
    refused 69 "cannot read the storage's marker, pool 'sky': the monitors refuse the key of 'nobody' in '$key'" start_within
    with '.volumes.classes.ceph.pool = "nowhere"'
    refused 69 "cannot read the storage's marker, pool 'nowhere': error opening pool nowhere: (2) No such file or directory" start_within
    [ -z "$(rbd ls)" ]
    with .
    run -0 start_within
}
