#!/usr/bin/env bats
# A tenant's uid that found a way out of its cell calls what it may call by hand: the fixed command lines of sudo, with
# everything that a caller controls turned against them.
# shellcheck disable=SC2016 # words of jq
load ../lib/hostile

setup_file() {
    load ../lib/hostile
    keep_config
    work_tree mine bob
    flake www='asks { }'
    push main:www
    BOBS=$(git rev-parse HEAD)
    work_tree mine alice
    flake www='asks { }'
    push main:www
    REV=$(git rev-parse HEAD)
    export REV BOBS
}
setup() {
    cd "$WORK" || return
    STATE=$SKY_HOST/state BUILD=06h0000000000001 OTHER=$(account bob)
    OUTBOX=$STATE/tenants/$(account alice)/outbox/$BUILD
    export BATS_TEST_TIMEOUT=60
}
teardown() {
    restore_config
    rm -rf "$OUTBOX" "$SKY_HOST"/evil.{json,sh} "/etc/sudoers.d/$SKY_PREFIX-twin"
}
teardown_file() {
    drop_machines
    WORK=$BATS_FILE_TMPDIR/bob-mine TENANT=bob drop_machines
}

request() { jq -cn --arg rev "$REV" --arg build "$BUILD" "{v: 1, repo: \"mine\"} + $1"; }
# say LINE COMMAND...: LINE is the request.
say() { printf '%s\n' "$1" | "${@:2}" 2>&1; }

@test "each rule, in another's name" {
    local verb other=", tenant: \"$OTHER\"}"
    for verb in stop restart redeploy rollback; do
        run -77 say "$(request "{machine: \"www\", rev: \"$REV\"$other")" deploy alice $verb
        says "a tenant can ask for nobody but itself"
    done
    for verb in logs connect; do
        run -77 say "$(request "{machine: \"www\"$other")" deploy alice $verb
        says "a tenant can ask for nobody but itself"
    done
    for verb in ensure status; do
        run -77 say "$(request "{branches: {}$other")" deploy alice $verb
        says "a tenant can ask for nobody but itself"
    done
    run -77 say "$(request "{machines: [\"www\"]$other")" deploy alice identity
    says "a tenant can ask for nobody but itself"
    run -77 say "$(request "{machine: \"www\", rev: null$other")" deploy alice submit
    says "a tenant can ask for nobody but itself"
    run -77 say "$(request "{paths: []$other" | jq -c 'del(.repo)')" cache alice missing
    says "a tenant can ask for nobody but itself"
    run -1 say "$(request "{machine: \"www\", rev: \"$REV\", build: \"$BUILD\", deployment: \"/nix/store/00000000000000000000000000000000-x\"$other")" cache alice push
    says "a tenant can ask for nobody but itself"
    # Nor can it by its environment.
    run -0 say "$(request '{branches: {www: $rev}}')" as alice SUDO_UID="$(id -u "$OTHER")" SUDO_USER="$OTHER" USER="$OTHER" \
        LOGNAME="$OTHER" sudo -n -u "$(account deploy)" "$SKY_HOST/usr/bin/sky-nomad-submit" --config "$SKY_CONFIG" status
    [ "$(jq -r .rev <<<"$output")" = "$REV" ] # alice's own www, not bob's
    TENANT=bob is_up www
    # Twin: root may name anybody, and the same line stops bob's machine.
    run -0 say "$(request "{machine: \"www\", rev: \"$REV\"$other")" sky-nomad-submit stop
    run ! env TENANT=bob bash -c "$(declare -f at sky status field is_up); is_up www"
    run -0 say "$(request "{machine: \"www\", rev: \"$BOBS\"$other")" sky-nomad-submit redeploy
}

@test "names that are no names, numbers that are none, keys too many, lines without end" {
    local bad verb
    for bad in '../../bob' 'a/b' '' '-x' 'A' 'www\n' "$OTHER.mine" '$(id)'; do
        for verb in stop logs connect restart; do
            run -65 say "{\"v\":1,\"repo\":\"mine\",\"machine\":\"$bad\",\"rev\":\"$REV\"}" deploy alice $verb
            plain
            run -65 say "{\"v\":1,\"repo\":\"$bad\",\"machine\":\"www\",\"rev\":\"$REV\"}" deploy alice $verb
        done
    done
    run -65 say '{"v":1,"repo":"mine","machine":"www","port":0}' deploy alice connect
    run -65 say '{"v":1,"repo":"mine","machine":"www","lines":1000000000}' deploy alice logs
    run -65 say '{"v":1,"repo":"mine","machine":"www","path":"/etc/shadow"}' deploy alice logs
    says 'path: unknown key'
    run -65 say '{"v":1,"v":1}' deploy alice status
    says "stands there twice"
    run -65 say '{"v":2,"repo":"mine","branches":{}}' deploy alice status
    run -65 say '{"v":1,"repo":"mine","branches":{"www":"HEAD"}}' deploy alice ensure
    run -65 say "$(printf '[%.0s' {1..5000})" deploy alice status
    run bash -c "$(declare -f deploy as account); tr '\\0' x </dev/zero | deploy alice status 2>&1"
    says "longer than"
    run bash -c "$(declare -f cache as account); tr '\\0' x </dev/zero | cache alice push 2>&1"
    says "longer than"
    # Twin: the machine that is there, by its name.
    run -0 say '{"v":1,"repo":"mine","machine":"www","lines":1}' deploy alice logs
}

@test "further options, another configuration, other verbs, other tools, other accounts" {
    local evil=$SKY_HOST/evil.json bin=$SKY_HOST/usr/bin line
    # A configuration in which alice's uid is bob's.
    jq --arg a "$(account alice)" --arg b "$OTHER" '.tenants |= with_entries(.key |= if . == $a then $b elif . == $b then $a else . end)' \
        "$SKY_CONFIG" >"$evil" && chmod 644 "$evil"
    local attack=("$(account deploy)" "$bin/sky-nomad-submit" --config "$evil" status)
    while read -r line; do
        # shellcheck disable=SC2086 # words on purpose
        run as alice sudo -n -u $line </dev/null
        [ "$status" = 1 ] || { echo "not refused: $line" >&2; false; }
        says "sudo: a password is required"
    done <<END
${attack[*]}
$(account deploy) $bin/sky-nomad-submit --config $SKY_CONFIG --config $evil status
$(account deploy) $bin/sky-nomad-submit --config $SKY_CONFIG status --tenant $OTHER
$(account deploy) $bin/sky-nomad-submit --config $SKY_CONFIG status --all
$(account deploy) $bin/sky-nomad-submit --config $SKY_CONFIG reconcile
$(account deploy) $bin/sky-nomad-submit status
$(account cache) $bin/sky-cache-push --config $SKY_CONFIG push --tenant $OTHER
$(account cache) $bin/sky-cache-push --config $SKY_CONFIG gc
$(account cache) $bin/sky-cache-push --config $SKY_CONFIG
$(account cache) $bin/sky-nomad-submit --config $SKY_CONFIG status
root $bin/sky-nomad-submit --config $SKY_CONFIG status
root $bin/sky-vm-run --config $SKY_CONFIG list
root $bin/sky-net-setup --config $SKY_CONFIG boundary
$(account deploy) $bin/sky-vm-run --config $SKY_CONFIG list
$OTHER $bin/sky-shell
$(account cache) /bin/sh
root -s
END
    run -1 as alice sudo -n -u "$(account deploy)" SKY_CONFIG="$evil" LD_PRELOAD=/tmp/x "$bin/sky-nomad-submit" --config "$SKY_CONFIG" status
    run ! as alice sudo -n -E -u "$(account deploy)" "$bin/sky-nomad-submit" --config "$SKY_CONFIG" status --all
    # Neither does the deploy account reach more of root than its six verbs.
    for line in "run $(account alice).mine.www" "cleanup $(account alice).mine.www" "guard $(account alice).mine.www" host-start "storage init"; do
        # shellcheck disable=SC2086
        run -1 setpriv --reuid "$(account deploy)" --regid "$(account deploy)" --init-groups sudo -n "$bin/sky-vm-run" --config "$SKY_CONFIG" $line
        says "sudo: a password is required"
    done
    # Twin: a rule with a wildcard instead of the whole line: what the configuration calls sudo runs as that account.
    printf '#!/bin/sh\necho "I am $(id -un)" >&2; exit 1\n' >"$SKY_HOST/evil.sh" && chmod 755 "$SKY_HOST/evil.sh"
    jq --arg s "$SKY_HOST/evil.sh" '.programs.sudo = $s' "$SKY_CONFIG" >"$evil"
    echo "$(account alice) ALL=($(account deploy)) NOPASSWD: $bin/sky-nomad-submit *" >"/etc/sudoers.d/$SKY_PREFIX-twin"
    chmod 440 "/etc/sudoers.d/$SKY_PREFIX-twin"
    run say "$(request '{branches: {www: $rev}}')" as alice sudo -n -u "${attack[@]}"
    says "I am $(account deploy)"
}

@test "tiny limits, an odd mask, an odd directory, signals ignored: none of it crosses" {
    local line limits
    line=$(request '{branches: {www: $rev}}')
    for limits in "-f 0" "-c 0 -f 1" "-t 1" "-u 30" "-n 20" "-l 0"; do # less memory or stack, and sudo itself does not start
        run -0 bash -c "$(declare -f deploy as account say); ulimit $limits; umask 777; cd /proc/self/fd; trap '' PIPE TERM CHLD HUP
            printf '%s\n' '$line' | deploy alice status"
        [ "$(tail -n 1 <<<"$output" | jq -r .rev)" = "$REV" ]
    done
    # What it writes is whole, and has the mode that it has to have.
    local record
    record=$STATE/records/$(account alice)/mine/www.json
    run bash -c "$(declare -f deploy as account); ulimit -f 0; umask 777; printf '%s\n' '$(request '{machine: "www", rev: $rev}')' | deploy alice redeploy"
    [ "$(stat -c %U:%a "$record")" = "$(account deploy):640" ]
    jq -e '.rev == env.REV' "$record"
    # Twin: who does not cross by sudo keeps the limit, and dies of it.
    run ! bash -c "ulimit -f 0; setpriv --reuid $(account deploy) --regid $(account deploy) --clear-groups dd if=/dev/zero of=$STATE/records/.twin bs=512 count=9"
    rm -f "$STATE/records/.twin"
}

@test "closed descriptors: nothing that the tool opens becomes its stdout" {
    local record before closed
    record=$STATE/records/$(account alice)/mine/www.json
    before=$(sha256sum <"$record")
    for closed in '<&-' '>&-' '2>&-' '<&- >&-' '<&- >&- 2>&-' '>&- 2>&-'; do
        run bash -c "$(declare -f deploy cache as account)
            printf '%s\n' '$(request '{branches: {www: $rev}}')' | deploy alice ensure $closed
            printf '%s\n' '$(request '{branches: {www: $rev}}')' | deploy alice status $closed
            printf '{\"v\":1,\"paths\":[]}\n' | cache alice missing $closed"
    done
    [ "$(sha256sum <"$record")" = "$before" ]
    is_up www
    # Twin pointless: sudo opens /dev/null for what is closed, before any of ours begins.
}

@test "a pipe that stands still holds nothing that others need" {
    local held=$BATS_TEST_TMPDIR/held pids=() verb
    still() { exec sleep 100; } # and reads nothing
    mkfifo "$held"
    sleep 100 >"$held" 3>&- & pids+=($!)
    for verb in ensure status stop submit identity logs connect; do
        deploy alice "$verb" <"$held" >/dev/null 2>&1 3>&- & pids+=($!)
    done
    for verb in missing push; do cache alice "$verb" <"$held" >/dev/null 2>&1 3>&- & pids+=($!); done
    # A reader that does not read, of a console that goes on and of a push.
    say "$(request '{machine: "www", follow: true, lines: 1000}')" deploy alice logs 3>&- | still 3>&- & pids+=($!)
    leave good
    { object good; exec sleep 100; } 3>&- | cache alice push 3>&- | still 3>&- & pids+=($!)
    sleep 1
    run -0 push -f main:www
    run -0 sky restart mine/www
    run -0 say "$(request '{branches: {www: $rev}}')" deploy bob status
    TENANT=bob is_up www
    run -0 say "$(object good)" cache alice push
    # Twin: one who holds the cache's lock does keep others waiting.
    local lock
    lock=$(find "$STATE/cache/$(account alice)" -maxdepth 1 -name '*lock*' -print -quit)
    run -124 timeout 5 flock "$lock" timeout 4 "$BASH" -c "$(declare -f cache as account); printf '%s\n' '$(object good)' | cache alice push; sleep 9"
    kill "${pids[@]}" 2>/dev/null || true
}

# --- the outbox ----------------------------------------------------------------------------------

HASH=00000000000000000000000000000000
object() { request "{machine: \"by-hand\", rev: \"$REV\", build: \"$BUILD\", deployment: \"/nix/store/$HASH-$1\"}"; }
# leave NAME: a deployment of one path, as sky-build would leave it.
leave() {
    local tree=$BATS_TEST_TMPDIR/tree nar
    rm -rf "$OUTBOX" "$tree" && mkdir -p "$tree" && echo '{}' >"$tree/manifest.json" && head -c "${2:-100}" /dev/urandom >"$tree/random"
    as alice mkdir -p "$OUTBOX/nar"
    nar=$OUTBOX/nar/$HASH.nar
    nix-store --dump "$tree" >"$nar"
    {
        echo "StorePath: /nix/store/$HASH-$1"
        echo "URL: nar/$HASH.nar"
        echo "Compression: none"
        echo "NarHash: sha256:$(nix-hash --type sha256 --flat --base32 "$nar")"
        echo "NarSize: $(stat -c %s "$nar")"
        echo "References: "
    } >"$OUTBOX/$HASH.narinfo"
    chown -R "$(account alice)" "$OUTBOX" && chmod -R g+rX "$OUTBOX"
    chgrp -R "$(account cache)" "$OUTBOX"
}

@test "an outbox of links, fifos, devices, directories, other people's files" {
    local key narinfo nar link
    key=$STATE/keys/$OTHER.key
    HASH=0000000000000000000000000000000a
    refuses() { # TEXT
        run -1 say "$(object bad)" cache alice push
        says "$1"
        says_not "$(cut -d: -f2 "$key")"
    }
    for link in "$key" "$STATE/cache/$OTHER" /etc/passwd /dev/zero "$OUTBOX/other"; do
        leave bad && narinfo=$OUTBOX/$HASH.narinfo nar=$OUTBOX/nar/$HASH.nar
        cp -p "$narinfo" "$OUTBOX/other" && rm "$narinfo" && as alice ln -s "$link" "$narinfo"
        refuses "outbox: a link, or not a regular file"
        leave bad && cp -p "$nar" "$OUTBOX/other" && rm "$nar" && as alice ln -s "$link" "$nar"
        refuses "outbox: a link, or not a regular file"
    done
    leave bad && rm "$narinfo" && as alice mkfifo "$narinfo"
    refuses "outbox: not a regular file of the tenant's"
    leave bad && rm "$nar" && as alice mkfifo "$nar"
    refuses "outbox: not a regular file of the tenant's"
    leave bad && rm "$narinfo" && as alice mkdir "$narinfo"
    refuses "outbox: not a regular file of the tenant's"
    leave bad && chown "$OTHER" "$nar"
    refuses "outbox: not a regular file of the tenant's"
    leave bad && rm -r "$OUTBOX/nar" && as alice ln -s "$STATE/cache/$OTHER/nar" "$OUTBOX/nar"
    refuses "outbox: a link, or not a regular file"
    leave bad && mv "$OUTBOX" "$OUTBOX.moved" && as alice ln -s "$OUTBOX.moved" "$OUTBOX"
    refuses "outbox: the build's directory is none"
    rm -r "$OUTBOX" "$OUTBOX.moved"
    # Twin: who opens it by its name as that account reads the key.
    leave bad && rm "$narinfo" && as alice ln -s "$key" "$narinfo"
    run -0 setpriv --reuid "$(account cache)" --regid "$(account cache)" --init-groups cat "$narinfo"
    says "$(cut -d: -f2 "$key")"
}

@test "a NAR that is another than it says, or changes while it is read" {
    HASH=0000000000000000000000000000000b
    local nar=$OUTBOX/nar/$HASH.nar info=$OUTBOX/$HASH.narinfo
    leave bad 100000 && printf xyz | dd of="$nar" bs=1 seek=5000 conv=notrunc status=none
    run -1 say "$(object bad)" cache alice push
    says "not the NAR that its narinfo says"
    leave bad && sed -i 's/NarSize: .*/NarSize: 99999999999/' "$info"
    run -1 say "$(object bad)" cache alice push
    leave bad && sed -i "s/StorePath: .*/StorePath: \/nix\/store\/$HASH-other/" "$info"
    run -1 say "$(object bad)" cache alice push
    says "outbox: narinfo of another path or form"
    leave bad && echo "Sig: skyflake-$OTHER:AAAA" >>"$info"
    run -1 say "$(object bad)" cache alice push
    leave bad && sed -i "s/^References: /References: $HASH-bad ffffffffffffffffffffffffffffffff-gone/" "$info"
    run -1 say "$(object bad)" cache alice push
    [ ! -e "$STATE/cache/$(account alice)/$HASH.narinfo" ]
    # While somebody writes into it: what is published has the hash that it says, or nothing is.
    leave bad 30000000
    (while printf %s "$RANDOM" | dd of="$nar" bs=1 seek=$((RANDOM * 900)) conv=notrunc status=none; do :; done) 3>&- 2>/dev/null &
    local writer=$!
    run say "$(object bad)" cache alice push
    kill "$writer"
    if [ -e "$STATE/cache/$(account alice)/$HASH.narinfo" ]; then
        local url
        url=$(sed -n 's/^URL: //p' "$STATE/cache/$(account alice)/$HASH.narinfo")
        [ "sha256:$(zstd -dc "$STATE/cache/$(account alice)/$url" | sha256sum | cut -d' ' -f1 | xargs nix-hash --type sha256 --to-base32)" = \
            "$(sed -n 's/^NarHash: //p' "$STATE/cache/$(account alice)/$HASH.narinfo")" ]
    else
        [ "$status" = 1 ]
    fi
    # Twin: who looks first and copies then has something else in the copy.
    leave bad
    local seen
    seen=$(sha256sum <"$nar")
    printf x | dd of="$nar" bs=1 seek=300 conv=notrunc status=none
    [ "$(sha256sum <"$nar")" != "$seen" ]
}
