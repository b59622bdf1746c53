# shellcheck shell=bash
# For files of test/storage: hosts that know nothing of each other but the pool, each made by test/cli/vm-fixture; their machine
# alice/infra/www counts on its second disk (test/cluster/counter.cpp). Which host is asked: on HOST COMMAND...
# shellcheck disable=SC2034,SC2154
bats_require_minimum_version 1.5.0
load ../cli/vm-lib
# shellcheck source=test/lib/promise.bash
. "$(dirname "${BASH_SOURCE[0]}")/promise.bash"

machine=alice.infra.www
ceph() { "$SKY_SOURCE/test/lib/ceph" "$1" "$SKY_CEPH" "${@:2}"; }
admin() { ceph admin "$@"; }
rbd() { timeout 60 /usr/bin/rbd --conf "$SKY_CEPH/daemons.conf" --pool sky "$@"; }
image() { echo "$machine.${1:-root}"; }

# The host that everything below is about.
on() { # HOST COMMAND...
    local TOP=$BATS_FILE_TMPDIR/$1 SKY_TEST_UIDS vmdir
    SKY_TEST_UIDS=$(jq .machine_uids.first "$TOP/config.json")
    vmdir=$TOP/state/vm/$machine
    "${@:2}"
}

make_host() { # NAME UIDS PREFIX
    local top=$BATS_FILE_TMPDIR/$1
    mkdir -p "$top"
    SKY_TEST_UIDS=$2 SKY_TEST_PREFIX=$3 "$SKY_SOURCE/test/cli/vm-fixture" "$top" "$SKY_BIN" \
        "$("$SKY_SOURCE/test/lib/virtiofsd" "$top/virtiofsd" "$SKY_CACHE")" "$("$SKY_SOURCE/test/lib/kernel" "$SKY_CACHE")" >&2
    jq --arg c "$SKY_CEPH" --arg host "$1" '.host = $host | .volumes = { default: "ceph", classes: { local: { kind: "local" },
        ceph: { kind: "fenced", driver: "ceph", pool: "sky", conf: ($c + "/ceph.conf"), keyring: ($c + "/hosts.keyring") } } }' \
        "$top/config.json" >"$top/new"
    mv "$top/new" "$top/config.json"
    count_there "$top"
    jq -c '.volumes = [{ name: "root", class: "ceph", size_mib: 16, read_only: false },
        { name: "count", class: "ceph", size_mib: 64, read_only: false }]' "$top/spec.json" >"$top/new"
    mv "$top/new" "$top/spec.json"
}

# The guest counts on its second disk.
count_there() { # TOP
    local guest=$1/state/store/alice/22222222222222222222222222222222-guest
    c++ -std=c++20 -O1 -static -o "$1/initrd/bin/counter" "$SKY_SOURCE/test/cluster/counter.cpp"
    sed -i 's|^echo "guest: up"|[ ! -e /dev/vdb ] \|\| { counter write /dev/vdb; echo "guest: counter ended"; } \&\n&|' "$1/initrd/init"
    (cd "$1/initrd" && find . | cpio --quiet -o -H newc | gzip -1) >"$guest/initrd"
    # shellcheck disable=SC2016 # for the runner's shell
    sed -i 's|^share=$|[ ! -e /sky/volumes/count.img ] \|\| disk="$disk -drive file=/sky/volumes/count.img,format=raw,if=virtio"\n&|' \
        "$guest/bin/microvm-run"
}

# All hosts mean one storage, whose marker the pool carries.
join_storage() { # HOST...
    local id host file
    id=$(timeout 30 rados --conf "$SKY_CEPH/daemons.conf" --pool sky get skyflake.storage - 2>/dev/null) || id=''
    for host; do
        id=${id:-$(jq -r .storage "$BATS_FILE_TMPDIR/$host/config.json")}
        for file in config.json state/storage.json; do
            jq -c --arg id "$id" '.storage = $id' "$BATS_FILE_TMPDIR/$host/$file" >"$BATS_FILE_TMPDIR/new"
            mv "$BATS_FILE_TMPDIR/new" "$BATS_FILE_TMPDIR/$host/$file"
        done
        on "$host" vm storage init >/dev/null
    done
}

drop() { # HOST...: everything of its machines, and their images
    local host each
    for host; do
        # shellcheck disable=SC2046 # lists of numbers
        kill -KILL $(on "$host" supervisors) $(on "$host" ours) 2>/dev/null || true
        on "$host" wait_for no_process
        on "$host" vm cleanup "$machine"
        on "$host" forget_volumes
    done
    for each in $(rbd ls); do
        unlock "$each"
        rbd rm --no-progress "$each"
    done
}
forget_volumes() {
    jq -c '(.machines[].volumes) = {}' "$TOP/state/registry.json" >"$TOP/new"
    cat "$TOP/new" >"$TOP/state/registry.json"
    rm -f "$vmdir/owner.json" "$vmdir"/console.log*
}
unlock() { # IMAGE: of who was killed; the watch of one that was not blocklisted lasts half a minute
    local locker id address
    rbd lock ls --format json "$1" | jq -r '.[] | [.locker, .id, .address] | @tsv' | while IFS=$'\t' read -r locker id address; do
        admin osd blocklist add "$address" 60 2>/dev/null
        rbd lock rm "$1" "$id" "$locker"
    done
    rbd status --format json "$1" | jq -r '.watchers[].address' | while read -r address; do
        admin osd blocklist add "$address" 60 2>/dev/null
    done
}

runner() { on "$1" of_uid 0; }
storage_process() { on "$1" of_uid 3; }
log_of() { echo "$BATS_FILE_TMPDIR/$1/state/vm/$machine/supervisor.log"; }
# shellcheck disable=SC2016
clients_of() { on "$1" eval 'jq -r ".storage[]" "$vmdir/owner.json"'; }
blocklisted() { admin osd blocklist ls 2>/dev/null | grep -qF "$1 "; } # ADDRESS

# What was counted, as it lies in the pool: GENERATION COUNT per line, all of each generation.
# shellcheck disable=SC2120
counted() {
    local copy=$BATS_TEST_TMPDIR/count.img
    rm -f "$copy"
    rbd export --no-progress "$(image count)" "$copy"
    "$BATS_FILE_TMPDIR/n1/initrd/bin/counter" list "$copy"
}
last_of() { counted | awk -v g="$1" '$1 == g { n = $2 + 1 } END { print n + 0 }'; } # GENERATION: its counts
eventually() { # SECONDS COMMAND...
    local end=$((SECONDS + $1 * ${SKY_PATIENCE:-1}))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || { echo "waited in vain for: $*" >&2 && return 1; }
        sleep 0.2
    done
}
counts_more() { [ "$(last_of "$1")" -gt "$2" ]; } # GENERATION THAN
