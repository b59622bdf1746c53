#!/usr/bin/env bats
# What a cell's code reaches, how much it gets, and what it can forge: by evaluation, by builds, by its own store.
# shellcheck disable=SC2016 # words of nix
load ../lib/hostile

# On the host: a server on every address of its own. Beside it, in namespaces: a guest of another tenant's, and a
# neighbour of the host's that is nobody's business unless the operator lists it.
setup_file() {
    load ../lib/hostile
    keep_config
    work_tree cell
    export WEB=$((SKY_PORT + 1)) GUEST=$SKY_NET.250.5 BRIDGE=$SKY_NET.250.1 NEIGHBOUR=198.51.100.2 WWW=$BATS_FILE_TMPDIR/web
    OWN=$(ip -4 -o addr show scope global | awk '{ sub("/.*", "", $4); print $4; exit }')
    GATEWAY=$(ip -4 route show default | awk '{ print $3; exit }')
    export OWN GATEWAY
    mkdir -p "$WWW" && echo "reached $RANDOM$RANDOM" >"$WWW/word"
    place guest "$SKY_PREFIX"b9 "$BRIDGE" "$GUEST"
    place neighbour "$SKY_PREFIX"n9 198.51.100.1 "$NEIGHBOUR"
    serve
    local each
    for each in guest neighbour; do ip netns exec "$SKY_PREFIX-$each" "$BASH" -c "$(declare -f serve); serve"; done
    for each in 127.0.0.1 "$OWN" "$BRIDGE" "$GUEST" "$NEIGHBOUR"; do # root reaches them all
        eventually 20 curl -sS --fail -o /dev/null "http://$each:$WEB/word"
    done
}
place() { # NAME LINK HERE THERE
    ip netns add "$SKY_PREFIX-$1"
    ip link add "$2" type veth peer name eth0 netns "$SKY_PREFIX-$1"
    ip addr add "$3/24" dev "$2" && ip link set "$2" up
    ip -n "$SKY_PREFIX-$1" addr add "$4/24" dev eth0
    ip -n "$SKY_PREFIX-$1" link set eth0 up && ip -n "$SKY_PREFIX-$1" link set lo up
    ip -n "$SKY_PREFIX-$1" route add default via "$3"
}
serve() {
    python3 -m http.server --bind 0.0.0.0 --directory "$WWW" "$WEB" >/dev/null 2>&1 </dev/null 3>&- &
    echo $! >>"$WWW/../pids"
}
teardown_file() {
    xargs kill <"$BATS_FILE_TMPDIR/pids"
    ip netns del "$SKY_PREFIX-guest"
    ip netns del "$SKY_PREFIX-neighbour"
    drop_machines
}
setup() {
    cd "$WORK" || return
    configure --arg t "$(account alice)" '.tenants[$t].quota.machines = 60'
}
teardown() {
    restore_config
    sky-net-setup boundary
    limit memory memory.limit_in_bytes $((4096 << 20))
    limit pids pids.max 4096
}
limit() { echo "$3" >"/sys/fs/cgroup/$1/$SKY_PREFIX/$(account alice)/$2"; }
# Deep recursion would end by itself.
ENDLESS="let l = builtins.genList (x: x) 10000; fold = f: builtins.foldl' (_: f) 0 l; in fold (_: fold (_: fold (x: x)))"
no_process() { [ -z "$(processes_of_uid "$(id -u "$(account alice)")")" ]; }

# A build that may use the network, since it says what comes out: what it reaches of these addresses.
fetching() { # ADDRESS...
    cat <<END
from (_: make "fetch-$RANDOM" ''
    for each in $*; do
        answer=\$(printf 'GET /word HTTP/1.0\r\n\r\n' | timeout 2 nc -w 1 \$each $WEB 2>&1)
        case \$answer in *reached*) echo \$each reached ;; *) echo \$each not ;; esac
    done
    exit 1
'' { outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "$(sha256sum "$WWW/word" | cut -d' ' -f1)"; })
END
}

@test "a build that fetches reaches no loopback, no address of the host, no guest" {
    flake www="$(fetching 127.0.0.1 "$OWN" "$BRIDGE" "$GUEST" "$NEIGHBOUR")"
    run -1 push main:www
    local each
    for each in 127.0.0.1 "$OWN" "$BRIDGE" "$GUEST"; do says "$each not"; done
    says "$NEIGHBOUR reached" # the operator's list is the whole world
    # The operator lists something else.
    configure '.cell.egress = ["203.0.113.0/24"]' && sky-net-setup boundary
    flake www="$(fetching "$NEIGHBOUR" "$GUEST")"
    run -1 push main:www
    says "$NEIGHBOUR not"
    says "$GUEST not"
    # Twin: without the boundary in nftables.
    nft delete table inet "$SKY_PREFIX"
    flake www="$(fetching "$NEIGHBOUR" "$GUEST" "$BRIDGE")"
    run -1 push main:www
    says "$NEIGHBOUR reached"
    says "$GUEST reached"
    says "$BRIDGE reached"
    # Twin: and pasta's gateway is a name for the host's loopback.
    rewrite pasta '/^--no-map-gw$/d'
    flake www="$(fetching "$GATEWAY")"
    run -1 push main:www
    says "$GATEWAY reached"
}

@test "an evaluation that fetches: the same" {
    fetched() {
        echo "throw (builtins.readFile (builtins.fetchurl { url = \"http://$1:$WEB/word?$RANDOM\"; sha256 = \"$(sha256sum "$WWW/word" | cut -d' ' -f1)\"; }))"
    }
    flake loop="$(fetched 127.0.0.1)" guest="$(fetched "$GUEST")"
    local once='s/connect-timeout = 15/connect-timeout = 2\ndownload-attempts = 1/'
    rewrite bwrap "$once"
    run -1 push main:loop main:guest
    refused loop "unable to download 'http://127.0.0.1:"
    refused guest "unable to download 'http://$GUEST:"
    nft delete table inet "$SKY_PREFIX" # Twin
    run -1 push main:guest
    refused guest "reached "
}

@test "an evaluation without end stops at the operator's time, and nothing of it lives on" {
    configure '.cell.eval_s = 6'
    flake www="$ENDLESS" names='throw "reached"'
    run -1 push main:www main:names
    refused www "evaluation took longer than 6 s"
    refused names "reached"
    eventually 20 no_process
    # The list of machines itself, and the lock.
    echo '{ outputs = { self, nixpkgs }: { nixosConfigurations = ENDLESS; }; }' | sed "s/ENDLESS/$ENDLESS/" >flake.nix
    git commit -q -am "no end"
    run -1 push main:www
    refused www "evaluation took longer than 6 s"
    eventually 20 no_process
    # Twin: nix by itself sets no limit.
    run -137 timeout -s KILL 8 nix --extra-experimental-features nix-command --store dummy:// eval --expr "$ENDLESS"
}

@test "a build without end stops at the operator's time" {
    configure '.cell.build_s = 6'
    flake www='from (_: build "skyflake-x" "while true; do :; done")'
    run -1 push main:www
    refused www "the build took longer than 6 s"
    eventually 20 no_process
    # Twin: it would have gone on.
    configure '.cell.build_s = 12'
    flake www='from (_: build "skyflake-x" "sleep 8; echo past; exit 1")'
    run -1 push main:www
    says past
}

@test "an evaluation that eats memory is ended in the tenant's cgroup, and the host goes on" {
    local eat='throw (toString (builtins.stringLength (builtins.foldl'"'"' (s: _: s + s) "0123456789abcdef" (builtins.genList (i: i) 25))))'
    flake www="$eat"
    limit memory memory.limit_in_bytes $((400 << 20))
    run -1 push main:www
    refused www "killed (more memory than the cell has?)"
    says_not "536870912"
    cat <<<"$output" >&3
    run -0 at bob whoami
    eventually 20 no_process
    limit memory memory.limit_in_bytes $((2048 << 20)) # Twin: enough of it.
    run -1 push main:www
    refused www "536870912"
}

@test "a build that forks without end gets no more processes than the cgroup gives" {
    local script='i=0; while [ $i -lt 400 ]; do sleep 15 & i=$((i + 1)); done; echo forked $i; kill 0; exit 1'
    flake www="from (_: build \"skyflake-x\" \"$script\")"
    limit pids pids.max 120
    run -1 push main:www
    refused www ""
    says "can't fork"
    says_not "forked 400"
    run -0 at bob whoami
    eventually 20 no_process
    limit pids pids.max 4096 # Twin: as many as it likes.
    run -1 push main:www
    says "forked 400"
    eventually 20 no_process
}
