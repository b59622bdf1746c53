#!/usr/bin/env bats
# The verbs of `sky-vm-run volume`, on files in a directory. On Ceph: test/storage.

# Helpers are called by wait_for, stderr is set by run.
# shellcheck disable=SC2154,SC2317,SC2034
bats_require_minimum_version 1.5.0
load vm-lib

setup_file() {
    [ "$(id -u)" = 0 ] || return 0
    export TOP=$BATS_FILE_TMPDIR/host SKY_TEST_UIDS=2930000 SKY_TEST_PREFIX=svv
    mkdir -p "$TOP"
    chmod a+x "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/file" "$BATS_FILE_TMPDIR"
    "$BATS_TEST_DIRNAME/vm-fixture" "$TOP" "$SKY_BIN" "$("$SKY_SOURCE/test/lib/virtiofsd" "$TOP/virtiofsd" "$SKY_CACHE")" \
        "$("$SKY_SOURCE/test/lib/kernel" "$SKY_CACHE")" >&2
    vmdir=$TOP/state/vm/alice.infra.www
    start >&2
    vm stop <<<"$(request)" >&2
}
setup() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    vmdir=$TOP/state/vm/alice.infra.www
    disk=$TOP/state/volumes/alice/infra/www/root.img
    m=alice.infra.www
}
teardown() {
    [ "$(id -u)" = 0 ] || return 0
    # shellcheck disable=SC2046 # lists of numbers
    kill -KILL $(supervisors) $(ours) 2>/dev/null || true
    wait_for no_process
    vm cleanup alice.infra.www
    umount -q "${disk%/*}" || true # whoever failed left it
}
put() { printf %s "$1" | dd of="$disk" bs=1 seek=0 conv=notrunc status=none; } # over the boot block, which ext4 leaves alone
has() { [ "$(head -c "${#1}" "$disk")" = "$1" ]; }

@test "list says what the registry knows, for people and as JSON" {
    run -0 vm volume list
    [ "$output" = "alice/infra/www root local 16 MiB" ]
    run -0 vm volume list "$m" --json
    [ "$(jq -c . <<<"$output")" = '{"class":"local","kept_since":null,"machine":"alice/infra/www","size_mib":16,"v":1,"volume":"root"}' ]
    run -0 vm volume list alice.infra.other
    [ -z "$output" ]
}

@test "a snapshot is what the volume held; one that is there is not replaced, one that is not there not restored" {
    put before
    vm volume snapshot "$m" root first
    put after.
    run -77 vm volume snapshot "$m" root first
    [[ $output == *"there is a snapshot 'first' already"* ]]
    run -77 vm volume restore "$m" root second
    [[ $output == *"there is no snapshot 'second'"* ]]
    has after.
    vm volume restore "$m" root first
    has before
    run -0 start # whoever opens it has it
    vm stop <<<"$(request)"
}

@test "where the filesystem can, a snapshot shares the volume's blocks, and so does what is restored" {
    local small=$BATS_TEST_TMPDIR/xfs.img copy=$BATS_TEST_TMPDIR/xfs
    truncate -s 320M "$small" # mkfs.xfs takes no less than 300
    mkfs.xfs -q -m reflink=1 "$small"
    mkdir "$copy"
    mount -o loop "$small" "$copy" || skip "no XFS here"
    cp -a "${disk%/*}/." "$copy"
    umount "$copy"
    mount -o loop "$small" "${disk%/*}"
    put shared.
    extents() { filefrag -v "$@" | grep -E '^ +[0-9]+:'; }
    [[ $(extents "$disk") != *shared* ]]
    vm volume snapshot "$m" root second
    put changed
    vm volume restore "$m" root second
    has shared.
    run -0 extents "$disk" "${disk%/*}"/*second*
    [ "$(grep -c shared <<<"$output")" = "$(wc -l <<<"$output")" ]
    umount "${disk%/*}"
}

@test "export and import are streams: the same bytes, a volume whole or as it was" {
    put exported
    vm volume export "$m" root >"$BATS_TEST_TMPDIR/copy"
    cmp "$disk" "$BATS_TEST_TMPDIR/copy"
    run -64 script -qec "$SKY_BIN/sky-vm-run --config $TOP/config.json volume export $m root" /dev/null # a terminal
    [[ $output == *"not shown on a terminal"* ]]
    run -65 vm volume import "$m" root </dev/null # of a pipe that failed before it began
    [[ $output == *"is as it was"* ]]
    cmp "$disk" "$BATS_TEST_TMPDIR/copy"
    [ -z "$(find "$TOP/state/volumes" -name '*.new')" ]
    put changed.
    (cat "$BATS_TEST_TMPDIR/copy" && head -c 1048576 /dev/zero) | vm volume import "$m" root
    has exported
    [ "$(stat -c %s "$disk")" = $((17 << 20)) ]
    [ "$(vm volume list --json | jq .size_mib)" = 17 ]
    [ "$(($(stat -c %b "$disk") * 512))" -lt $((17 << 20)) ] # its zeros take no room
    run -77 vm volume restore "$m" root first
    run -0 start
    vm stop <<<"$(request)"
    has exported # whoever formats clears the boot block
}

@test "grow never shrinks, and the registry knows" {
    vm volume grow "$m" root 20
    [ "$(stat -c %s "$disk")" = $((20 << 20)) ]
    [ "$(vm volume list --json | jq .size_mib)" = 20 ]
    run -77 vm volume grow "$m" root 18
    [[ $output == *"never shrunk"* ]]
    [ "$(stat -c %s "$disk")" = $((20 << 20)) ]
}

@test "nothing is done to a volume of a machine that runs, or that is not there" {
    run -0 start
    for verb in "snapshot $m root x" "restore $m root x" "export $m root" "import $m root" "grow $m root 40" "rm $m root"; do
        # shellcheck disable=SC2086 # words
        run -75 vm volume $verb </dev/null
        [[ $output == *"runs (stop it first)"* ]]
    done
    vm stop <<<"$(request)"
    run -77 vm volume export "$m" data
    [[ $output == *"has no volume 'data'"* ]]
    run -77 vm volume rm alice.infra.other root
    mv "$disk" "$disk.away"
    run -77 vm volume export "$m" root
    [[ $output == *"in the registry and not on the storage"* ]]
    mv "$disk.away" "$disk"
}

@test "rm removes it with its snapshots, from the registry, too: the next start makes a new one" {
    vm volume snapshot "$m" root first
    vm volume rm "$m" root
    [ ! -e "$disk" ]
    [ -z "$(find "$TOP/state/volumes" -name '*.snap')" ]
    [ -z "$(vm volume list)" ]
    run -0 start
    [ "$(stat -c %s "$disk")" = $((16 << 20)) ]
}
