#!/usr/bin/env bats
# sky-build by itself, as a tenant's uid, with real cells and both versions of nix.

setup_file() {
    bats_require_minimum_version 1.5.0
    [ "$(id -u)" = 0 ] || skip "cells are tried as a tenant's uid: needs root"
    load build-lib
    make_host 2.26
    export top state tenant
}
setup() {
    load build-lib
    cd "$top" || return
}
teardown_file() {
    load build-lib
    [ -z "${top:-}" ] || remove_host
}

# The lines of stdout, and stderr in $top/err.
push() { # MACHINE...
    lines "$@" | build 2>"$top/err"
}
of() { # MACHINE FILTER: of the lines in $output
    jq -r --arg m "$1" 'select(.machine == $m) | '"$2" <<<"$output"
}
says() { grep -qF -- "$1" "$top/err"; }

@test "machines of one push: each gets its own verdict, keys that nobody knows pass" {
    flake '{ www = { text = nixpkgs.lib.greet "www"; }; db = { run = "echo no room; exit 3"; };
        bad = throw "flaky one is broken"; over = { }; }'
    run -1 push www db bad nope over
    [ "$(wc -l <<<"$output")" = 5 ]
    [[ $(of www .deployment) =~ ^/nix/store/[0-9a-z]{32}-skyflake-www$ ]]
    [ "$(of www .extra.kept)" = true ]
    [ "$(of www .error)" = null ]
    [ "$(of db .error.stage)" = build ]
    [ "$(of db .error.text)" = "builder for 'skyflake-db.drv' failed with exit code 3" ]
    [ "$(of bad .error.stage)" = eval ]
    [ "$(of bad .error.text)" = "flaky one is broken" ]
    [ "$(of nope .error.text)" = "no nixosConfigurations.nope in this flake" ]
    [ "$(of nope .error.code)" = 65 ]
    [ "$(of over .error.stage)" = admit ]
    [ "$(of over .error.text)" = "9 machines asked, 8 allowed" ]
    says "machines in this flake: bad, db, over, www"
    says "git push <remote> HEAD:bad"
    says "no room"
    says "nixpkgs: not locked by the flake,"
    [ "$(awk 'length > 72' "$top/err")" = "" ]
}

@test "the log of a machine is kept under the build's id" {
    grep -q "no room" "$tenant/builds/01j8000000000000/db.log"
    grep -q "no nixosConfigurations.nope" "$tenant/builds/01j8000000000000/nope.log"
    [ "$(stat -c '%a %u' "$tenant/builds/01j8000000000000")" = "700 $TENANT_UID" ]
}

@test "the outbox holds the closure as a binary cache that the cache account's group can read" {
    local box=$tenant/outbox/01j8000000000000 deployment part
    [ "$(stat -c '%a %G' "$box")" = "2750 games" ]
    [ "$(stat -c '%a %G' "$box"/*.narinfo | sort -u)" = "640 games" ]
    [ "$(stat -c '%a %G' "$box"/nar/*.nar | sort -u)" = "640 games" ]
    for info in "$box"/*.narinfo; do grep -qx 'Compression: none' "$info"; done
    deployment=$(grep -l 'StorePath: .*-skyflake-www$' "$box"/*.narinfo)
    part=$(sed -n 's/^References: //p' "$deployment")
    grep -q "^StorePath: /nix/store/$part\$" "$box/${part%%-*}.narinfo"
    for info in "$box"/*.narinfo; do
        [ "sha256:$(nix-hash --type sha256 --flat --base32 "$box/$(sed -n 's/^URL: //p' "$info")")" = \
            "$(sed -n 's/^NarHash: //p' "$info")" ]
    done
}

@test "the result is a root of the cell's store" {
    [[ $(readlink "$tenant/cell/nix/var/nix/gcroots/sky/infra.www") =~ -skyflake-www$ ]]
}

@test "the same commit again evaluates nothing, and what the cache has is not left for it" {
    rm -rf "$tenant/outbox/01j8000000000000"
    touch "$top/cached"
    run -0 push www
    rm "$top/cached"
    says "same inputs as before"
    run ! says "evaluating"
    [ -z "$(ls "$tenant/outbox/01j8000000000000/nar")" ]
}

@test "a branch that was there before: memory is relied on and nobody asked, unless it is to be checked" {
    local rev path
    rev=$(cat "$top/rev") path=$(readlink "$tenant/cell/nix/var/nix/gcroots/sky/infra.www")
    again() { lines www | jq -c --arg rev "$rev" '.old = $rev'"$1" | build 2>"$top/err"; }
    : >"$top/asked"
    rm -rf "$tenant/outbox/01j8000000000000"
    run -0 again ''
    [ "$(of www '[.deployment, .known]|@json')" = "[\"$path\",true]" ]
    [ -z "$(cat "$top/asked")" ]
    [ -z "$(ls "$tenant/outbox/01j8000000000000/nar")" ]
    run -0 again ' | .check = true'
    [ "$(of www '[.deployment, .known]|@json')" = "[\"$path\",null]" ]
    [ "$(sort "$top/asked" | xargs)" = "identity missing" ]
    [ -n "$(ls "$tenant/outbox/01j8000000000000/nar")" ]
}

@test "an operator may empty a cell's store at any time: what is remembered of it is no longer" {
    local path
    run -0 push www
    path=$(of www .deployment)
    chmod -R u+w "$tenant/cell/nix"
    rm -rf "$tenant/cell/nix"
    run -0 push www
    says "evaluating"
    [ "$(of www .deployment)" = "$path" ]
    [ -e "$tenant/cell$path/manifest.json" ]
    run -0 push www
    says "same inputs as before"
}

@test "machines of one push are built side by side, and each step is told when it comes" {
    flake '{ www = { run = "sleep 12"; }; db = { run = "sleep 12"; }; }'
    run -0 push www db
    # Both were being built before the first had ended.
    [ "$(grep -nE ' (building|built)$' "$top/err" | head -n 2 | grep -c ' building$')" = 2 ]
    [ "$(grep -cE ' built$' "$top/err")" = 2 ]
}

branch_too() { # BRANCH: beside main
    chown -R root:root "$tenant/repos/infra.git"
    git -C "$top/work" push -q -f "$tenant/repos/infra.git" "HEAD:$1"
    chown -R "$TENANT_UID:$TENANT_UID" "$tenant/repos/infra.git"
}

@test "gc: what neither a machine with a branch nor the operator's trees need goes, and not from under a build" {
    local old new db cell=$tenant/cell
    flake '{ www = { text = "first"; }; db = { text = "db"; }; }'
    branch_too www
    run -0 push www db
    old=$(of www .deployment) db=$(of db .deployment)
    flake '{ www = { text = "second"; }; db = { text = "db"; }; }'
    run -0 push www
    new=$(of www .deployment)
    run -0 build gc --dry-run --json
    jq -e '.tenant == "alice" and .removed_paths > 2' <<<"$output"
    jq -e '.removed_roots >= 1' <<<"$output" # db has no branch
    [ -e "$cell$old" ]
    [ -h "$cell/nix/var/nix/gcroots/sky/infra.db" ]
    run -0 build gc
    [[ $output =~ ^alice:\ [0-9]+\ store\ paths\ and\ [0-9]+\ roots\ of\ the\ cell\ went$ ]]
    [ ! -e "$cell$old" ]
    [ ! -e "$cell$db" ]
    [ -e "$cell$new/manifest.json" ]
    for each in nixpkgs microvm guest; do [ -e "$cell$(readlink "$cell/nix/var/nix/gcroots/sky-inputs/$each")" ]; done
    [ "$(ls "$cell/nix/var/nix/gcroots/sky")" = infra.www ]
    run -0 build gc --json
    [ "$(jq -c '[.removed_paths, .removed_roots]' <<<"$output")" = '[0,0]' ]
    run -0 push www db
    says "same inputs as before" # www
    [ "$(of db .deployment)" = "$db" ] # and what went is built again
    exec 7<"$cell/lock"
    flock -s 7 # as a build does
    run -75 build gc
    [[ $output == *"alice: a build is on"* ]]
    exec 7<&-
    run -64 build gc --repo infra
}

@test "a machine on the command line is the same object, with an id of its own" {
    local id
    run -0 --separate-stderr build --repo infra.git --rev main www
    [ "$(of www .rev)" = "$(cat "$top/rev")" ]
    [ "$(of www .repo)" = infra ]
    id=$(of www .build)
    [[ $id =~ ^[0-9a-v]{16}$ ]]
    [ -d "$tenant/outbox/$id" ]
}

@test "a revision is an id, a branch or HEAD, and nothing that git would make of it" {
    local bad
    for bad in nope 'main^' 'HEAD~0' '@' ':/x' '../heads/main' 'main@{0}'; do
        run -65 build --repo infra --rev "$bad" www
        [[ $output == *"no commit '"* ]]
    done
    run -64 build --repo infra
    run -65 build --repo ../infra www
    run -65 build --repo infra -- '-x'
    run -77 build --repo other www
}

@test "a line that is wrong names the key and builds nothing" {
    run -65 build <<<'{"v":1,"repo":"infra","machine":"../x","rev":"HEAD","build":"x"}'
    run -65 build <<<'{"v":1,"machine":"www"}'
    [[ $output == *line.repo* ]]
    run -65 build <<<'nonsense'
}

@test "an object with an error passes untouched" {
    local object='{"error":{"code":65,"stage":"eval","text":"x"},"odd":[1],"v":1}'
    run -0 build <<<"$object"
    [ "$output" = "$object" ]
}

@test "--dry-run says what would be built and touches nothing" {
    local before
    before=$(find "$tenant" -printf '%p %T@\n' | sort | sha256sum)
    run -0 build --repo infra --rev main --dry-run www
    [[ $output == "alice/infra/www: would build "* ]]
    run -0 build --repo infra --dry-run --json www
    [ "$(jq -r .machine <<<"$output")" = alice/infra/www ]
    [ "$before" = "$(find "$tenant" -printf '%p %T@\n' | sort | sha256sum)" ]
}

@test "a commit without flake.nix, and one with a submodule, are refused with a sentence" {
    flake '{ }'
    git -C "$top/work" rm -q --cached flake.nix
    rm "$top/work/flake.nix"
    git -C "$top/work" -c user.name=a -c user.email=a@b commit -q -m none
    publish
    run -1 push www
    [ "$(of www .error.text)" = "no flake.nix at the top of this commit" ]
    git -C "$top/work" update-index --add --cacheinfo "160000,$(cat "$top/rev"),sub"
    git -C "$top/work" -c user.name=a -c user.email=a@b commit -q -m sub
    publish
    run -1 push www
    [[ $(of www .error.text) == "'sub' is a submodule, which is not supported"* ]]
    git -C "$top/work" rm -q --cached sub
}

@test "a lock file that is whole is used as it is" {
    flake '{ www = { text = nixpkgs.lib.greet "lock"; }; }'
    run -0 push www
    local source
    source=$(find "$tenant/cell/memo" -name 'source-*' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2 |
        xargs jq -r .path)
    cp "$tenant/cell$source/flake.lock" "$top/work/flake.lock"
    flake '{ www = { text = nixpkgs.lib.greet "lock"; }; }'
    run -0 push www
    run ! says "not locked"
    rm "$top/work/flake.lock"
}

@test "an input that names its place but is not locked is the operator's all the same" {
    local url
    for url in 'github:NixOS/nixpkgs/nixos-25.05' 'nixpkgs/nixos-25.05' 'https://example.org/nixpkgs.tar.gz'; do
        commit "{ inputs.nixpkgs.url = \"$url\"; outputs = { self, nixpkgs }: {
            nixosConfigurations.www = { text = nixpkgs.lib.greet \"$url\"; }; }; }"
        run -0 push www
        says "nixpkgs: not locked by the flake,"
        local part
        part=$(jq -r .part "$tenant/cell$(of www .deployment)/manifest.json")
        [ "$(cat "$tenant/cell$part")" = "hello from $url" ]
    done
    # what the flake pins itself is not replaced
    commit '{ inputs.nixpkgs.url = "github:NixOS/nixpkgs/0123456789012345678901234567890123456789";
        outputs = { self, nixpkgs }: { nixosConfigurations.www = { text = nixpkgs.lib.greet "x"; }; }; }'
    jq '.cell.eval_s = 5' "$SKY_CONFIG" >"$top/config.new"
    SKY_CONFIG=$top/config.new run -1 push www
    [ "$(of www .error.stage)" = eval ]
    run ! says "not locked"
}

@test "a change of the operator's input is seen, one in a file deep below too" {
    flake '{ www = { text = nixpkgs.lib.greet "deep"; }; }'
    run -0 push www
    local before
    before=$(of www .deployment)
    sed -i 's/hello from/greetings from/' "$top/nixpkgs/flake.nix"
    run -0 push www
    [ "$(of www .deployment)" != "$before" ]
    says "adding 'nixpkgs' to the cell, once"
}

@test "the operator's trees may be links; what one leads to counts" {
    local before
    cp -r "$top/nixpkgs" "$top/other"
    sed -i 's/[a-z]* from/linked from/' "$top/other/flake.nix"
    ln -s nixpkgs "$top/by-link"
    ln -s guest "$top/guest-by-link"
    jq --arg top "$top" '.cell |= (.inputs.nixpkgs = $top + "/by-link" | .guest = $top + "/guest-by-link")' \
        "$SKY_CONFIG" >"$top/config.new"
    flake '{ www = { text = nixpkgs.lib.greet "a link"; }; }'
    SKY_CONFIG=$top/config.new run -0 push www
    before=$(of www .deployment)
    ln -sfn other "$top/by-link"
    SKY_CONFIG=$top/config.new run -0 push www
    [ "$(of www .deployment)" != "$before" ]
    says "adding 'nixpkgs' to the cell, once"
}

@test "the operator's customization goes into the evaluation" {
    echo '"custom text"' >"$top/custom.nix"
    jq --arg file "$top/custom.nix" '.cell.customization = $file' "$SKY_CONFIG" >"$top/config.new"
    SKY_CONFIG=$top/config.new run -0 push www
    grep -q '"custom":"custom text"' "$tenant/cell$(of www .deployment)/manifest.json"
}

@test "evaluation sees nothing of the host and is pure" {
    flake '{ file = { text = builtins.readFile "/etc/passwd"; };
        env = { text = "home=" + builtins.getEnv "HOME"; };
        tree = { text = (builtins.fetchTree { type = "path"; path = "'"$top"'"; }).outPath; };
        self = { text = builtins.readFile "/proc/self/environ"; }; }'
    run -1 push file env tree self
    for machine in file tree self; do [ "$(of $machine .error.stage)" = eval ]; done
    [ "$(of env .error)" = null ]
    local part
    part=$(jq -r .part "$tenant/cell$(of env .deployment)/manifest.json")
    [ "$(cat "$tenant/cell$part")" = "home=" ]
}

# shellcheck disable=SC2016 # nix's text, and in it the build's
@test "a build sees neither the cell's directories nor a network" {
    flake '{ www = { run = "for f in /home /inputs /etc/ssl /root; do [ ! -e $f ] || exit 9; done
        [ \"$(echo /sys/class/net/*)\" = \"/sys/class/net/*\" ] || exit 8
        while read -r line; do routes=x$routes; done </proc/net/route; [ $routes = x ] || exit 7"; }; }'
    run -0 push www
}

@test "what runs on the host is not reached from a cell: loopback, own address, gateway" {
    local own gateway port
    own=$(ip -4 route get 192.0.2.254 2>/dev/null | sed -nE 's/.* src ([0-9.]+).*/\1/p')
    gateway=$(ip -4 route show default | sed -nE 's/.*via ([0-9.]+).*/\1/p' | head -n 1)
    python3 -u -c 'import http.server as h
s = h.HTTPServer(("0.0.0.0", 0), h.SimpleHTTPRequestHandler)
print(s.server_port, flush=True)
s.serve_forever()' >"$top/port" 2>"$top/hits" 3>&- &
    local server=$!
    until [ -s "$top/port" ]; do sleep 0.1; done
    port=$(cat "$top/port")
    curl -s -o /dev/null "http://127.0.0.1:$port/seen" # it does answer
    grep -q /seen "$top/hits"
    flake "builtins.mapAttrs (_: a: { text = builtins.readFile (builtins.fetchurl { url = \"http://\${a}:$port/x\";
        sha256 = \"0000000000000000000000000000000000000000000000000000\"; }); })
        { loopback = \"127.0.0.1\"; own = \"${own:-127.0.0.2}\"; gateway = \"${gateway:-127.0.0.3}\"; six = \"[::1]\"; }"
    jq '.cell.eval_s = 5' "$SKY_CONFIG" >"$top/config.new"
    SKY_CONFIG=$top/config.new run -1 push loopback own gateway six
    kill $server
    [ "$(grep -c '/x' "$top/hits")" = 0 ]
    [ "$(jq -rs 'map(.error.stage) | unique | join(" ")' <<<"$output")" = eval ]
}

@test "the flake's nixConfig changes nothing" {
    commit '{ nixConfig.sandbox = false; nixConfig.substituters = [ "https://example.org" ];
        outputs = { self, nixpkgs }: { nixosConfigurations.www = { run = "[ ! -e /home ]"; text = "nixConfig"; }; }; }'
    run -0 push www
}

@test "evaluation and build have their deadlines" {
    flake '{ www = { text = let
        l = builtins.genList (x: x) 10000; sum = f: builtins.foldl'"'"' (a: _: f a) 0 l;
        in toString (sum (a: sum (b: sum (c: c + 1)))); }; db = { run = "while :; do :; done"; }; }'
    jq '.cell.eval_s = 6 | .cell.build_s = 2' "$SKY_CONFIG" >"$top/config.new"
    SKY_CONFIG=$top/config.new run -1 push www db
    [ "$(of www .error.text)" = "evaluation took longer than 6 s" ]
    [ "$(of db .error.text)" = "the build took longer than 2 s" ]
    flake '{ www = { run = "while :; do echo loud >&2; done"; }; }' # output does not put it off
    SKY_CONFIG=$top/config.new run -1 push www
    [ "$(of www .error.text)" = "the build took longer than 2 s" ]
    no_process_left
}

# As pasta does that may not open /dev/net/tun: it ends, and what it leaves keeps the pipes for ever.
@test "who leaves a process behind holds up no push" {
    flake '{ www = { }; }'
    printf '#!/bin/sh\nsleep 1000 &\necho "no network for you" >&2\nexit 1\n' >"$top/bin/pasta"
    chmod 0755 "$top/bin/pasta"
    jq --arg p "$top/bin/pasta" '.programs.pasta = $p | .cell.eval_s = 1000' "$SKY_CONFIG" >"$top/config.new"
    chmod 0644 "$top/config.new"
    SKY_CONFIG=$top/config.new run -1 push www
    [[ $(of www .error.text) == *"no network for you"* ]]
    no_process_left
}

no_process_left() { # of the tenant's, soon
    local i
    for ((i = 0; i < 100; i++)); do
        pgrep -u "$TENANT_UID" >/dev/null || return 0
        sleep 0.1
    done
    pgrep -u "$TENANT_UID" -a >&2
    return 1
}

# The slow build runs: its shell is there. The file that it is started with is in $top/in.
start_slow() {
    flake '{ www = { run = "while :; do :; done; : '"$1"'"; }; }'
    lines www >"$top/in"
}
wait_for_build() {
    local i
    for ((i = 0; i < 300; i++)); do
        ! pgrep -u "$TENANT_UID" -f "while :; do :; done" >/dev/null || return 0
        sleep 0.1
    done
    return 1
}

@test "SIGTERM ends the cell with sky-build, and its directory is gone" {
    start_slow term
    as_tenant exec "$SKY_BIN/sky-build" <"$top/in" >"$top/out" 2>/dev/null 3>&- &
    local pid=$! code=0
    wait_for_build
    kill -TERM $pid
    wait $pid || code=$?
    [ $code = 143 ]
    no_process_left
    [ ! -s "$top/out" ]
    [ -z "$(ls "$tenant/cell/tmp")" ]
}

@test "SIGKILL of sky-build leaves no process, and the next push sweeps its directory" {
    start_slow kill
    as_tenant exec "$SKY_BIN/sky-build" <"$top/in" >/dev/null 2>&1 3>&- &
    local pid=$!
    wait_for_build
    kill -KILL $pid
    wait $pid || true
    no_process_left
    [ -n "$(ls "$tenant/cell/tmp")" ]
    flake '{ www = { text = "after"; }; }'
    run -0 push www
    [ -z "$(ls "$tenant/cell/tmp")" ]
}

@test "when nobody reads stdout any more, the build ends" {
    start_slow hup
    mkfifo "$top/fifo"
    as_tenant exec "$SKY_BIN/sky-build" <"$top/in" >"$top/fifo" 2>/dev/null 3>&- &
    local pid=$! code=0
    exec 7<"$top/fifo"
    wait_for_build
    exec 7<&-
    wait $pid || code=$?
    [ $code = 74 ]
    no_process_left
}

@test "without storage nothing is touched: exit 69" {
    jq '.storage = "00000000000000000000000000000002"' "$SKY_CONFIG" >"$top/config.new"
    SKY_CONFIG=$top/config.new run -69 build --repo infra www
}

@test "a uid that is no tenant, and root without --tenant, are refused" {
    run -77 setpriv --reuid 43002 --regid 43002 --clear-groups "$SKY_BIN/sky-build" --repo infra www
    run -64 "$SKY_BIN/sky-build" --repo infra www
}

@test "nix 2.8 as the cell's nix" {
    remove_host
    make_host 2.8
    export top
    flake '{ www = { text = nixpkgs.lib.greet "www"; }; db = { run = "echo no room; exit 3"; };
        bad = throw "flaky one is broken"; }'
    run -1 push www db bad nope
    [[ $(of www .deployment) =~ ^/nix/store/[0-9a-z]{32}-skyflake-www$ ]]
    [ "$(of db .error.text)" = "builder for 'skyflake-db.drv' failed with exit code 3" ]
    [ "$(of bad .error.text)" = "flaky one is broken" ]
    says "nixpkgs: not locked by the flake,"
    run -0 push www
    says "same inputs as before"
    commit '{ inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-25.05"; outputs = { self, nixpkgs }: {
        nixosConfigurations.www = { text = nixpkgs.lib.greet "2.8"; }; }; }'
    run -0 push www
    says "nixpkgs: not locked by the flake,"
    remove_host
}
