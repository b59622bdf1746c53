#!/usr/bin/env bats
# sky-cache-push by itself: root speaks for the tenant, accounts that every Debian has stand in for the service accounts.

setup() {
    # shellcheck source=test/cli/cache-lib.bash
    source "$BATS_TEST_DIRNAME/cache-lib.bash"
    [ "$(id -u)" = 0 ] || skip "needs root: it becomes the service account"
    make_state
    put_closure
}

teardown() { [ -z "${top:-}" ] || remove_state; }

error_text() { jq -r '.error | "\(.stage) \(.code) \(.text)"' <<<"$output"; }

nothing_published() {
    [ -z "$(find "$cache" -name '*.narinfo' -o -name '*.nar.zst')" ]
    [ -z "$(find "$state/deployments" -type f)" ]
    [ -z "$(find "$cache/tmp" -mindepth 1)" ]
}

@test "push: paths, signatures, root and record; the object passes with its unknown keys" {
    run push
    [ "$status" = 0 ]
    [ "$(jq -c '[.cached, .extra, .machine]' <<<"$output")" = '[true,{"kept":[1]},"www"]' ]
    [ "$(cat "$top/stderr")" = "       www: 3 paths, 3 new, 0.3 MiB" ]
    [ "$(record | jq -c '[.v, .tenant, .repo, .machine, .rev, .build, .deployment, (.closure | length)]')" = \
        "[1,\"alice\",\"infra\",\"www\",\"$REV\",\"$BUILD\",\"$DEPLOYMENT\",3]" ]
    [ "$(record | jq -c .manifest)" = '{"v":1,"vcpu":1,"x":[1,2.5,"é"]}' ]
    [ "$(record | jq -r ".closure[] | select(.path == \"$DEP\") | .nar_hash")" = \
        "$(sed -n 's/^NarHash: //p' "$outbox/${HASH}2.narinfo")" ]
    [ "$(jq -c '.roots | map([.rev, .deployment])' "$state/gcroots/alice/infra/www")" = "[[\"$REV\",\"$DEPLOYMENT\"]]" ]
    [ "$(stat -c '%U:%G %a' "$state/deployments/alice/infra/www/$REV.json")" = "nobody:www-data 640" ]
    [ "$(stat -c '%U %a' "$state/keys/alice.key" "$cache" | xargs)" = "nobody 600 nobody 700" ]
}

@test "plain nix reads the cache, and only with the tenant's key" {
    run push
    [ "$status" = 0 ]
    nix_copy() { # KEY
        nix --extra-experimental-features nix-command copy --from "file://$cache" --to "local?root=$top/nix" \
            --option trusted-public-keys "$1" "$DEPLOYMENT"
    }
    run nix_copy "skyflake-alice:$(head -c 32 /dev/zero | base64)"
    [ "$status" != 0 ]
    [[ $output == *"lacks a valid signature"* ]]
    run nix_copy "$(cat "$state/keys/alice.pub")"
    [ "$status" = 0 ]
    diff -r "$top/www" "$top/nix$DEPLOYMENT"
    [ "$(readlink "$top/nix$DEP/link")" = "$PLAIN/file" ]
    [ "$(nix-store --store "local?root=$top/nix" -qR "$DEPLOYMENT" | wc -l)" = 3 ]
}

@test "a second push of the same changes nothing; another deployment of the revision replaces the record" {
    push
    local before
    before=$(find "$cache" "$state/deployments" -type f ! -name lock -printf '%p %T@ %i\n' | sort)
    BUILD=01j8000000000001 run push
    [ "$status" = 0 ]
    [ "$(cat "$top/stderr")" = "       www: 3 paths, 0 new, 0.0 MiB" ]
    [ "$before" = "$(find "$cache" "$state/deployments" -type f ! -name lock -printf '%p %T@ %i\n' | sort)" ]
    put "/nix/store/${HASH}4-skyflake-www" "$top/www"
    run push www "$REV" "/nix/store/${HASH}4-skyflake-www"
    [ "$status" = 0 ]
    [ "$(record | jq '.closure | length')" = 1 ]
    [ "$(jq '.roots | length' "$state/gcroots/alice/infra/www")" = 1 ]
}

@test "missing: says what the cache lacks" {
    push
    run "$SKY_BIN/sky-cache-push" missing --tenant alice <<<"{\"v\":1,\"paths\":[\"$DEP\",\"/nix/store/${HASH}9-x\"]}"
    [ "$status" = 0 ]
    [ "$output" = "{\"missing\":[\"/nix/store/${HASH}9-x\"],\"v\":1}" ]
    rm "$cache/$(nar_of "${HASH}2")"
    run "$SKY_BIN/sky-cache-push" missing --tenant alice <<<"{\"v\":1,\"paths\":[\"$DEP\"]}"
    [[ ${lines[0]} == *"'$cache/${HASH}2.narinfo': its 'nar/"*"No such file or directory (a push brings it anew)" ]]
    [ "${lines[1]}" = "{\"missing\":[\"$DEP\"],\"v\":1}" ]
}

@test "missing with check: a NAR of which a bit flipped is missing, its narinfo goes" {
    push
    printf '\xff' | dd of="$cache/$(nar_of "${HASH}2")" bs=1 seek=100000 conv=notrunc status=none
    local asked="\"paths\":[\"$DEP\"],\"v\":1"
    run "$SKY_BIN/sky-cache-push" missing --tenant alice <<<"{$asked}"
    [ "$output" = '{"missing":[],"v":1}' ]
    run "$SKY_BIN/sky-cache-push" missing --tenant alice <<<"{\"check\":true,$asked}"
    [ "${lines[-1]}" = "{\"missing\":[\"$DEP\"],\"v\":1}" ]
    [ ! -e "$cache/${HASH}2.narinfo" ]
    run push
    [ "$(cat "$top/stderr")" = "       www: 3 paths, 1 new, 0.3 MiB" ]
}

@test "missing: a path that is none, an unknown key, another's name are refused" {
    run "$SKY_BIN/sky-cache-push" missing --tenant alice <<<'{"v":1,"paths":["/etc/passwd"]}'
    [ "$status" = 65 ]
    run "$SKY_BIN/sky-cache-push" missing --tenant alice <<<'{"v":1,"paths":[],"more":1}'
    [ "$status" = 65 ]
    [[ $output == *"more: unknown key"* ]]
    run "$SKY_BIN/sky-cache-push" missing --tenant bob <<<'{"v":1,"paths":[]}'
    [ "$status" = 77 ]
}

@test "only what is missing has to be in the outbox" {
    push
    rm "$outbox"/*2.narinfo "$outbox"/nar/*2.nar
    put "/nix/store/${HASH}4-skyflake-www" "$top/www" "$DEP"
    run push www "${REV/a/b}" "/nix/store/${HASH}4-skyflake-www"
    [ "$status" = 0 ]
    [ "$(cat "$top/stderr")" = "       www: 3 paths, 1 new, 0.0 MiB" ]
}

@test "an object with an error passes untouched, others go on, and the exit code tells" {
    local failed='{"v":1,"repo":"infra","machine":"db","error":{"stage":"eval","code":65,"text":"no"}}'
    run bash -c "{ echo '$failed'; echo '$(object)'; } | $SKY_BIN/sky-cache-push --tenant alice 2>/dev/null"
    [ "$status" = 1 ]
    [ "$(jq -cS . <<<"${lines[0]}")" = "$(jq -cS . <<<"$failed")" ]
    [ "$(jq -c .cached <<<"${lines[1]}")" = true ]
}

@test "each object is answered while the pipe is still open" {
    coproc STAGE { "$SKY_BIN/sky-cache-push" push --tenant alice 2>"$top/stderr"; }
    local input=${STAGE[1]} stage=$STAGE_PID # bash forgets them when it has ended
    object >&"$input"
    read -r -t 20 answer <&"${STAGE[0]}"
    [ "$(jq .cached <<<"$answer")" = true ]
    exec {input}>&-
    wait "$stage"
}

@test "the stage quits when nobody reads its answers any more, though its input stays open" {
    mkfifo "$top/in" "$top/out"
    "$SKY_BIN/sky-cache-push" push --tenant alice <"$top/in" >"$top/out" 2>"$top/stderr" 3>&- &
    local pid=$!
    exec 8>"$top/in" 9<"$top/out"
    exec 9<&-
    run timeout 20 tail --pid="$pid" -f /dev/null
    exec 8>&-
    [ "$status" = 0 ]
    local code=0
    wait "$pid" || code=$?
    [ "$code" = 74 ]
    grep -q "the reader has gone" "$top/stderr"
}

@test "what is no name is refused before anything is written" {
    local key value
    for key in repo machine rev build deployment; do
        for value in ../x "" /etc/passwd "x y" "$(printf 'a%.0s' {1..300})"; do
            run bash -c "jq -c --arg v '$value' '.$key = \$v' <<<'$(object)' | $SKY_BIN/sky-cache-push --tenant alice 2>/dev/null"
            [ "$status" = 1 ]
            [ "$(jq -r '.error.stage' <<<"$output")" = cache ]
            [ "$(jq -r '.error.text | length <= 60' <<<"$output")" = true ]
            [ "$(jq -r '.extra.kept[0]' <<<"$output")" = 1 ]
        done
    done
    [ ! -e "$cache" ]
}

@test "a closure that is not whole is refused, and nothing of it is published" {
    rm "$outbox"/*2.narinfo
    run push
    [ "$status" = 1 ]
    [ "$(error_text)" = "cache 65 the closure lacks 'dep'" ]
    nothing_published
}

@test "a NAR with other bytes than its narinfo says is refused" {
    printf x | dd of="$outbox/nar/${HASH}2.nar" bs=1 seek=200000 conv=notrunc status=none
    run push
    [ "$status" = 1 ]
    [ "$(error_text)" = "cache 65 'dep': not the NAR that its narinfo says (push again)" ]
    nothing_published
}

@test "a NAR that is cut short or has bytes after its end is refused" {
    truncate -s -8 "$outbox/nar/${HASH}2.nar"
    run push
    [ "$(error_text)" = "cache 65 'dep': bad NAR: it ends too early (push again)" ]
    nothing_published
    put "$DEP" "$top/dep" "$PLAIN"
    head -c 8 /dev/zero >>"$outbox/nar/${HASH}2.nar"
    run push
    [ "$status" = 1 ]
    [[ $(error_text) == "cache 65 'dep': bad NAR: "* ]]
    nothing_published
}

@test "the outbox: links, fifos, directories, files of others are not opened" {
    local nar=$outbox/nar/${HASH}2.nar
    mv "$nar" "$top/secret"
    ln -s "$top/secret" "$nar"
    run push
    [ "$(error_text)" = "cache 65 outbox: a link, or not a regular file" ]
    rm "$nar" && mkfifo "$nar" && chown "$TENANT_UID" "$nar"
    run timeout 20 bash -c "$(declare -f push object); REV=$REV BUILD=$BUILD DEPLOYMENT=$DEPLOYMENT SKY_BIN=$SKY_BIN top=$top; push"
    [ "$(error_text)" = "cache 65 outbox: not a regular file of the tenant's" ]
    rm "$nar" && mkdir "$nar"
    run push
    [ "$(error_text)" = "cache 65 outbox: not a regular file of the tenant's" ]
    rmdir "$nar" && cp "$top/secret" "$nar"
    run push # root's file
    [ "$(error_text)" = "cache 65 outbox: not a regular file of the tenant's" ]
    chown "$TENANT_UID" "$nar"
    mv "$outbox/nar" "$top/nar"
    ln -s "$top/nar" "$outbox/nar"
    run push
    [ "$(error_text)" = "cache 65 outbox: a link, or not a regular file" ]
    nothing_published
    rm "$outbox/nar" && mv "$outbox" "$top/elsewhere" && ln -s "$top/elsewhere" "$outbox"
    run push
    [ "$(error_text)" = "cache 65 outbox: the build's directory is none" ]
    nothing_published
}

@test "a tenant that rewrites its NAR meanwhile gets a refusal or what the narinfo says" {
    head -c 20000000 /dev/urandom >"$top/dep/large"
    put "$DEP" "$top/dep" "$PLAIN"
    local nar=$outbox/nar/${HASH}2.nar
    while :; do printf 'changed!' | dd of="$nar" bs=8 seek=$((RANDOM * 70)) conv=notrunc status=none; done 3>&- &
    local writer=$!
    run push
    kill "$writer"
    wait "$writer" || true
    if [ "$status" = 0 ]; then
        nix-store --dump "$top/dep" >"$top/want"
        zstd -dqc "$cache/$(nar_of "${HASH}2")" | cmp - "$top/want"
    else
        [ "$(error_text)" = "cache 65 'dep': not the NAR that its narinfo says (push again)" ] || [[ $(error_text) == "cache 65 'dep': bad NAR"* ]]
        nothing_published
    fi
}

@test "the narinfo: another path, another URL, a signature are refused" {
    local info=$outbox/${HASH}2.narinfo good
    good=$(cat "$info")
    for edit in 's/^StorePath: .*/StorePath: \/nix\/store\/00000000000000000000000000000002-other/' \
        's/^URL: .*/URL: nar\/..\/..\/x.nar/' "\$aSig: skyflake-alice:AAAA" 's/^NarSize: .*/NarSize: 1/' \
        's/^Compression: none/Compression: xz/'; do
        sed -i "$edit" "$info"
        run push
        [ "$status" = 1 ]
        [[ $(error_text) == "cache 65 "* ]]
        echo "$good" >"$info"
    done
    nothing_published
}

@test "the manifest: missing, a link, twice the same key, too large, no object" {
    local file=$top/www/manifest.json
    again() {
        rm -rf "$cache"
        put "$DEPLOYMENT" "$top/www"
        run push
        [ "$status" = 1 ]
    }
    rm "$file"
    again
    [ "$(error_text)" = "cache 65 the deployment has no file manifest.json" ]
    ln -s /etc/passwd "$file"
    again
    [ "$(error_text)" = "cache 65 the deployment has no file manifest.json" ]
    rm "$file" && echo '{"v":1,"v":2}' >"$file"
    again
    [ "$(error_text)" = "cache 65 manifest.json: key 'v' stands there twice" ]
    head -c 1048577 /dev/zero >"$file"
    again
    [ "$(error_text)" = "cache 65 manifest.json is larger than 1048576 bytes" ]
    echo '[]' >"$file"
    again
    [ "$(error_text)" = "cache 65 manifest.json: expected an object" ]
    [ -z "$(find "$state/deployments" -type f)" ]
}

@test "the quota: bytes in the cache, and the closure unpacked" {
    head -c 2000000 /dev/urandom >"$top/dep/large"
    put "$DEP" "$top/dep" "$PLAIN"
    write_config 1
    run push
    [ "$status" = 1 ]
    [ "$(error_text)" = "cache 77 quota: the closure is larger than 1 MiB" ]
    nothing_published
    rm "$top/dep/large"
    head -c 600000 /dev/urandom >"$top/dep/random"
    put "$DEP" "$top/dep" "$PLAIN"
    push
    put "/nix/store/${HASH}4-dep" "$top/dep"
    put "/nix/store/${HASH}5-skyflake-www" "$top/www" "/nix/store/${HASH}4-dep"
    head -c 700000 /dev/urandom >"$top/dep/random"
    put "/nix/store/${HASH}4-dep" "$top/dep"
    run push www "${REV/a/b}" "/nix/store/${HASH}5-skyflake-www"
    [ "$status" = 1 ]
    [[ $(error_text) == "cache 77 quota: the cache is full"* ]]
    [ ! -e "$cache/${HASH}4.narinfo" ]
}

@test "a storage that is not there is exit 69, a tenant that is none 77, none named 64" {
    run bash -c "echo '$(object)' | $SKY_BIN/sky-cache-push"
    [ "$status" = 1 ]
    [ "$(jq .error.code <<<"${lines[-1]}")" = 64 ]
    run bash -c "echo '$(object)' | $SKY_BIN/sky-cache-push --tenant bob 2>/dev/null"
    [ "$(jq .error.code <<<"$output")" = 77 ]
    mv "$state/storage.json" "$top/away"
    run bash -c "echo '$(object)' | $SKY_BIN/sky-cache-push --tenant alice"
    [ "$status" = 69 ]
    [ ! -e "$cache" ]
}

@test "a tenant crosses by exactly the line that sudoers allows" {
    shared_bin
    printf '#!/bin/sh\nprintf "%%s\\n" "$*"\n' >"$top/sudo"
    chmod 0755 "$top/sudo"
    run setpriv --reuid "$TENANT_UID" --regid nogroup --clear-groups "$SKY_BIN/sky-cache-push" </dev/null
    [ "$status" = 0 ]
    [ "$output" = "-n -u nobody -- $SKY_BIN/sky-cache-push --config $SKY_CONFIG push" ]
    run setpriv --reuid "$TENANT_UID" --regid nogroup --clear-groups "$SKY_BIN/sky-cache-push" missing </dev/null
    [ "$output" = "-n -u nobody -- $SKY_BIN/sky-cache-push --config $SKY_CONFIG missing" ]
    run setpriv --reuid "$TENANT_UID" --regid nogroup --clear-groups "$SKY_BIN/sky-cache-push" missing --tenant bob </dev/null
    [ "$status" = 64 ]
    [[ $output == *"options of a verb are for root"* ]]
}

@test "behind sudo a tenant is who SUDO_UID says, and speaks for nobody else" {
    shared_bin
    run as_account_for "$TENANT_UID" push <<<"$(object)"
    [ "$status" = 0 ]
    record | jq -e '.tenant == "alice"'
    run as_account_for "$TENANT_UID" push <<<"$(object | jq -c '.tenant = "bob"')"
    [ "$status" = 1 ]
    [ "$(jq -r .error.code <<<"${lines[-1]}")" = 77 ]
    run as_account_for "$TENANT_UID" --tenant bob push <<<"$(object)"
    [ "$status" = 77 ]
    run as_account_for "$TENANT_UID" gc
    [ "$status" = 77 ]
    run as_account_for 4 push <<<"$(object)"
    [ "$status" = 77 ]
}

@test "gc: keeps what is wanted, sweeps the rest; dry-run changes nothing" {
    push
    put "/nix/store/${HASH}4-skyflake-www" "$top/www" "$PLAIN"
    push www "${REV//a/b}" "/nix/store/${HASH}4-skyflake-www"
    mkdir -p "$state/records/alice/infra"
    local record=$state/records/alice/infra/www.json
    echo "{\"v\":1,\"rev\":\"${REV//a/b}\",\"want\":\"running\",\"pin\":null,\"did\":{\"rev\":\"${REV//a/b}\"}}" >"$record"
    touch "$state/records/alice/.lock" "$state/records/alice/infra/www.lock" # the deploy account's
    gc() { "$SKY_BIN/sky-cache-push" gc "$@"; }
    snapshot() { find "$state" ! -name lock -printf '%p %m %s %T@ %C@\n' | sort; }
    local before
    before=$(snapshot)
    gc --grace 0 --keep 1 --dry-run
    echo "{\"v\":1,\"paths\":[\"$PLAIN\"]}" | "$SKY_BIN/sky-cache-push" --tenant alice missing --dry-run
    object www "$REV" | "$SKY_BIN/sky-cache-push" --tenant alice push --dry-run >/dev/null
    [ "$(snapshot)" = "$before" ]
    run gc # all is young
    [ "$(jq -c '[.paths, .removed_paths, .removed_records]' <<<"$output")" = '[4,0,0]' ]
    run gc --grace 0 --keep 1 --dry-run
    [ "$(jq -c '[.paths, .removed_paths, .removed_records]' <<<"$output")" = '[2,2,1]' ]
    [ -e "$cache/${HASH}2.narinfo" ]
    run gc --grace 0 --keep 1
    [ "$status" = 0 ]
    [ "$(jq -c '[.paths, .removed_paths, .removed_records]' <<<"$output")" = '[2,2,1]' ]
    [ ! -e "$cache/${HASH}1.narinfo" ]
    [ ! -e "$cache/${HASH}2.narinfo" ]
    [ -e "$cache/${HASH}3.narinfo" ]
    [ -e "$cache/$(nar_of "${HASH}4")" ]
    [ "$(find "$cache/nar" -type f | wc -l)" = 2 ]
    [ ! -e "$state/deployments/alice/infra/www/$REV.json" ]
    [ "$(jq '.roots | length' "$state/gcroots/alice/infra/www")" = 1 ]
    run push # and what went comes again
    [ "$status" = 0 ]
    [ "$(cat "$top/stderr")" = "       www: 3 paths, 2 new, 0.3 MiB" ]
}

@test "gc: what a machine pins or runs stays, however old; a deploy record that can not be read sweeps nothing" {
    push
    put "/nix/store/${HASH}4-skyflake-www" "$top/www"
    push www "${REV//a/b}" "/nix/store/${HASH}4-skyflake-www"
    mkdir -p "$state/records/alice/infra"
    local record=$state/records/alice/infra/www.json
    echo '{"v":1,' >"$record"
    run "$SKY_BIN/sky-cache-push" gc --grace 0
    [ "$status" != 0 ]
    [ -e "$cache/${HASH}1.narinfo" ]
    echo "{\"v\":1,\"rev\":\"${REV//a/b}\",\"pin\":{\"rev\":\"$REV\",\"why\":\"x\"},\"did\":{\"rev\":\"$REV\"}}" >"$record"
    run "$SKY_BIN/sky-cache-push" gc --grace 0 --keep 1
    [ "$(jq -c '[.paths, .removed_paths]' <<<"$output")" = '[4,0]' ]
    echo '{"v":1,"rev":null,"pin":null,"did":{"rev":null}}' >"$record"
    mkdir -p "$state/vm/alice.infra.www" # the branch is gone, the machine not yet
    echo "{\"v\":1,\"spec\":{\"rev\":\"$REV\"}}" >"$state/vm/alice.infra.www/running.json"
    run "$SKY_BIN/sky-cache-push" gc --grace 0
    [ "$(jq -c '[.paths, .removed_paths, .removed_records]' <<<"$output")" = '[3,1,1]' ]
    [ -e "$cache/${HASH}1.narinfo" ]
    rm "$state/vm/alice.infra.www/running.json"
    run "$SKY_BIN/sky-cache-push" gc --grace 0
    [ "$(jq -c '[.paths, .removed_paths, .removed_records]' <<<"$output")" = '[0,3,1]' ]
}

@test "gc --check: a bit that flipped is found, and the next push brings the path again" {
    push
    printf '\xff' | dd of="$cache/$(nar_of "${HASH}2")" bs=1 seek=100000 conv=notrunc status=none
    run bash -c "$SKY_BIN/sky-cache-push gc --check 2>/dev/null"
    [ "$(jq -c '[.paths, .removed_paths]' <<<"$output")" = '[2,1]' ]
    run push
    [ "$status" = 0 ]
    [ "$(cat "$top/stderr")" = "       www: 3 paths, 1 new, 0.3 MiB" ]
    run bash -c "$SKY_BIN/sky-cache-push gc --check"
    [ "$(jq -c '[.paths, .removed_paths]' <<<"$output")" = '[3,0]' ]
}

@test "a push that was killed leaves nothing that the next one does not finish" {
    head -c 8000000 /dev/urandom >"$top/dep/large"
    put "$DEP" "$top/dep" "$PLAIN"
    local n
    for n in 1 2 3 4 5 6; do
        object | timeout -s KILL "0.0$n" "$SKY_BIN/sky-cache-push" push --tenant alice >/dev/null 2>&1 || true
        # whoever reads the cache now finds whole paths or none
        local info
        for info in "$cache"/*.narinfo; do
            [ ! -e "$info" ] || zstd -tq "$cache/$(sed -n 's/^URL: //p' "$info")"
        done
    done
    run push
    [ "$status" = 0 ]
    [ -z "$(find "$cache/tmp" -mindepth 1)" ]
    [ "$(find "$cache/nar" -type f | wc -l)" -ge 3 ]
    record | jq -e '.closure | length == 3'
}

@test "pushes of several machines at once share a cache" {
    local m pids
    for _ in 1 2 3 4 5; do
        rm -rf "$cache" "$state/deployments/alice"
        pids=()
        for m in a b c d e f; do
            object $m | "$SKY_BIN/sky-cache-push" push --tenant alice >"$top/out.$m" 2>"$top/err.$m" 3>&- &
            pids+=($!)
        done
        for m in "${pids[@]}"; do wait "$m"; done
        for m in a b c d e f; do
            [ "$(jq .cached "$top/out.$m")" = true ]
            record $m >/dev/null
        done
        [ "$(find "$cache" -name '*.narinfo' | wc -l)" = 3 ]
        [ -z "$(find "$cache/tmp" -mindepth 1)" ]
    done
}

@test "--help, --version, a wrong command line, dry-run" {
    run "$SKY_BIN/sky-cache-push" --help
    [ "$status" = 0 ]
    [[ $output == *"sky-cache-push gc --dry-run"* ]]
    run "$SKY_BIN/sky-cache-push" --version
    [ "$status" = 0 ]
    [[ $output == "sky-cache-push "* ]]
    run "$SKY_BIN/sky-cache-push" --nonsense
    [ "$status" = 64 ]
    run bash -c "echo '$(object)' | $SKY_BIN/sky-cache-push --tenant alice --dry-run 2>&1 >/dev/null"
    [ "$status" = 0 ]
    [ "$output" = "       www: 3 paths, 0 new, 0.0 MiB" ]
    [ ! -e "$cache" ]
}
