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
    umount -l "$STATE/$OWN"/* "$STATE"/*/"$(account alice)" "$STATE"/{gcroots,deployments,records,vm,volumes} 2>/dev/null || true
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

@test "disk full: repositories" {
    started
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
    [ "$(page www)" = one ]
    run -0 push main:www
    says "not whole in the cache, brought anew"
    [ "$(page www)" = one ]
    [ "$(field www .rev)" = "$(git rev-parse HEAD)" ]
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
