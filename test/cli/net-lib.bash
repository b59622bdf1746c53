# A host for sky-net-setup, made of namespaces, with a neighbour in the world; its guests are played by net-guest.
# shellcheck disable=SC2119,SC2120,SC2154 # bats' variables
bats_require_minimum_version 1.5.0

setup() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    # shellcheck disable=SC2153
    tool=$SKY_BIN/sky-net-setup
    here=$(dirname "${BASH_SOURCE[0]}")
    dir=$BATS_TEST_TMPDIR
    n=skn$$x$BATS_TEST_NUMBER
    mkdir -p "$dir/state"
    chmod -R a+rX "$BATS_RUN_TMPDIR" # dnsmasq reads its files as nobody special
    id=0123456789abcdef0123456789abcdef
    echo "{\"v\":1,\"storage\":\"$id\"}" >"$dir/state/storage.json"
    configure
    registry
    ip netns add "$n-host" && ip netns add "$n-world"
    host sysctl -qw net.ipv4.ip_forward=0 # it starts as the machine's own is
    ip -n "$n-host" link add wan0 type veth peer name wan1 netns "$n-world"
    ip -n "$n-host" link set lo up && ip -n "$n-world" link set lo up
    ip -n "$n-host" addr add 198.51.100.2/24 dev wan0
    ip -n "$n-world" addr add 198.51.100.1/24 dev wan1
    ip -n "$n-world" addr add 203.0.113.1/32 dev lo
    ip -n "$n-host" link set wan0 up && ip -n "$n-world" link set wan1 up
    ip -n "$n-host" route add default via 198.51.100.1
}

teardown() {
    local each
    [ -n "${n:-}" ] || return 0
    for each in $(ip netns list | awk -v n="$n-" 'index($1, n) == 1 { print $1 }'); do
        ip netns pids "$each" | xargs -r kill -KILL # all that was begun in there, dnsmasq, too
        ip netns del "$each"
    done
}

configure() { # [PREFIX]
    cat >"$dir/config.json" <<J
{"v":1,"host":"n1","state":"$dir/state","storage":"$id","prefix":"${1:-skn}",
 "tenants":{"alice":{"uid":64001},"bob":{"uid":64002}},
 "machine_uids":{"first":2100000,"count":4000},
 "cell":{"egress":["198.51.100.0/24"]},
 "networks":{"default":{"ipv4":"10.99.0.0/16","dns":["198.51.100.1"]},
             "back":{"ipv4":"10.98.0.0/16","mtu":1400}}}
J
}

machine_id() { printf '00000000-0000-4000-8000-%012d' "$1"; }
registry() {
    cat >"$dir/state/registry.json" <<J
{"v":1,"next_index":4,
 "tenants":{"alice":{"index":1,"networks":{"default":"10.99.1.0/24","back":"10.98.1.0/24"}},
            "bob":{"index":2,"networks":{"default":"10.99.2.0/24"}}},
 "machines":{
  "alice.infra.www":{"index":1,"uid":2100000,"machine_id":"$(machine_id 1)","volumes":{},
                     "addresses":{"default":"10.99.1.10","back":"10.98.1.10"}},
  "alice.infra.db":{"index":2,"uid":2100004,"machine_id":"$(machine_id 2)","volumes":{},
                    "addresses":{"default":"${1:-10.99.1.11}"}},
  "bob.infra.www":{"index":3,"uid":2100008,"machine_id":"$(machine_id 3)","volumes":{},
                   "addresses":{"default":"10.99.2.10"}}}}
J
}

host() { ip netns exec "$n-host" "$@"; }
world() { ip netns exec "$n-world" "$@"; }
net() { host "$tool" --config "$dir/config.json" "$@"; }
in_guest() { ip netns exec "$n-$1" "${@:2}"; }
is_ready() { grep -q ready "$1"; }
eventually() { # COMMAND...
    local i
    for ((i = 0; i < 100 * ${SKY_PATIENCE:-1}; i++)); do
        if "$@" 2>/dev/null; then return; fi
        sleep 0.1
    done
    "$@"
}

dead() { [[ $(ps -o stat= -p "$1") =~ ^Z*$ ]]; } # perhaps nobody reaped it yet

# Who the guests are.
index() { case $1 in www) echo 1 ;; db) echo 2 ;; bob) echo 3 ;; esac; }
mac() { echo "02:5f:00:00:00:0$(index "$1")"; }
uid() { echo $((2100000 + ($(index "$1") - 1) * 4)); }
box() { # NAME: a sandbox
    ip netns add "$n-box-$1" && ip netns add "$n-$1"
    ip -n "$n-$1" link set lo up
    ip netns exec "$n-box-$1" sleep 1000 >/dev/null 2>&1 3>&- &
    echo $! >"$dir/$1.pid"
    eventually inside "$1" "box-$1"
}
inside() { [ "$(ip netns identify "$(cat "$dir/$1.pid")")" = "$n-${2:-$1}" ]; }
request() { # NAME [QUEUES]
    local tenant=alice machine=$1
    if [ "$1" = bob ]; then tenant=bob machine=www; fi
    cat <<J
{"v":1,"tenant":"$tenant","repo":"infra","machine":"$machine","netns":"/proc/$(cat "$dir/$1.pid")/ns/net",
 "interfaces":[{"tap":"sky0","mac":"$(mac "$1")","network":"default","queues":${2:-1}}]}
J
}
up() { request "$@" | net up; }
down() { request "$1" | net down; }
attach() { request "$1" | net attach; }
play() { # NAME [QUEUES]: the hypervisor opens its tap
    rm -f "$dir/$1.out"
    ip netns exec "$n-box-$1" "$here/net-guest" run "$(uid "$1")" sky0 "${2:-1}" "$(mac "$1")" "$n-$1" \
        >"$dir/$1.out" 2>&1 3>&- &
    echo $! >"$dir/$1.play"
    eventually is_ready "$dir/$1.out"
}
boot() { # NAME...: up, opened, attached, its address by DHCP
    local each
    for each; do
        box "$each" && up "$each" && play "$each" && attach "$each"
        ip -n "$n-$each" link set eth0 up
        dhcp "$each"
    done
}
dhcp() { # NAME
    cat >"$dir/udhcpc" <<'S'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr flush dev "$interface" && ip addr add "$ip/$mask" dev "$interface" && ip route replace default via "$router"
echo "bound $ip/$mask router=$router dns=$dns hostname=$hostname"
S
    chmod +x "$dir/udhcpc"
    in_guest "$1" busybox udhcpc -f -q -n -t 5 -T 1 -i eth0 -s "$dir/udhcpc" -x "hostname:evil" 3>&-
}
serve() { # NAMESPACE PORT
    ip netns exec "$n-$1" python3 -c 'import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(self.client_address[0].encode())
server = http.server.HTTPServer(("", int(sys.argv[1])), H)
print("ready", flush=True)
server.serve_forever()' "$2" >"$dir/$1.$2" 2>&1 3>&- &
    eventually is_ready "$dir/$1.$2"
}
as_uid() { setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"; }
links() { ip -n "$n-$1" -o link | grep -E ': (skn|sky|tap)' || true; } # but wan0 and lo
state_of_host() {
    host ip -o link | sed 's/<[^>]*>//; s/ state .*//' | sort
    host ip -4 -o addr show
    host nft list ruleset
    (cd "$dir/state/net" && find . ! -name '*.leases' ! -name lock -type f -exec sha256sum {} + | sort)
}
