#!/usr/bin/env bats
# Guests that send as somebody else and reach for what is not theirs. Each attack fails, then succeeds with the one rule
# deleted that refuses it.
# shellcheck disable=SC2154,SC2317 # net-lib's variables
load ../cli/net-lib

# without FAMILY CHAIN PATTERN: the rules of that chain whose text begins so are gone, until the next `net boundary`.
# Of "policy", what it drops that no rule accepts.
without() {
    local handles
    if [ "$3" = policy ]; then
        host nft "chain $1 skn $2 { policy accept; }"
        return
    fi
    handles=$(host nft -a list chain "$1" skn "$2" | sed -nE "/^[[:space:]]*$3/ s/.* # handle //p")
    [ -n "$handles" ] || { echo "no such rule: $3" >&2; host nft -a list chain "$1" skn "$2" >&2; return 1; }
    local each
    for each in $handles; do host nft delete rule "$1" skn "$2" handle "$each"; done
}

listen() { # NAMESPACE IFACE
    ip netns exec "$n-$1" "$here/net-guest" hear "$2" >"$dir/heard" 3>&- &
    eventually is_ready "$dir/heard"
}
heard() { grep -qx -- "$1" "$dir/heard"; }
say() { in_guest www "$here/net-guest" say eth0 from="$(mac www)" to="$(mac db)" source=10.99.1.10 target=10.99.1.11 "$@"; }

# forged WORD CHAINS PATTERN FIELD=VALUE...: what www sends so does not reach its neighbour; without that rule it does.
forged() {
    local word=$1 chains=$2 rule=$3 chain
    shift 3
    say "$@" word="$word-refused"
    say word="after-$word"
    eventually heard "after-$word"
    run ! heard "$word-refused"
    for chain in $chains; do without netdev "$chain" "$rule"; done
    say "$@" word="$word"
    eventually heard "$word"
    net boundary
}

@test "frames with another's MAC, a neighbour's or the gateway's address" {
    boot www db
    listen db eth0
    forged mac sknt1x0 '@ll,48,48 != ' from=02:5f:00:00:00:77
    forged gateway sknt1x0 policy source=10.99.1.1
    forged neighbour sknt1x0 policy source=10.99.1.11
    forged world sknt1x0 policy source=198.51.100.1
    forged nobody sknt1x0 policy source=0.0.0.0
}

@test "ARP that says who has the gateway's address, or a neighbour's" {
    boot www db
    listen db eth0
    forged gateway sknt1x0 policy kind=arp source=10.99.1.1
    forged neighbour sknt1x0 policy kind=arp source=10.99.1.11
    forged sender sknt1x0 policy kind=arp sender=02:5e:0a:63:01:01
    # What it does: with the rule off the neighbour sends to the attacker what is for the gateway.
    gateway() { in_guest db ip neigh show 10.99.1.1 | grep -q "$1"; }
    in_guest db busybox nslookup db 10.99.1.1 >/dev/null # now it knows the gateway
    gateway 02:5e:0a:63:01:01
    say kind=arp source=10.99.1.1 word=poison-refused
    say word=after-poison
    eventually heard after-poison
    gateway 02:5e:0a:63:01:01
    without netdev sknt1x0 policy
    poisoned() { say kind=arp source=10.99.1.1 word=poison && gateway "$(mac www)"; }
    eventually poisoned
}

@test "a DHCP server, a router advertisement, a VLAN tag" {
    boot www db
    listen db eth0
    forged server from_tap_ip 'udp sport 67' ports=67:4000
    forged offer from_tap_ip 'udp dport 68' ports=4000:68
    forged router sknt1x0 policy kind=ipv6 to=33:33:00:00:00:01
    forged tagged sknt1x0 policy kind=vlan
}

@test "the host's ports, at the gateway's address and its others" {
    boot www
    serve host 80
    local each
    for each in 10.99.1.1 198.51.100.2; do
        run ! in_guest www curl -sS --max-time 1 "http://$each/"
    done
    run ! in_guest www ping -c1 -W1 10.99.1.1
    without inet from_guest drop
    for each in 10.99.1.1 198.51.100.2; do
        [ "$(in_guest www curl -sS --max-time 5 "http://$each/")" = 10.99.1.10 ]
    done
    in_guest www ping -c1 -W5 10.99.1.1
}

@test "another tenant's guest, and what the world may reach of it" {
    boot www bob
    serve bob 80
    reach() { in_guest www curl -sS --max-time "$1" http://10.99.2.10/; }
    run ! reach 1
    # Three rules, each of which is enough.
    local rules=('out_of_guest oifname @guest_links' 'out_of_guest ip daddr @guests' 'to_guest ip daddr @masqueraded') kept rule
    for kept in "${rules[@]}"; do
        for rule in "${rules[@]}"; do
            [ "$rule" = "$kept" ] || without inet "${rule%% *}" "${rule#* }"
        done
        run ! reach 1
        net boundary
    done
    for rule in "${rules[@]}"; do without inet "${rule%% *}" "${rule#* }"; done
    [ "$(reach 5)" = 10.99.1.10 ]
    net boundary
    # The world, to whom the masquerade is no door.
    ip -n "$n-world" route add 10.99.0.0/16 via 198.51.100.2
    run ! world curl -sS --max-time 1 http://10.99.2.10/
    without inet to_guest 'ip daddr @masqueraded'
    [ "$(world curl -sS --max-time 5 http://10.99.2.10/)" = 198.51.100.1 ]
}

@test "who forwards for a neighbour: a guest's packet for another's subnet keeps its sender, or goes nowhere" {
    boot www db bob
    serve world 80
    [ "$(in_guest www curl -sS --max-time 5 http://198.51.100.1/)" = 198.51.100.2 ]
    # An address of its own making, in its own subnet: no answer comes, and none goes out.
    in_guest www ip addr add 10.99.1.99/24 dev eth0
    run ! in_guest www curl -sS --max-time 1 --interface 10.99.1.99 http://198.51.100.1/
    without netdev sknt1x0 policy
    [ "$(in_guest www curl -sS --max-time 5 --interface 10.99.1.99 http://198.51.100.1/)" = 198.51.100.2 ]
}
