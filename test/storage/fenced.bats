#!/usr/bin/env bats
# Volumes of a fenced class: a real Ceph, a real qemu-storage-daemon with librbd, a real QEMU.

# Helpers are called by wait_for and on; stderr is set by run.
# shellcheck disable=SC2154,SC2317,SC2016,SC2034
load ../lib/storage

setup_file() {
    load ../lib/storage
    chmod a+x "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/file" "$BATS_FILE_TMPDIR"
    make_host n1 620000 svfa
    make_host n2 630000 svfb
    join_storage n1 n2
}
setup() { TOP=$BATS_FILE_TMPDIR/n1 SKY_TEST_UIDS=620000 vmdir=$TOP/state/vm/$machine; }
teardown() {
    local host
    if [ -z "${BATS_TEST_COMPLETED:-}" ]; then
        for host in n1 n2; do on "$host" what_was_said; done
    fi
    ceph start mon
    ceph start osd.0
    drop n1 n2
}
teardown_file() {
    load ../lib/storage
    local each host
    for host in n1 n2; do
        on "$host" eval '"$SKY_BIN/sky-net-setup" --config "$TOP/config.json" boundary --off'
    done
    for each in memory pids cpu unified .; do
        for host in svfa svfb; do
            [ ! -d "/sys/fs/cgroup/$each/$host" ] || find "/sys/fs/cgroup/$each/$host" -depth -type d -exec rmdir {} + || true
        done
    done
}
what_was_said() { tail -n 20 "$vmdir/supervisor.log" "$vmdir/console.log" 2>/dev/null || true; }
is_ready() { # HOST: starts it there
    run --separate-stderr on "$1" start
    [ "$(jq -r .state <<<"${lines[-1]}")" = ready ] || { echo "${lines[-1]}" && cat "$(log_of "$1")" && false; }
}

@test "an image is made whole on first use, is there after a restart, and grows, never shrinks" {
    local info
    run -0 --separate-stderr start
    [ "$(jq -r .state <<<"${lines[-1]}")" = ready ]
    wait_for says "guest: disk mounted"
    info=$(rbd info --format json "$(image)")
    [ "$(jq .size <<<"$info")" = $((16 << 20)) ]
    [ "$(rbd ls | sort | xargs)" = "$(image count) $(image)" ]
    [ "$(jq -r --arg m "$machine" '.machines[$m].volumes.root.class' "$TOP/state/registry.json")" = ceph ]
    # The key is the storage process's alone, which is in the host's network, and nobody else's.
    [ "$(readlink "/proc/$(of_uid 3)/ns/net")" = "$(readlink /proc/self/ns/net)" ]
    [ "$(readlink "/proc/$(of_uid 0)/ns/net")" != "$(readlink /proc/self/ns/net)" ]
    [ -e "/proc/$(of_uid 3)/root/sky/etc/ceph.keyring" ]
    [ ! -e "/proc/$(of_uid 0)/root/sky/etc" ]
    run ! grep -rqs "$(awk '/key = / { print $3 }' "$SKY_CEPH/hosts.keyring")" "$TOP/state/vm" "/proc/$(of_uid 3)/cmdline"
    # Its lock is taken, and the owner record knows it.
    [ "$(rbd lock ls --format json "$(image)" | jq -r '.[].address')" = "$(rbd status --format json "$(image)" | jq -r '.watchers[].address')" ]
    clients_of n1 | grep -qxF "$(rbd status --format json "$(image)" | jq -r '.watchers[].address')"
    eventually 120 counts_more 0 5
    run -0 vm stop <<<"$(request)"
    run -0 start '.volumes[0].size_mib = 24'
    [ "$(rbd info --format json "$(image)" | jq .size)" = $((24 << 20)) ]
    eventually 120 counts_more 1 5
    [ "$(last_of 0)" -gt 5 ]
    run -0 vm stop <<<"$(request)"
    run -0 start
    [ "$(rbd info --format json "$(image)" | jq .size)" = $((24 << 20)) ]
    wait_for says "guest: disk mounted"
}

@test "an image that the registry knows and the pool has not is refused, never made anew; so is a pool without the marker" {
    start
    vm stop <<<"$(request)"
    unlock "$(image)"
    rbd rename "$(image)" away
    run -77 --separate-stderr start
    jq -r .why <<<"${lines[-1]}" | grep -qF "volume 'root' is in the registry and not on the storage: it is never made anew"
    [ "$(rbd ls | sort | xargs)" = "$(image count) away" ]
    rbd rename away "$(image)"
    timeout 30 rados --conf "$SKY_CEPH/daemons.conf" --pool sky cp skyflake.storage kept
    timeout 30 rados --conf "$SKY_CEPH/daemons.conf" --pool sky rm skyflake.storage
    run -69 --separate-stderr start
    jq -r .why <<<"${lines[-1]}" | grep -qF "pool 'sky' carries no marker"
    timeout 30 rados --conf "$SKY_CEPH/daemons.conf" --pool sky cp kept skyflake.storage
    run -0 --separate-stderr start
}

# The old writer on n1 stands still, n2 takes over, the old one goes on: what n1 wrote until then and what n2 writes is whole.
taken_over() { # what stands still: PID...
    local old before each clients
    old=$(storage_process n1)
    eventually 120 counts_more 0 5
    clients=$(clients_of n1)
    kill -STOP "$@"
    before=$(last_of 0)
    is_ready n2
    for each in $clients; do
        blocklisted "$each"
        grep -F "fenced: $each is cut off" "$(log_of n2)" | grep -qE 'it (holds the lock of|watches) alice\.infra\.www\.'
    done
    eventually 120 counts_more 1 5
    kill -CONT "$@" 2>/dev/null || true # some have gone, as their lookout saw it
    on n1 wait_for saw_the_end "$old"
    sleep 3
    promised "nothing synced is lost" test "$(last_of 0)" -ge "$before"
    promised "the old writer is cut off" test "$(last_of 0)" -le $((before + 1)) # the one write that was under way when we looked
    eventually 120 counts_more 1 20
    [ "$(storage_process n1)" != "$old" ]
}
saw_the_end() { [ ! -d "/proc/$1" ]; }
# What takes n1's supervisor out: it would start the machine anew, in its next generation.
only_the_vm() { kill -KILL "$(supervisors)"; }

@test "the storage process stands still, another host takes over: its writes come back as errors, the machine ends" {
    start
    only_the_vm
    taken_over "$(storage_process n1)"
}

@test "the VM stands still, another host takes over" {
    start
    only_the_vm
    taken_over "$(runner n1)"
}

@test "both stand still, another host takes over" {
    start
    only_the_vm
    taken_over "$(runner n1)" "$(storage_process n1)"
}

@test "a wrong key, and monitors that are away: said so, nothing is made, and it goes on by itself; who lives, lives on" {
    local key before runner
    key=$(jq -r .volumes.classes.ceph.keyring "$TOP/config.json")
    cp "$key" "$BATS_TEST_TMPDIR/key"
    ceph-authtool -C "$key" --gen-key -n client.skyflake >/dev/null
    run -69 --separate-stderr start
    jq -r .why <<<"${lines[-1]}" | grep -qF "cannot read the storage's marker, pool 'sky'"
    [ -z "$(rbd ls)" ]
    cp "$BATS_TEST_TMPDIR/key" "$key"
    ceph pause mon
    run -69 --separate-stderr start
    jq -r .why <<<"${lines[-1]}" | grep -qF "ceph did not answer within 15 s, pool 'sky'"
    ceph start mon
    eventually 90 is_up
    runner=$(of_uid 0)
    eventually 120 counts_more 0 5
    ceph stop mon
    sleep 2
    ceph start mon
    before=$(last_of 0)
    eventually 120 counts_more 0 "$((before + 10))"
    [ "$(of_uid 0)" = "$runner" ]
}
is_up() { [ "$(field state)" = ready ]; }

# Writes and flushes like a hypervisor, in rounds: BLOCK of eight blocks, each told when its flush went well; the first that does
# not ends it with its errno. "write" alone tells when the writes are answered, and then flushes.
write_rounds() { # FILE rounds|write
    python3 - "$@" <<'END'
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
block = mmap.mmap(-1, 4096)
def put(n, byte):
    block[:] = bytes([byte]) * 4096
    for i in range(8): os.pwrite(fd, block, (n * 8 + i) * 4096)
if sys.argv[2] == "write":
    put(255, 255)
    print("answered", flush=True)
    os.fsync(fd)
    print("flushed", flush=True)
    sys.exit()
try:
    for n in range(1, 255):
        put(n, n)
        os.fsync(fd)
        print(n, flush=True)
        time.sleep(0.1)
except OSError as e: print("errno", e.errno, flush=True)
END
}
said() { grep -qx "$1" "$2"; } # TEXT FILE
bytes_of_rounds() { # IMAGE-FILE: the rounds of which all blocks are there
    python3 -c 'import sys
data = open(sys.argv[1], "rb").read()
print(*(n for n in range(1, 256) if data[n * 32768:n * 32768 + 32768] == bytes([n]) * 32768), sep="\n")' "$1"
}

@test "a write may be on its way until a flush, which waits for Ceph; of who is cut off the flush fails, and nothing comes later" {
    local spare each client old said=$BATS_TEST_TMPDIR/said first=$BATS_TEST_TMPDIR/first then=$BATS_TEST_TMPDIR/then
    start '.volumes += [{ name: "spare", class: "ceph", size_mib: 16, read_only: false }]'
    only_the_vm
    old=$(storage_process n1)
    spare=/proc/$(runner n1)/root/sky/volumes/spare.img
    write_rounds "$spare" write >"$said" # from the first flush on
    ceph pause osd.0
    ceph pause osd.1
    write_rounds "$spare" write >"$said" 3>&- &
    eventually 10 said answered "$said"
    sleep 2
    run ! said flushed "$said"
    ceph start osd.0
    ceph start osd.1
    eventually 30 said flushed "$said"
    wait $!
    write_rounds "$spare" rounds >"$said" 3>&- &
    eventually 10 said 1 "$said"
    client=$(rbd status --format json "$(image spare)" | jq -r '.watchers[].address')
    admin osd blocklist add "$client" 3600
    wait $!
    [[ $(tail -n 1 "$said") == "errno "* ]]
    rbd export --no-progress "$(image spare)" "$first"
    while read -r each; do bytes_of_rounds "$first" | grep -qx "$each"; done < <(grep -v errno "$said")
    on n1 wait_for saw_the_end "$old"
    rbd export --no-progress "$(image spare)" "$then"
    cmp "$first" "$then"
    bytes_of_rounds "$then" | grep -qx 255
}

@test "the verbs of sky-vm-run volume: the same as on files" {
    local copy=$BATS_TEST_TMPDIR/copy m=$machine
    start
    eventually 120 counts_more 0 5
    vm stop <<<"$(request)"
    [ "$(vm volume list | sort | head -n 1)" = "alice/infra/www count ceph 64 MiB" ]
    vm volume export "$m" count >"$copy"
    [ "$(stat -c %s "$copy")" = $((64 << 20)) ]
    vm volume snapshot "$m" count first
    run -77 vm volume snapshot "$m" count first
    start
    eventually 120 counts_more 1 5
    run -75 vm volume restore "$m" count first
    vm stop <<<"$(request)"
    vm volume restore "$m" count first
    [ "$(last_of 1)" = 0 ]
    vm volume export "$m" count | cmp - "$copy"
    vm volume grow "$m" count 72
    [ "$(rbd info --format json "$(image count)" | jq .size)" = $((72 << 20)) ]
    vm volume import "$m" count <"$copy"
    vm volume export "$m" count | cmp - "$copy"
    [ "$(vm volume list --json | jq -r 'select(.volume == "count") | .size_mib')" = 64 ]
    start
    eventually 120 counts_more 1 5
    vm stop <<<"$(request)"
    vm volume rm "$m" count
    [ "$(rbd ls)" = "$(image)" ]
    run -77 vm volume export "$m" count
}

registered_anew() { # as when the branch comes back
    request '{"machines":["www"]}' | jq -c 'del(.machine)' | vm register | jq -r .machine_id >"$TOP/id"
    jq -c --arg id "$(cat "$TOP/id")" '.machine_id = $id' "$TOP/spec.json" >"$TOP/new" && mv "$TOP/new" "$TOP/spec.json"
}

@test "a removal that is cut short leaves the image whole, or none that a start could take" {
    local k copy=$BATS_TEST_TMPDIR/copy m=$machine
    start
    eventually 120 counts_more 0 5
    vm stop <<<"$(request)"
    vm volume export "$m" count >"$copy"
    cp -p "$TOP/state/registry.json" "$BATS_TEST_TMPDIR/registry.json"
    for k in 2 3 4 6 9 14 20 30 45 70 100 150; do
        run strace -f -qq -o /dev/null -e trace=sendmsg -e "inject=sendmsg:signal=KILL:when=$k" \
            "$SKY_BIN/sky-vm-run" --config "$TOP/config.json" volume rm "$m" count
        if grep -qx "$(image count)" <<<"$(rbd ls)"; then
            rbd export --no-progress "$(image count)" - | cmp - "$copy"
        fi
        [ "$status" != 0 ] || break
        cp -p "$BATS_TEST_TMPDIR/registry.json" "$TOP/state/registry.json"
        grep -qx "$(image count)" <<<"$(rbd ls)" || rbd import --no-progress --image-feature layering \
            --image-feature exclusive-lock "$copy" "$(image count)"
    done
    [ "$k" -gt 2 ]
    start
    eventually 120 counts_more 0 5
}

@test "images of a deleted branch are kept and come back with it; when their time is over they go" {
    start
    eventually 120 counts_more 0 5
    vm stop <<<"$(request '{"forget":true}')"
    wait_for no_process
    run -0 vm gc
    [ "$(rbd ls | sort | xargs)" = "$(image count) $(image)" ]
    registered_anew
    start
    eventually 120 counts_more 1 5
    [ "$(last_of 0)" -gt 5 ]
    vm stop <<<"$(request '{"forget":true}')"
    wait_for no_process
    jq --arg key "$TOP/none.keyring" '.volumes.keep_s = 0 | .volumes.classes.ceph.keyring = $key' "$TOP/config.json" >"$TOP/soon.json"
    ceph-authtool -C "$TOP/none.keyring" --gen-key -n client.skyflake >/dev/null
    run -1 "$SKY_BIN/sky-vm-run" --config "$TOP/soon.json" gc # the storage does not answer: nothing is forgotten
    [[ $output == *"volume root stays: "*"pool 'sky'"* ]]
    [ "$(jq '.kept[] | length' "$TOP/state/registry.json")" = 2 ]
    jq '.volumes.keep_s = 0' "$TOP/config.json" >"$TOP/soon.json"
    run -0 "$SKY_BIN/sky-vm-run" --config "$TOP/soon.json" gc
    [ -z "$(rbd ls)" ]
    [ "$(jq '.kept | length' "$TOP/state/registry.json")" = 0 ]
    registered_anew
    start
    eventually 120 counts_more 0 5 # an empty one, as any other
}

@test "the hosts' key opens the pool's images and cuts clients off, and no more" {
    local each by=(--conf "$SKY_CEPH/ceph.conf" --id skyflake --keyring "$SKY_CEPH/hosts.keyring")
    admin osd pool create other 8 2>/dev/null
    timeout 30 /usr/bin/ceph "${by[@]}" osd blocklist add 192.0.2.1:0/1 5 2>/dev/null
    timeout 30 rados "${by[@]}" --pool sky ls >/dev/null
    run -1 timeout 30 rados "${by[@]}" --pool other put here "$TOP/spec.json"
    [[ $output == *"Operation not permitted"* ]]
    for each in "auth ls" "auth get client.admin" "osd pool rename sky away" "osd out 0" "config set global debug_ms 0"; do
        # shellcheck disable=SC2086 # words
        run -13 timeout 30 /usr/bin/ceph "${by[@]}" $each
        [[ $output == *EACCES* ]]
    done
    admin osd pool rm other other --yes-i-really-really-mean-it 2>/dev/null
}

# A stand-in for rbd that ends who called it, before one call or after it: that point of time is too short to be met by chance.
rbd_that_kills() { # before|after CALL
    echo 0 >"$TOP/calls"
    cat >"$TOP/rbd" <<END
#!/bin/bash
exec 9<"$TOP" && flock 9 # two may be called at once
n=\$((\$(cat "$TOP/calls") + 1))
echo \$n >"$TOP/calls"
exec 9<&-
[ \$n != $2 ] || [ $1 = after ] || { kill -KILL \$PPID; exit 1; }
/usr/bin/rbd "\$@"
code=\$?
[ \$n != $2 ] || kill -KILL \$PPID
exit \$code
END
    chmod +x "$TOP/rbd"
}

@test "an import is killed at any of its steps: the volume is what it was, or what was imported; nothing else is left" {
    local m=$machine old=$BATS_TEST_TMPDIR/old new=$BATS_TEST_TMPDIR/new now=$BATS_TEST_TMPDIR/now call code=1 when killed=0
    start
    vm stop <<<"$(request)"
    cp "$TOP/config.json" "$BATS_TEST_TMPDIR/config"
    head -c 2M /dev/urandom >"$new"
    for when in before after; do
        for ((call = 1; ; call++)); do
            head -c 1M /dev/urandom >"$old"
            vm volume import "$m" count <"$old"
            rbd_that_kills "$when" "$call"
            jq --arg rbd "$TOP/rbd" '.programs.rbd = $rbd' "$BATS_TEST_TMPDIR/config" >"$TOP/config.json"
            vm volume import "$m" count <"$new" && code=0 || code=$?
            cat "$BATS_TEST_TMPDIR/config" >"$TOP/config.json"
            [ "$code" != 0 ] || break
            [ "$code" = 137 ]
            killed=$((killed + 1))
            eventually 60 vm volume export "$m" count >"$now" # whose watch is still seen
            cmp "$now" "$old" || cmp "$now" "$new"
        done
    done
    [ "$killed" -ge 14 ]
    cmp <(vm volume export "$m" count) "$new"
    [ "$(rbd ls | sort | xargs)" = "$(image count) $(image)" ]
    run -0 start
}
