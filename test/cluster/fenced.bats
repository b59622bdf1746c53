#!/usr/bin/env bats
# One writer on Ceph: a host that is cut off from Nomad, from Ceph or from both, whose storage processes and VMs stand still and go
# on later. Ceph cuts it off first, what it sends late is refused, and nothing that was synced is gone. As in owner.bats guests
# count on a bare volume; who reads along reads copies of it, made without a watch, so that nobody takes the reader for a writer.
load ../lib/one-writer
all=(a b c)

setup_file() {
    load ../lib/one-writer
    export SKY_CEPH=$SKY_HOST/ceph COUNTS_ON=/dev/vda VOLUMES_AT=$BATS_FILE_TMPDIR/volume
    # No disk but that one.
    export EACH_HAS='module = { lib, ... }: { fileSystems."/" = { device = "tmpfs"; fsType = "tmpfs"; };
        deployment.volumes = lib.mkForce { count = { size = 256; class = "ceph"; }; }; };'
    work_tree fenced
    remotes
    cluster ceph 3>&-
    c++ -std=c++20 -O1 -static -o counter "$BATS_TEST_DIRNAME/counter.cpp"
    mkdir "$BATS_FILE_TMPDIR/history" "$BATS_FILE_TMPDIR/volume"
    local each
    counting "text of a"
    only n1
    push_to n2 main:a main:b main:c
    copy_again_and_again 3>&- &
    echo $! >"$BATS_FILE_TMPDIR/copies.pid"
    read_along "${all[@]}"
    for each in "${all[@]}"; do eventually 60 counts_on "$each" 5; done
    only n1 n2 n3
}
setup() { cd "$WORK" || return; }
teardown() { # also of a case that failed
    [ -n "${HERE:-}" ] || return 0
    if [ -z "${BATS_TEST_COMPLETED:-}" ]; then
        log_of a | tail -n 15 || true
        tail -n 3 "$BATS_FILE_TMPDIR"/history/*
        at "$NEXT" alice status fenced || true
    fi
    # shellcheck disable=SC2154 # a case's
    [ ! -v paused ] || kill -CONT "${paused[@]}" 2>/dev/null || true
    cluster heal "$HERE" || true
}
teardown_file() {
    local each
    for each in "$BATS_FILE_TMPDIR"/*.pid; do kill "$(cat "$each")" || true; done
    only n1 n2 n3
    drop_all
}

machine_of() { echo "$(account "$TENANT").$REPO.$1"; }
# A copy is read from its begin to its end: one that took longer than a machine needs to come up elsewhere could have the first
# count of the next generation without the last one of this.
copy_again_and_again() {
    local each begun
    while :; do
        for each in "${all[@]}"; do
            begun=${EPOCHREALTIME/./}
            timeout 60 rbd --conf "$SKY_CEPH/ceph.conf" --keyring "$SKY_CEPH/admin.keyring" --pool sky \
                export --no-progress "$(machine_of "$each").count" "$BATS_FILE_TMPDIR/copy" 2>/dev/null &&
                [ $((${EPOCHREALTIME/./} - begun)) -lt 4000000 ] &&
                mv "$BATS_FILE_TMPDIR/copy" "$(volume_of "$each")"
            rm -f "$BATS_FILE_TMPDIR/copy"
        done
        sleep 0.2
    done
}

storage_process() { processes_of_uid $(($(machine_uid "$1") + 3)); }
# The clients that have a machine's image open, as its owner record knows them.
clients_of() { nomad_api GET "var/sky/owner/$(account "$TENANT")/$REPO/$1?namespace=skyflake" | jq -re '.Items.json | fromjson | .storage[]'; }
# What the supervisor that runs now has said.
log_of() {
    local of alloc
    of=namespace=sky-$(account "$TENANT")
    alloc=$(nomad_api GET "job/$(machine_of "$1")/allocations?$of" | jq -re 'map(select(.ClientStatus == "running")) | max_by(.CreateIndex).ID')
    nomad_api GET "client/fs/logs/$alloc?$of&task=vm&type=stderr&plain=true&origin=start"
}
# Each is out, and who took over said so before it began.
is_cut_off() { "$SKY_SOURCE/test/lib/ceph" admin "$SKY_CEPH" osd blocklist ls 2>/dev/null | grep -F "$1 " >/dev/null; } # CLIENT
tells_of() { log_of "$1" | grep -F "fenced: $2 is cut off" >/dev/null; } # NAME CLIENT
# To be called before something happens and after all run elsewhere.
note_clients() { for each in "${all[@]}"; do clients_of "$each" | sed "s/^/$each /"; done >"$BATS_TEST_TMPDIR/clients"; }
all_cut_off() {
    local name client
    [ "$(cut -d' ' -f1 "$BATS_TEST_TMPDIR/clients" | sort -u | wc -l)" = "${#all[@]}" ]
    while read -r name client; do
        eventually 20 is_cut_off "$client" && eventually 20 tells_of "$name" "$client" || return
    done <"$BATS_TEST_TMPDIR/clients"
}
go_on() { # NAME...: they count, as much as a late write would need
    local each
    for each; do
        counted "$each" >"$BATS_TEST_TMPDIR/$each.now"
        eventually 60 counts_on "$each" $(($(cat "$BATS_TEST_TMPDIR/$each.now") + 30))
    done
}

@test "cut off from Nomad, while a storage process stands still, and a VM with its own: what they send later is refused" {
    begin
    note_clients
    cluster cut "$HERE" servers
    paused=("$(storage_process b)" "$(hypervisor c)" "$(storage_process c)")
    kill -STOP "${paused[@]}"
    all_moved
    all_cut_off
    kill -CONT "${paused[@]}" 2>/dev/null || true # some have gone, as their lookout saw it
    go_on "${all[@]}"
    cluster heal "$HERE"
    eventually 60 settled
    one_writer "${all[@]}"
}

@test "cut off from Nomad and Ceph, while a VM stands still: what was on its way arrives later, and is refused" {
    begin
    note_clients
    cluster cut "$HERE" all
    paused=("$(hypervisor b)")
    kill -STOP "${paused[@]}"
    all_moved
    all_cut_off
    kill -CONT "${paused[@]}" 2>/dev/null || true
    cluster heal "$HERE"
    eventually 90 settled
    go_on "${all[@]}"
    one_writer "${all[@]}"
}

@test "cut off from Ceph alone: machines wait and say so, are stopped, and go on elsewhere; what was on its way is refused" {
    local each jobs=()
    begin
    note_clients
    cluster cut "$HERE" ceph
    waits() { [[ $(field a .why) == *"the storage of its volumes does not answer"* ]]; }
    eventually 90 waits
    for each in "${all[@]}"; do
        at "$NEXT" alice stop "fenced/$each" 3>&- &
        jobs+=($!)
    done
    for each in "${jobs[@]}"; do wait "$each"; done
    for each in "${all[@]}"; do
        [ "$(field "$each")" = stopped ]
        at "$NEXT" alice restart "fenced/$each" 3>&- &
        jobs+=($!)
    done
    all_moved
    for each in "${jobs[@]:${#all[@]}}"; do wait "$each"; done
    all_cut_off
    cluster heal "$HERE"
    eventually 60 settled
    go_on "${all[@]}"
    one_writer "${all[@]}"
}
