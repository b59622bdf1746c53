#!/usr/bin/env bats
# Storage that is full, can not be read, or has a bit flipped: a sentence that names what and the way out, nothing lost,
# nothing half-made; and after the way out a plain push works.
# shellcheck disable=SC2030,SC2031 # each test is a subshell
load ../lib/fault

setup_file() {
    load ../lib/fault
    export TENANT=alice STATE=$SKY_HOST/state
    local own
    own=tenants/$(account alice)
    export OWN=$own
    small "$own/repos" 8
    small "$own/builds" 8
    small "$own/cell" 400
    small "$own/outbox" 100
    small "cache/$(account alice)" 100
    small "store/$(account alice)" 200
    small gcroots 1
    small deployments 1
    small records 1
    small vm 4
    small volumes 64
    work_tree storage
    machines www="$(site one)"
    push main:www
    machines www="$(site two)"
}
setup() { cd "$WORK" || return; }
teardown_file() {
    drop_machines
    umount -l "${STATE:?}/${OWN:?}"/* "$STATE"/*/"$(account alice)" "$STATE"/{gcroots,deployments,records,vm,volumes} 2>/dev/null || true
}

# small PART MIB: a part of the state gets a filesystem of its own.
small() {
    local at=$STATE/$1 keep=$BATS_FILE_TMPDIR/keep
    cp -a "$at" "$keep"
    mount -t tmpfs -o "size=$2m,$(stat -c 'mode=%a,uid=%u,gid=%g' "$keep")" sky "$at"
    cp -a "$keep/." "$at"
    rm -rf "$keep"
}
# fill PART: not a byte is left there until `empty`, and no file shows why.
fill() {
    exec {hole}>"$STATE/$1/.fill"
    rm "$STATE/$1/.fill"
    ! cp /dev/zero "/proc/self/fd/$hole" 2>/dev/null
}
empty() { exec {hole}>&-; }

# What holds while a push fails: the branch is where it was, and what ran behind it runs on, not restarted.
unmoved() { # TEXT
    [ "$(branch www)" != "$(git rev-parse HEAD)" ]
    serves "$1"
}
serves() { # TEXT
    [ "$(page www)" = "$1" ]
    [ "$(starts www | wc -l)" = "$(cat "$BATS_FILE_TMPDIR/starts")" ]
}
started() { starts www | wc -l >"$BATS_FILE_TMPDIR/starts"; }

# shellcheck disable=SC2154 # bats' run sets output
# What was said, in one line: sentences are wrapped for the client's terminal.
flat() { output=$(sed 's/^remote: //; s/ *$//' <<<"$output" | tr -s '\n ' ' '); }

# refused_for PART: a push while PART is full is refused, with the place and the way out.
refused_for() {
    fill "$1"
    run push main:www
    empty
    flat
    [ "$status" -eq 1 ]
    says "! [remote rejected] main -> www ("
    says "$STATE/$1"
    says "make room"
    unmoved one
}

no_check() { ! pgrep -f "$SKY_HOST/usr/bin/sky-shell .* ensure --behind" >/dev/null; }

@test "disk full: repositories" {
    started
    eventually 60 no_check
    snapshot >"$BATS_FILE_TMPDIR/before"
    refused_for "$OWN/repos"
    says "No space left on device" # git's words
}

@test "disk full: notes and logs of builds" {
    refused_for "$OWN/builds"
    says "disk full"
}

@test "disk full: the cell" {
    refused_for "$OWN/cell"
}

@test "disk full: the outbox" {
    refused_for "$OWN/outbox"
    says "(disk full: "
}

@test "disk full: the cache" {
    refused_for "cache/$(account alice)"
    says "(disk full: "
}

@test "disk full: roots, then records of deployments" {
    refused_for gcroots
    says "(disk full: "
    refused_for deployments
    says "(disk full: "
}

@test "disk full: the records of what runs: the branch moves, the push fails, the next one ends the work" {
    fill records
    run push main:www
    serves one
    empty
    flat
    [ "$status" -eq 1 ]
    says "disk full: cannot write '$STATE/records"
    says "make room"
    run -0 push main:www
    [ "$(page www)" = two ]
    started
    nothing_left "$BATS_FILE_TMPDIR/before"
}

nothing_incoming() { [ -z "$(ls "$STATE/store/$(account alice)/.incoming")" ]; }
@test "disk full: the host's store: what runs runs on and is not held back, the next push ends the work" {
    machines www="$(site three)"
    eventually 60 no_check # it has room of its own there, which it would give back
    fill "store/$(account alice)"
    run push main:www
    # It is tried again, ever more slowly: "starting" for a moment each time.
    eventually 30 serves two
    eventually 30 nothing_incoming
    empty
    flat
    [ "$status" -eq 1 ]
    says "disk full: cannot write '$STATE/store"
    run -0 push main:www
    [ "$(page www)" = three ]
    started
}

@test "disk full: what a host knows of its machines" {
    machines www="$(site four)"
    eventually 60 no_check
    fill vm
    run push main:www
    eventually 30 serves three
    empty
    flat
    [ "$status" -eq 1 ]
    says "disk full: "
    says "$STATE/vm"
    run -0 push main:www
    [ "$(page www)" = four ]
    nothing_left "$BATS_FILE_TMPDIR/before"
}

@test "disk full: volumes: a new machine is refused before it is made" {
    # One that goes on writing, for the next test.
    machines www="$(site four)" new="$(site new 'run = "(while sleep 1; do head -c 300000 /dev/urandom > /var/lib/site/beat.new; mv /var/lib/site/beat.new /var/lib/site/beat; sync; done) &";')"
    fill volumes
    run push main:new
    empty
    flat
    [ "$status" -eq 1 ]
    says "disk full: "
    says "$STATE/volumes"
    [ -z "$(find "$STATE/volumes" -path '*/new/*')" ]
    run -0 push main:new
}

@test "disk full under a running machine: it stands still, tenant and operator are told why, and it goes on once there is room" {
    local boot beat
    boot=$(starts new)
    fill volumes
    why() { field new .why; }
    paused() {
        touch "$STATE/vm/$(account alice).storage.new/want.json" # its supervisor looks now, not in half a minute
        sleep 1
        [[ $(why) == "paused: a volume can not be written, its storage is full"* ]]
    }
    eventually 90 paused
    sky-vm-run list </dev/null | jq -se 'any(.machine == "new" and .pid != null and (.why // "" | startswith("paused")))'
    empty
    eventually 60 page new starts
    [ "$(starts new)" = "$boot" ]
    beat=$(page new beat | md5sum)
    beats() { [ "$(page new beat | md5sum)" != "$beat" ]; }
    eventually 30 beats
    eventually 20 is_up new
    [ "$(why)" = null ]
    run -0 push :new
    git reset -q --hard "$(branch www)"
}

# --- what can not be read, or is not what it was ------------------------------------------------------------------------

record() { echo "$STATE/deployments/$(account alice)/storage/www/$(git rev-parse HEAD).json"; }
# path NAME: the store path of www's closure whose name is NAME; its narinfo, its archive in the cache.
path() { jq -re --arg n "$1" '.closure[].path | select(.[44:] == $n)' "$(record)"; }
narinfo() { local p; p=$(path "$1") && echo "$STATE/cache/$(account alice)/${p:11:32}.narinfo"; }
nar() { echo "$STATE/cache/$(account alice)/$(sed -n 's/^URL: //p' "$(narinfo "$1")")"; }
# The host's own copy is another than the record's now: a start has to fetch.
forget() { local p; p=$(path "$1") && ln -sfn "sha256:$(printf '0%.0s' {1..52})" "$STATE/store/$(account alice)/.ok/${p#/nix/store/}"; }
fetch() { sky-vm-run fetch "$(account alice).storage.www" "$(git rev-parse HEAD)" 2>&1; }
# flip FILE [BYTE]: the lowest bit of the byte in its middle.
flip() {
    local at=${2:-$(($(stat -c %s "$1") / 2))} byte
    byte=$(od -An -tu1 -j "$at" -N 1 "$1")
    printf %b "\\x$(printf %x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}

@test "what a cache lost or has damaged is refused by its name, and the next push brings it anew" {
    git reset -q --hard "$(branch www)"
    local name n names
    mapfile -t names < <(jq -r '.closure | sort_by(.nar_size)[:6][].path[44:]' "$(record)")
    [ "${#names[@]}" -eq 6 ]
    local narinfos=() nars=()
    for name in "${names[@]}"; do narinfos+=("$(narinfo "$name")") nars+=("$(nar "$name")"); done
    rm "${narinfos[0]}"
    rm "${nars[1]}"
    truncate -s -1 "${nars[2]}"
    echo "rubbish" >"${narinfos[3]}"
    flip "${narinfos[4]}" $(($(stat -c %s "${narinfos[4]}") - 40))
    chmod 000 "${narinfos[5]}"
    for n in 0 1 2 3; do
        forget "${names[n]}"
        run fetch
        says "${names[n]}' in the cache: "
        says "(push it again)"
        [ "$status" -eq "$((n < 2 ? 69 : 65))" ]
        # As it was.
        ln -sfn "$(jq -r --arg n "${names[n]}" '.closure[] | select(.path[44:] == $n).nar_hash' "$(record)")" \
            "$STATE/store/$(account alice)/.ok/$(basename "$(path "${names[n]}")")"
    done
    git commit -q --allow-empty -m "the same again"
    run -0 push main:www
    says "6 new"
    flat
    says "'${narinfos[3]}'"
    says "'${narinfos[4]}': not signed with"
    says "'${narinfos[5]}'"
    for name in "${names[@]}"; do forget "$name"; done
    run -0 fetch
}

@test "a bit of an archive flipped: what runs runs on; the same push again brings the archive anew" {
    flip "$(nar skyflake-www)"
    forget skyflake-www
    run sky restart storage/www
    [ "$status" -ne 0 ]
    flat
    says "skyflake-www' in the cache: "
    says "(push it again)"
    [ "$(page www)" = four ]
    run -0 push main:www
    says "not whole in the cache, brought anew"
    [ "$(page www)" = four ]
    [ "$(field www .rev)" = "$(git rev-parse HEAD)" ]
}

@test "one digit of a record's hash changed, then a record that is rubbish: the same push again writes it anew" {
    jq -c '.closure[0].nar_hash |= .[:30] + (if .[30:31] == "0" then "1" else "0" end) + .[31:]' "$(record)" >"$BATS_TEST_TMPDIR/record"
    cat "$BATS_TEST_TMPDIR/record" >"$(record)"
    run sky restart storage/www
    [ "$status" -ne 0 ]
    flat
    says "(push it again)"
    [ "$(page www)" = four ]
    run -0 push main:www
    [ "$(page www)" = four ]
    echo rubbish >"$(record)"
    run sky restart storage/www
    [ "$status" -ne 0 ]
    flat
    says "$(record)"
    says "(push it again)"
    [ "$(page www)" = four ]
    run -0 push main:www
    [ "$(page www)" = four ]
    jq -e .closure "$(record)" >/dev/null
}

@test "a byte of the outbox changed before it is cached: refused by name, nothing published, a push works" {
    machines www="$(site five)"
    run -1 push main:nosuch # the objects are there now
    local line build
    line=$(sky-build --tenant "$(account alice)" --repo storage --rev "$(git rev-parse HEAD)" www)
    build=$(jq -r .build <<<"$line")
    flip "$(find "$STATE/$OWN/outbox/$build/nar" -name '*.nar' -size +0 | head -n 1)"
    published() { find "$STATE/cache/$(account alice)" -name '*.nar.zst' -o -name '*.narinfo' | sort; }
    published >"$BATS_TEST_TMPDIR/before"
    run bash -c 'sky-cache-push push --tenant "$1" <<<"$2" 2>/dev/null' _ "$(account alice)" "$line"
    [ "$status" -eq 1 ]
    [ "$(jq .error.code <<<"$output")" -eq 65 ]
    [[ $(jq -r .error.text <<<"$output") == "'"*"': "* ]]
    published | cmp "$BATS_TEST_TMPDIR/before"
    run -0 push main:www
    [ "$(page www)" = five ]
}

# --- what a host writes down for itself -----------------------------------------------------------------------------------

file_of() { # WHAT of www
    case $1 in
    registry) echo "$STATE/registry.json" ;;
    record) echo "$STATE/records/$(account alice)/storage/www.json" ;;
    state | spec) echo "$STATE/vm/$(account alice).storage.www/$1.json" ;;
    esac
}
# A commit of the same tree.
again() { git commit -q --allow-empty -m again; }
its_pid() { sky-vm-run list </dev/null | jq 'select(.machine == "www").pid // empty'; }
one_hypervisor() { [ -n "$1" ] && [ "$(its_pid)" = "$1" ]; }

@test "a bit flipped in the registry, or in the record of what runs: refused by name with the way out; what runs runs on" {
    local what file pid
    pid=$(its_pid)
    for what in registry record; do
        file=$(file_of "$what")
        cat "$file" >"$BATS_TEST_TMPDIR/good"
        flip "$file" 0
        again
        run push main:www
        [ "$status" -ne 0 ]
        flat
        says "$file"
        [ "$what" = record ] || says "(bring it back from a backup, see"
        [ "$what" = registry ] || says "(remove it, then push again: it forgets a pin, no data)"
        [ "$(head -c 1 "$file")" = z ]
        if [ "$what" = record ]; then rm "$file"; else cat "$BATS_TEST_TMPDIR/good" >"$file"; fi
        again
        run -0 push main:www
        one_hypervisor "$pid"
    done
}

@test "a bit flipped in what a host was told to run, or said last: pushes go on and restart nothing, and a restart works" {
    local what pid
    run -0 push main:www
    pid=$(its_pid)
    for what in state spec; do
        flip "$(file_of "$what")" 0
        again
        run -0 push main:www
        one_hypervisor "$pid"
        is_up www
    done
    run -0 sky restart storage/www
    is_up www
    [ "$(its_pid)" != "$pid" ]
}

@test "a bit flipped in the host's store: what runs runs on; verify finds it, --repair has the next start fetch it again" {
    local damaged pid
    sky-vm-run gc --grace 0
    snapshot >"$BATS_TEST_TMPDIR/before"
    pid=$(its_pid)
    damaged=$STATE/store/$(account alice)/$(basename "$(path skyflake-www)")/manifest.json
    flip "$damaged"
    run sky-vm-run verify
    [ "$status" -eq 1 ]
    says "$(account alice): $(path skyflake-www): not what its record says"
    says ", 1 damaged"
    run -0 sky-vm-run verify "$(account alice)" --repair --json
    jq -e --arg p "$(path skyflake-www)" '.damaged | length == 1 and .[0].path == $p' <<<"$output"
    one_hypervisor "$pid"
    run -0 sky restart storage/www
    run -0 sky-vm-run verify
    says ", 0 damaged"
    jq -e .machine_id "$damaged"
    sky-vm-run gc --grace 0 # what was put aside
    nothing_left "$BATS_TEST_TMPDIR/before"
}

# Any read of it is EIO, as a dying disk gives it: what it was lies below a memory in which nothing is mapped. WHO reads.
eio() { # FILE WHO
    setpriv --reuid "$2" --regid "$2" --clear-groups sleep 1000 3>&- &
    memory=$!
    until grep -q sleep "/proc/$memory/cmdline"; do sleep 0.1; done
    mount --bind "/proc/$memory/mem" "$1"
}
no_eio() { umount "$1" && kill "$memory"; }

@test "the disk gives errors: reading the registry, a record, the cache: a sentence that names the file; what runs runs on" {
    local pid file
    pid=$(its_pid)
    for file in "$(file_of registry)" "$(file_of record)"; do
        eio "$file" "$(account deploy)"
        again
        run push main:www
        no_eio "$file"
        [ "$status" -ne 0 ]
        flat
        says "$file"
        says "Input/output error"
        one_hypervisor "$pid"
    done
    run -0 push main:www
    forget skyflake-www
    file=$(narinfo skyflake-www)
    eio "$file" "$(account cache)"
    run fetch
    no_eio "$file"
    [ "$status" -eq 74 ]
    says "skyflake-www' in the cache: "
    says "Input/output error"
    run -0 fetch
    one_hypervisor "$pid"
}

@test "the storage's marker is not there: exit 69, nothing stops, nothing is made; with it all goes on" {
    mv "$STATE/storage.json" "$BATS_TEST_TMPDIR/marker"
    run push main:www
    [ "$status" -ne 0 ]
    says "is the storage mounted?"
    for tool in "sky-vm-run list" "sky-cache-push missing --tenant $(account alice)" "sky-nomad-submit status --all"; do
        # shellcheck disable=SC2086 # words
        run $tool </dev/null
        [ "$status" -eq 69 ]
    done
    mv "$BATS_TEST_TMPDIR/marker" "$STATE/storage.json"
    [ "$(page www)" = five ]
    run -0 push main:www
}

@test "the registry is gone: exit 69, nothing is given out anew and nothing made in its place" {
    mv "$STATE/registry.json" "$BATS_TEST_TMPDIR/registry"
    machines www="$(site five)" fresh="$(site fresh)"
    run push main:www main:fresh
    [ "$status" -ne 0 ]
    flat
    says "registry.json' is gone"
    says "bring it back from a backup"
    run sky-vm-run register <<<"{\"v\":1,\"tenant\":\"$(account alice)\",\"repo\":\"storage\",\"machines\":[\"fresh\"]}"
    [ "$status" -eq 69 ]
    [ ! -e "$STATE/registry.json" ]
    mv "$BATS_TEST_TMPDIR/registry" "$STATE/registry.json"
    git reset -q --hard HEAD~1
    [ "$(page www)" = five ]
    again
    run -0 push +main:www # a machine that was known before has its branch moved all the same
}

@test "a volume's file is gone: refused, never an empty disk, and what runs runs on" {
    local file
    file=$STATE/volumes/$(account alice)/storage/www/root.img
    mv "$file" "$BATS_TEST_TMPDIR/root.img"
    run sky restart storage/www
    [ "$status" -ne 0 ]
    flat
    says "volume 'root' is in the registry and not on the storage: it is never made anew (bring it back"
    [ ! -e "$file" ]
    [ "$(page www)" = five ]
    mv "$BATS_TEST_TMPDIR/root.img" "$file"
    run -0 sky restart storage/www
    [ "$(page www)" = five ]
}

# --- what a host can not take away --------------------------------------------------------------------------------------

@test "a machine that dies while its links can not be removed: its supervisor says so, and starts it once they can" {
    local tool=$SKY_HOST/usr/bin/sky-net-setup supervisor pid
    supervisor=$(pgrep -o -f -x ".*/sky-vm-run .*run $(account alice).storage.www")
    pid=$(its_pid)
    # A stand-in for a kernel that does not let go of a link.
    mv "$tool" "$tool.real"
    printf '#!/bin/sh\ncase "$*" in *" down") echo "sky-net-setup: error: the link is busy" >&2; exit 71 ;; esac\nexec %s.real "$@"\n' "$tool" >"$tool"
    chmod +x "$tool"
    kill -KILL "$pid"
    told() { [[ $(field www .why) == *"sky-net-setup down ended with 71: "*"the link is busy"* ]]; }
    eventually 20 told
    mv "$tool.real" "$tool"
    eventually 120 is_up www
    [ "$(pgrep -o -f -x ".*/sky-vm-run .*run $(account alice).storage.www")" = "$supervisor" ]
    [ "$(its_pid)" != "$pid" ]
    eventually 60 page www
}
