#!/usr/bin/env bats
# Volumes of a leased class: a real qemu-storage-daemon between a real QEMU and the file.

# Helpers are called by wait_for, stderr is set by run.
# shellcheck disable=SC2154,SC2317

bats_require_minimum_version 1.5.0
load vm-lib

setup_file() {
    [ "$(id -u)" = 0 ] || return 0
    export TOP=$BATS_FILE_TMPDIR/host SKY_TEST_UIDS=2920000 SKY_TEST_PREFIX=svs
    mkdir -p "$TOP"
    chmod a+x "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/file" "$BATS_FILE_TMPDIR"
    "$BATS_TEST_DIRNAME/vm-fixture" "$TOP" "$SKY_BIN" \
        "$("$SKY_SOURCE/test/lib/virtiofsd" "$TOP/virtiofsd" "$SKY_CACHE")" \
        "$("$SKY_SOURCE/test/lib/kernel" "$SKY_CACHE")" >&2
    mkdir "$TOP/shared"
    cp -a "$TOP/state/." "$TOP/shared/" # the same storage, the machines' volumes apart
    jq --arg d "$TOP" '.shared = $d + "/shared"
        | .volumes = { default: "shared", classes: { local: { kind: "local" },
            shared: { kind: "leased", driver: "directory", wait_s: 5 } } }' "$TOP/config.json" >"$TOP/new"
    mv "$TOP/new" "$TOP/config.json"
    jq -c '.volumes[0].class = "shared"' "$TOP/spec.json" >"$TOP/new" && mv "$TOP/new" "$TOP/spec.json"
}

setup() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    vmdir=$TOP/state/vm/alice.infra.www
    registry=$TOP/shared/registry.json
    disks=$TOP/shared/volumes/alice/infra/www
    volume=$disks/root.img
    rm -f "$vmdir/console.log" "$vmdir/console.log.1"
}

teardown() {
    [ "$(id -u)" = 0 ] || return 0
    # shellcheck disable=SC2046 # lists of numbers
    kill -KILL $(supervisors) $(ours) 2>/dev/null || true
    wait_for no_process
    vm cleanup alice.infra.www
}
teardown_file() {
    local each
    [ "$(id -u)" = 0 ] || return 0
    "$SKY_BIN/sky-net-setup" --config "$TOP/config.json" boundary --off
    for each in memory pids cpu unified .; do
        [ ! -d "/sys/fs/cgroup/$each/svs" ] || find "/sys/fs/cgroup/$each/svs" -depth -type d -exec rmdir {} + || true
    done
}

again() { [ "$(field restarts)" = "$1" ] && [ "$(field state)" = ready ]; }
mounts_of() { sed -E 's/^[^ ]+ [^ ]+ [^ ]+ [^ ]+ ([^ ]+) ([^ ]+) .*- ([^ ]+) .*/\1 \2 \3/' "/proc/$1/mountinfo"; }

@test "a leased volume is opened by a process of its own, past the page cache, and the sandbox sees a file" {
    local pid uid ns fd flags
    run -0 --separate-stderr start
    [ "$(jq -r .state <<<"${lines[-1]}")" = ready ]
    wait_for says "guest: disk mounted"
    wait_for ours_are 3 # hypervisor, guard, storage process
    uid=$(($(jq '.machines["alice.infra.www"].uid' "$registry") + 3))
    pid=$(of_uid 3)
    [ "$(stat -c '%u %g %a' "$volume")" = "$uid $uid 600" ] # the hypervisor's uid can not even open it
    [ "$(awk '/^[UG]id:/ { print $2, $3, $4, $5 }' "/proc/$pid/status" | sort -u)" = "$uid $uid $uid $uid" ]
    [ -z "$(awk '/^Cap(Inh|Prm|Eff|Bnd|Amb):/ && $2 !~ /^0+$/' "/proc/$pid/status")" ]
    [ -z "$(awk '/^Groups:/ { print $2 }' "/proc/$pid/status")" ]
    grep -q '^NoNewPrivs:.1' "/proc/$pid/status"
    grep -q '^Seccomp:.2' "/proc/$pid/status"
    for ns in mnt net ipc; do
        [ "$(readlink "/proc/$pid/ns/$ns")" != "$(readlink "/proc/$(of_uid 0)/ns/$ns")" ]
        [ "$(readlink "/proc/$pid/ns/$ns")" != "$(readlink "/proc/self/ns/$ns")" ]
    done
    [ "$(readlink "/proc/$pid/ns/pid")" = "$(readlink "/proc/$(of_uid 1)/ns/pid")" ] # the kernel ends it with the guard
    grep -q "svs/alice.infra.www" "/proc/$pid/cgroup"
    # Its view: programs' libraries and the volume, nothing else to write, no program of the host's.
    [ "$(mounts_of "$pid" | awk '$2 ~ /^rw/ && $1 !~ "^/dev" { print $1 }')" = /sky/volumes/root.img ]
    [ -z "$(ls -A "/proc/$pid/root/usr/bin")" ]
    # O_DIRECT is 040000.
    for fd in "/proc/$pid/fd"/*; do
        [ "$(readlink "$fd")" = /sky/volumes/root.img ] || continue
        flags=$(awk '/^flags:/ { print $2 }' "/proc/$pid/fdinfo/${fd##*/}")
        ((flags & 040000))
    done
    [ -n "$flags" ]
    # The sandbox has a file of FUSE's; the host has no such mount.
    mounts_of "$(of_uid 0)" | grep -q '^/sky/volumes/root.img rw.* fuse$'
    run ! grep -q "$vmdir/disks" /proc/self/mountinfo
    run -0 --separate-stderr vm stop <<<"$(request)"
    [ "$(jq -r .state <<<"${lines[-1]}")" = stopped ]
    wait_for no_process
    [ "$(dumpe2fs -h "$volume" 2>/dev/null | awk '/^Mount count:/ { print $3 }')" = 1 ] # what the guest wrote is there
    [ -z "$(ls -A "$vmdir/disks")" ]
    [ -z "$(find /sys/fs/cgroup -path '*svs/alice.infra.www' 2>/dev/null)" ]
}

@test "the storage process dies: the machine, which has lost its disk, ends and is started again" {
    start
    local runner
    runner=$(field pid)
    kill -KILL "$(of_uid 3)"
    wait_for again 1
    wait_for ours_are 3
    [ "$(field pid)" != "$runner" ]
    grep -q "its storage process ended" "$vmdir/supervisor.log"
}

@test "guard or hypervisor die: so does the storage process" {
    local each n=0 storage
    start
    for each in 1 0; do
        storage=$(of_uid 3)
        kill -KILL "$(of_uid "$each")"
        n=$((n + 1))
        wait_for again "$n"
        wait_for ours_are 3
        [ "$(of_uid 3)" != "$storage" ]
    done
}

@test "the supervisor dies: machine and storage process live on and are adopted; without it they end together" {
    local before supervisor
    start
    wait_for ours_are 3
    before=$(ours)
    supervisor=$(supervisors)
    # shellcheck disable=SC2086 # a list of numbers
    kill -KILL $supervisor
    start
    [ "$(ours)" = "$before" ]
    [ "$(field restarts)" = 0 ]
    # shellcheck disable=SC2046
    kill -KILL $(supervisors)
    kill -KILL "$(of_uid 3)"
    wait_for no_process
    [ -e "$vmdir/running.json" ]
    vm cleanup alice.infra.www
    [ ! -e "$vmdir/running.json" ]
    [ -z "$(find /sys/fs/cgroup -path '*svs/alice.infra.www' 2>/dev/null)" ]
    start
    wait_for says "guest: disk mounted"
}

@test "killed at any moment of a start, nothing is left that the next start does not take over" {
    local delay starter
    for delay in 0.02 0.05 0.1 0.2 0.4; do
        start >/dev/null &
        starter=$!
        sleep "$delay"
        # shellcheck disable=SC2046
        kill -KILL "$starter" $(supervisors) 2>/dev/null || true
        wait "$starter" || true
    done
    start
    wait_for ours_are 3
    [ "$(find "$disks" -type f | wc -l)" = 1 ]
}

@test "a volume that another process has open is not opened: the machine waits, and says so in its log" {
    start
    vm stop <<<"$(request)" >/dev/null
    qemu-storage-daemon --blockdev "driver=file,node-name=v,filename=$volume,locking=on" \
        --nbd-server "addr.type=unix,addr.path=$BATS_TEST_TMPDIR/s" --export nbd,id=e,node-name=v,writable=on &
    local other=$!
    wait_for test -S "$BATS_TEST_TMPDIR/s"
    run -71 --separate-stderr start
    [ "$(jq -r .state <<<"${lines[-1]}")" = backoff ]
    grep -q 'the volumes can not be opened: .*[Ll]ock\|the volumes can not be opened: .*another process' "$vmdir/supervisor.log"
    wait_for test -z "$(ours)"
    kill "$other"
    wait "$other" || true
    wait_for field_is state ready
}

@test "a filesystem without O_DIRECT is a clear error, found before anything is stopped, and never buffered" {
    local pid
    start
    pid=$(field pid)
    cp --sparse=always "$volume" "$TOP/copy"
    mount -t ramfs ramfs "$disks"
    cp "$TOP/copy" "$volume"
    run -78 --separate-stderr start '.vcpu = 2'
    umount "$disks"
    [[ $(jq -r .why <<<"${lines[-1]}") == *"root.img': its filesystem has no O_DIRECT"* ]]
    field_is pid "$pid"
}

@test "a host without qemu-storage-daemon says so and starts nothing" {
    jq '.programs.qemu_storage_daemon = "/usr/bin/none"' "$TOP/config.json" >"$TOP/new"
    cp "$TOP/config.json" "$TOP/old" && mv "$TOP/new" "$TOP/config.json"
    run -78 --separate-stderr start
    mv "$TOP/old" "$TOP/config.json"
    [[ $(jq -r .why <<<"${lines[-1]}") == "'/usr/bin/none' is not there, which leased volumes need" ]]
    [ -z "$(ours)" ]
}
