#!/usr/bin/env bats
# What a tenant's uid, run on the host by itself, can read, write, kill and connect to of others.
# shellcheck disable=SC2016 # words of nix
load ../lib/hostile

setup_file() {
    load ../lib/hostile
    keep_config
    work_tree theirs bob
    flake www='asks { }'
    push main:www
}
setup() { STATE=$SKY_HOST/state BOB=$(account bob); }
teardown() {
    restore_config
    sky-net-setup boundary
    [ ! -e "$BATS_FILE_TMPDIR/server" ] || kill "$(cat "$BATS_FILE_TMPDIR/server")" || true
    rm -f "$BATS_FILE_TMPDIR/server"
}
teardown_file() { drop_machines; }

# denied COMMAND...: alice's uid gets an error, and not for want of the thing.
denied() {
    run as alice "$@"
    [ "$status" -ne 0 ] || { echo "not denied: $*" >&2; false; }
    [[ $output == *"Permission denied"* || $output == *"not permitted"* ]] || { echo "$*: $output" >&2; false; }
}

@test "files: repos, cells, outboxes, builds, locks, cache, keys, deployments, records, machines, volumes, registry" {
    local path
    for path in tenants/"$BOB"/{repos,cell,outbox,builds,locks} cache cache/"$BOB" keys deployments gcroots records volumes/"$BOB" \
        vm/"$BOB".theirs.www store; do
        [ -e "$STATE/$path" ]
        denied ls "$STATE/$path"
        denied touch "$STATE/$path/mine"
    done
    for path in tenants/"$BOB"/repos/theirs.git/HEAD keys/"$BOB".key registry.json deployments/"$BOB"/theirs/www \
        vm/"$BOB".theirs.www/{spec.json,console.log} volumes/"$BOB"/theirs/www/root.img; do
        [ -e "$STATE/$path" ] || { echo "not there: $path" >&2; false; }
        denied cat "$STATE/$path"
    done
    for path in "$STATE" "$STATE/tenants" "$STATE/tenants/$(account alice)" "$STATE/vm" "$SKY_HOST/etc" "$SKY_HOST/usr/bin"; do
        denied touch "$path/mine"
    done
    denied sh -c "echo > $SKY_CONFIG"
    denied mv "$STATE/tenants/$(account alice)/outbox" "$STATE/tenants/$(account alice)/elsewhere"
    denied rm -r "$STATE/tenants/$(account alice)/cell"
    # Twin: the modes are what keeps it out.
    chmod 755 "$STATE/tenants/$BOB/repos" && run as alice cat "$STATE/tenants/$BOB/repos/theirs.git/HEAD"
    chmod 700 "$STATE/tenants/$BOB/repos"
    [ "$status" = 0 ]
    says refs/heads
}

@test "processes: no signal, no environment, no memory, no descriptors" {
    local pid uid
    uid=$(TENANT=bob REPO=theirs machine_uid www)
    as bob sleep 60 3>&- &
    eventually 10 pgrep -u "$BOB" sleep
    for pid in $(pgrep -u "$BOB" sleep) $(processes_of_uid "$uid" | head -n 1) $(processes_of_uid $((uid + 1))) \
        $(pgrep -u root -f "$SKY_HOST/usr/bin/sky-vm-run .*$BOB.theirs.www" | head -n 1); do
        denied kill -KILL "$pid"
        denied cat "/proc/$pid/environ"
        denied ls "/proc/$pid/fd"
        denied ls "/proc/$pid/root/"
        denied nsenter -t "$pid" -m true
        denied dd if="/proc/$pid/mem" of=/dev/null
        [ -d "/proc/$pid" ]
    done
    # Twin: of one's own, all of that works.
    as alice sleep 60 3>&- &
    eventually 10 pgrep -u "$(account alice)" sleep
    pid=$(pgrep -u "$(account alice)" sleep | head -n 1)
    as alice cat "/proc/$pid/environ" >/dev/null
    as alice kill -KILL "$pid"
    pkill -u "$BOB" -x sleep
}

@test "ports: none of the host's, whoever listens; no packet of its own making" {
    local port own address
    own=$(ip -4 -o addr show scope global | awk '{ sub("/.*", "", $4); print $4; exit }')
    python3 -m http.server --bind 0.0.0.0 --directory "$BATS_TEST_TMPDIR" $((SKY_PORT + 2)) >/dev/null 2>&1 3>&- &
    echo $! >"$BATS_FILE_TMPDIR/server" # as Nomad's HTTP, RPC and gossip would be
    eventually 10 curl -sS -o /dev/null "http://127.0.0.1:$((SKY_PORT + 2))/"
    for port in $SKY_PORT $((SKY_PORT + 2)); do
        for address in 127.0.0.1 127.0.0.53 "$own"; do
            run as alice timeout 5 bash -c "exec 5<>/dev/tcp/$address/$port"
            says "No route to host"
        done
    done
    denied python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'
    denied nft list ruleset
    # Twin: without the boundary.
    nft delete table inet "$SKY_PREFIX"
    run -0 as alice curl -sS --max-time 5 "http://$own:$((SKY_PORT + 2))/"
}

word_of() { # TENANT DEPLOYMENT: what its cache holds as the file "part"
    local cache hash
    cache=$STATE/cache/$(account "$1") hash=$(basename "$2")
    rm -rf "$BATS_TEST_TMPDIR/restored"
    zstd -dc "$cache/$(sed -n 's/^URL: //p' "$cache/${hash%%-*}.narinfo")" | nix-store --restore "$BATS_TEST_TMPDIR/restored"
    cat "$BATS_TEST_TMPDIR/restored/part"
}

@test "a cell forges what a store path holds: for itself, and for nobody else" {
    # A derivation of the same name has the same path in both cells; alice's uid writes what it likes into hers.
    local file='from (_: make "skyflake-www" "mkdir $out; echo {} > $out/manifest.json; cp $part $out/part" { part = build "part" "echo true > $out # WHEN"; })'
    file=${file/WHEN/$RANDOM}
    work_tree forge alice
    flake www="$file"
    run -1 push main:www
    local cell deployment nar
    cell=$STATE/tenants/$(account alice)/cell
    deployment=$(jq -re .deployment "$STATE/deployments/$(account alice)/forge/www/$(git rev-parse HEAD).json")
    # Written over, without nix's knowledge: what goes to the outbox is compared with what nix built.
    as alice chmod -R u+w "$cell$deployment"
    as alice sh -c "echo false > $cell$deployment/part"
    rm -rf "$STATE/cache/$(account alice)"
    git commit -q --allow-empty -m "again"
    run -1 push main:www
    refused www "'$(basename "$deployment")' in the ce"
    # With nix's knowledge: its database says that the forged bytes are the ones. It is alice's cell, and hers is a lie.
    nar=$BATS_TEST_TMPDIR/nar
    nix-store --dump "$cell$deployment" >"$nar"
    as alice python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("update ValidPaths set hash = ?, narSize = ? where path = ?", sys.argv[2:])
db.commit()' "$cell/nix/var/nix/db/db.sqlite" "sha256:$(sha256sum <"$nar" | cut -d' ' -f1)" "$(stat -c %s "$nar")" "$deployment"
    git commit -q --allow-empty -m "and again"
    run -1 push main:www # its manifest is none
    [ "$(word_of alice "$deployment")" = false ]
    # Bob builds the same path: his is true.
    work_tree forge bob
    flake www="$file"
    run -1 push main:www
    [ "$(jq -re .deployment "$STATE/deployments/$BOB/forge/www/$(git rev-parse HEAD).json")" = "$deployment" ]
    [ "$(word_of bob "$deployment")" = true ]
    [ ! -e "$deployment" ] # and the host's own store, if it has one, has neither
    # Twin: in one store for both, what lies under that name is what the other gets: bob's cell is alice's.
    mv "$STATE/tenants/$BOB/cell/nix" "$STATE/tenants/$BOB/cell/nix.bobs"
    cp -a "$cell/nix" "$STATE/tenants/$BOB/cell/nix" && chown -R "$BOB" "$STATE/tenants/$BOB/cell/nix"
    rm -rf "$STATE/cache/$BOB"
    git commit -q --allow-empty -m "again"
    run -1 push main:www
    [ "$(word_of bob "$deployment")" = false ]
    rm -rf "$STATE/tenants/$BOB/cell/nix" && mv "$STATE/tenants/$BOB/cell/nix.bobs" "$STATE/tenants/$BOB/cell/nix"
}
