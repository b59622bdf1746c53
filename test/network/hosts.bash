# Three hosts for sky-net-setup, made of namespaces on one underlay; their guests are played by net-guest.
# shellcheck disable=SC2154 # bats' variables
bats_require_minimum_version 1.5.0

setup() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    tool=$SKY_BIN/sky-net-setup
    guest=$SKY_SOURCE/test/cli/net-guest
    dir=$BATS_TEST_TMPDIR
    n=skw$$x$BATS_TEST_NUMBER
    chmod -R a+rX "$BATS_RUN_TMPDIR" # dnsmasq reads its files as nobody special
    id=0123456789abcdef0123456789abcdef
    mkdir -p "$dir/shared"
    echo "{\"v\":1,\"storage\":\"$id\"}" >"$dir/shared/storage.json"
    registry
    ip netns add "$n-under"
    ip -n "$n-under" link set lo up
    ip -n "$n-under" link add br0 type bridge
    ip -n "$n-under" link set br0 up
    ip -n "$n-under" addr add 192.0.2.254/24 dev br0
    ip -n "$n-under" addr add 2001:db8::fe/64 dev br0 nodad
    ip -n "$n-under" link add br1 type bridge # what joins the trunks
    ip -n "$n-under" link set br1 up
    for h in 1 2 3; do make_host "$h"; done
}

make_host() { # N
    local ns=$n-h$1
    mkdir -p "$dir/h$1"
    cp "$dir/shared/storage.json" "$dir/h$1/"
    ip netns add "$ns"
    ip -n "$ns" link set lo up
    ip -n "$ns" link add wan0 type veth peer name "h$1" netns "$n-under"
    ip -n "$n-under" link set "h$1" master br0 up
    ip -n "$ns" link add trunk0 type veth peer name "t$1" netns "$n-under"
    ip -n "$n-under" link set "t$1" master br1 up
    ip -n "$ns" addr add "192.0.2.$1/24" dev wan0
    ip -n "$ns" addr add "2001:db8::$1/64" dev wan0 nodad
    ip -n "$ns" link set wan0 up
    ip -n "$ns" route add default via 192.0.2.254
    ip -n "$ns" -6 route add default via 2001:db8::fe
    ip netns exec "$ns" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
}

teardown() {
    local each
    [ -n "${n:-}" ] || return 0
    for each in $(ip netns list | awk -v n="$n-" 'index($1, n) == 1 { print $1 }'); do
        ip netns pids "$each" | xargs -r kill -KILL # all that was begun, dnsmasq and routers, too
        ip netns del "$each"
    done
}

# configure NETWORK-JSON [NODES-JSON]: of network "default", on every host
nodes4='{"n1":{"address":"192.0.2.1"},"n2":{"address":"192.0.2.2"},"n3":{"address":"192.0.2.3"}}'
# shellcheck disable=SC2034 # a test's
nodes6='{"n1":{"address":"2001:db8::1"},"n2":{"address":"2001:db8::2"},"n3":{"address":"2001:db8::3"}}'
configure() {
    for h in 1 2 3; do configure_host "$h" "$@"; done
}
configure_host() { # N NETWORK NODES
    jq -n --arg dir "$dir" --arg h "$1" --arg id "$id" --argjson more "$2" --argjson nodes "${3:-$nodes4}" '
        { v: 1, host: ("n" + $h), state: ($dir + "/h" + $h), shared: ($dir + "/shared"), storage: $id, prefix: "skw",
          tenants: { alice: { uid: 64001 }, bob: { uid: 64002 } }, machine_uids: { first: 2100000, count: 4000 },
          cell: { egress: ["0.0.0.0/0"] }, nodes: $nodes,
          networks: { default: ({ ipv4: "10.99.0.0/16", dns: ["192.0.2.254"] } + $more) } }' >"$dir/h$1.json"
}

# Machines: a, b, c of alice's, x of bob's.
index() { case $1 in a) echo 1 ;; b) echo 2 ;; c) echo 3 ;; x) echo 4 ;; esac; }
mac() { echo "02:5f:00:00:00:0$(index "$1")"; }
uid() { echo $((2100000 + ($(index "$1") - 1) * 4)); }
address() { case $1 in x) echo 10.99.2.10 ;; *) echo "10.99.1.1$(($(index "$1") - 1))" ;; esac; }
address6() { echo "fd99::$([ "$1" = x ] && echo 2 || echo 1):5f:ff:fe00:$(index "$1")"; }
registry() {
    local each machines=''
    for each in a b c x; do
        machines+=",\"$([ $each = x ] && echo bob || echo alice).infra.$each\":{\"index\":$(index $each),
            \"uid\":$(uid $each),\"machine_id\":\"$(printf '00000000-0000-4000-8000-%012d' "$(index $each)")\",
            \"volumes\":{},\"addresses\":{\"default\":\"$(address $each)\"}}"
    done
    cat >"$dir/shared/registry.json" <<J
{"v":1,"next_index":5,
 "tenants":{"alice":{"index":1,"networks":{"default":"10.99.1.0/24"}},"bob":{"index":2,"networks":{"default":"10.99.2.0/24"}}},
 "machines":{${machines#,}}}
J
}

on() { ip netns exec "$n-h$1" "${@:2}"; } # HOST COMMAND...
net() { on "$1" "$tool" --config "$dir/h$1.json" "${@:2}"; } # HOST VERB...
in_guest() { ip netns exec "$n-$1" "${@:2}"; }
is_ready() { grep -q ready "$1"; }
eventually() { # COMMAND...
    local i
    for ((i = 0; i < 300 * ${SKY_PATIENCE:-1}; i++)); do
        if "$@" 2>/dev/null; then return; fi
        sleep 0.1
    done
    "$@"
}
behind() { # FILE COMMAND...: goes on, its output in FILE
    local file=$1
    shift
    "$@" >"$file" 2>&1 3>&- &
    last_pid=$!
}

box() { # NAME: a sandbox
    ip netns add "$n-box-$1" && ip netns add "$n-$1"
    ip -n "$n-$1" link set lo up
    behind /dev/null ip netns exec "$n-box-$1" sleep 1000
    echo "$last_pid" >"$dir/$1.pid"
    eventually in_box "$1"
}
in_box() { [ "$(ip netns identify "$(cat "$dir/$1.pid")")" = "$n-box-$1" ]; }
request() { # NAME
    cat <<J
{"v":1,"tenant":"$([ "$1" = x ] && echo bob || echo alice)","repo":"infra","machine":"$1",
 "netns":"/proc/$(cat "$dir/$1.pid")/ns/net",
 "interfaces":[{"tap":"sky0","mac":"$(mac "$1")","network":"default","queues":1}]}
J
}
up() { request "$2" | net "$1" up; }         # HOST NAME
attach() { request "$2" | net "$1" attach; } # HOST NAME
down() { request "$2" | net "$1" down; }     # HOST NAME
play() { # NAME: the hypervisor opens its tap
    rm -f "$dir/$1.out"
    behind "$dir/$1.out" ip netns exec "$n-box-$1" "$guest" run "$(uid "$1")" sky0 1 "$(mac "$1")" "$n-$1"
    echo "$last_pid" >"$dir/$1.play"
    eventually is_ready "$dir/$1.out"
}
start() { # HOST NAME...: up, opened, attached, its address by DHCP
    local host=$1 each
    shift
    for each; do
        box "$each" && up "$host" "$each" && play "$each" && attach "$host" "$each"
        in_guest "$each" sysctl -qw net.ipv6.conf.eth0.dad_transmits=0 2>/dev/null || true
        ip -n "$n-$each" link set eth0 up
        dhcp "$each" >"$dir/$each.lease"
    done
}
start_mute() { # HOST NAME: as it is before its system has said a word
    box "$2" && up "$1" "$2" && play "$2" && attach "$1" "$2"
}
is_mute() { [ "$(on "$1" cat "/sys/class/net/skwt$(index "$2")x0/statistics/rx_packets")" = 0 ]; } # HOST NAME
stop() { # HOST NAME
    down "$1" "$2"
    kill "$(cat "$dir/$2.play")" "$(cat "$dir/$2.pid")" 2>/dev/null || true
    ip netns del "$n-$2"
    ip netns del "$n-box-$2"
}
dhcp() { # NAME
    cat >"$dir/udhcpc" <<'S'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip -4 addr flush dev "$interface" scope global && ip addr add "$ip/$mask" dev "$interface"
ip route replace default via "$router"
[ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
echo "bound $ip/$mask router=$router mtu=$mtu dns=$dns"
S
    chmod +x "$dir/udhcpc"
    in_guest "$1" busybox udhcpc -f -q -n -t 10 -T 1 -i eth0 -O mtu -s "$dir/udhcpc" 3>&-
}
settled() { # NAME: it has the IPv6 address that it should
    in_guest "$1" ip -6 addr show dev eth0 -tentative | grep -qF " $(address6 "$1")/64 "
}
pings() { in_guest "$1" ping -n -q -c1 -W1 "${@:3}" "$(address "$2")" >/dev/null; } # NAME NAME OPTION...
links() { on "$1" ip -o link | grep -oE ' skw[a-z][0-9x]+' | tr -d ' ' | sort -u; } # HOST
leftovers() { # HOST: what a host has of ours
    links "$1"
    on "$1" nft list tables | grep -vE '^table (inet|netdev) skw$'
    on "$1" ip route show proto 83
    on "$1" ip -6 route show proto 83
    find "$dir/h$1/net" -type f ! -name lock
}

# Everything that a machine must not be heard with: `forge FROM TO` sends each kind, one after another, `hear NAME`
# writes down what came through.
hear() { # NAME...
    local each
    for each; do
        rm -f "$dir/$each.heard"
        behind "$dir/$each.heard" ip netns exec "$n-$each" "$guest" hear eth0
        eventually is_ready "$dir/$each.heard"
    done
}
watch() { # NAME...: what they are told by ARP, ND and routers, in NAME.seen
    local each
    for each; do
        behind "$dir/$each.seen" ip netns exec "$n-$each" "$guest" watch eth0
        eventually is_ready "$dir/$each.seen"
    done
}
heard() { eventually grep -q last "$dir/$1.heard" && grep -vE 'ready|last' "$dir/$1.heard" | sort | tr '\n' ' '; } # NAME
forge() { # FROM TO [NEXT [REACH]]: to whose MAC IP goes and whose MAC the rest, TO's unless given
    local from=$1 to=$2
    in_guest "$from" "$guest" forge eth0 from="$(mac "$from")" to="${3:-$(mac "$to")}" peer="$(mac "$to")" reach="${4:-$(mac "$to")}" \
        source="$(address "$from")" target="$(address "$to")" source6="$(address6 "$from")" target6="$(address6 "$to")"
}
