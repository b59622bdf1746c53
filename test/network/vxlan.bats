#!/usr/bin/env bats
# Mode vxlan on three hosts: a tenant's machines are on one segment wherever they run, and nobody else's.
# shellcheck disable=SC2154 # hosts.bash's variables
load hosts

vxlan='{"mode":"vxlan","ids":{"first":1000,"last":1099},"ipv6":"fd99::/48"}'
honest='honest-arp honest-ip honest-ip6 honest-nd '

@test "vxlan: machines on three hosts are neighbours, by IPv4 and IPv6 underlays, without one multicast" {
    for underlay in 4 6; do
        configure "$vxlan" "$([ $underlay = 4 ] && echo "$nodes4" || echo "$nodes6")"
        start 1 a
        start 2 b
        start 3 c x
        grep -qx "bound 10.99.1.10/24 router=10.99.1.1 mtu=$([ $underlay = 4 ] && echo 1450 || echo 1430) dns=10.99.1.1" "$dir/a.lease"
        for pair in 'a b' 'b c' 'c a'; do
            # shellcheck disable=SC2086 # a pair
            pings $pair
        done
        run ! pings a x
        run ! pings x c
        [ "$(on 1 bridge fdb show dev skwx1000 | grep -c '^00:00:00:00:00:00 .*dst')" = 2 ]
        # What the segment carries, carried whole; one byte more is not.
        mtu=$(in_guest a cat /sys/class/net/eth0/mtu)
        pings a b -M "do" -s $((mtu - 28))
        ip -n "$n-a" link set eth0 mtu 1500
        run ! pings a b -M "do" -s $((mtu - 27))
        # Each host is the gateway of its own, and answers for nobody else's.
        in_guest a ping -n -q -c1 -W1 192.0.2.254
        in_guest a busybox nslookup c.infra 10.99.1.1 | grep -q 'Address: 10.99.1.12' # its host has it from the registry
        for each in '1 a' '2 b' '3 c' '3 x'; do
            # shellcheck disable=SC2086 # a pair
            stop $each
        done
        for h in 1 2 3; do [ -z "$(leftovers $h)" ]; done
    done
}

@test "vxlan: whatever a machine forges, in either direction, on its host and on others, is heard nowhere" {
    configure "$vxlan"
    start 1 a b
    start 2 c
    for pair in 'a c' 'c a' 'a b'; do
        read -r from to <<<"$pair"
        hear "$to"
        forge "$from" "$to"
        [ "$(heard "$to")" = "$honest" ] || { echo "$pair: $(heard "$to")"; false; }
    done
    # While rules are loaded again and again, nothing slips through either.
    hear c
    behind /dev/null on 1 bash -c "until [ -e $dir/enough ]; do $tool --config $dir/h1.json boundary; done"
    for _ in {1..20}; do forge a c; done 2>/dev/null
    touch "$dir/enough"
    wait "$last_pid" 2>/dev/null || true # none is loading them any more
    heard c >/dev/null
    run ! grep -v -e honest -e ready -e last "$dir/c.heard"
    # The twin: without the rules each of them is heard, but for what the guest's own kernel does not send.
    on 1 nft delete table netdev skw
    on 2 nft delete table netdev skw
    hear c
    forge a c ff:ff:ff:ff:ff:ff ff:ff:ff:ff:ff:ff # to all: forged MACs take c's place
    heard c >/dev/null
    for kind in mac mac-of-peer source source-of-peer no-source dhcp-server dhcp-source dhcp-client tag tag-0 two-tags type arp-address \
        arp-mac arp-all source6 dhcp6-server nd-address nd-source nd-all nd-probe ra redirect; do
        grep -qx "$kind" "$dir/c.heard" || { echo "not heard without rules: $kind"; false; }
    done
}

@test "vxlan: a machine that moves answers again, by its name too, and the host that it left forgets it" {
    configure "$vxlan"
    start 1 a b
    start 2 c
    pings c b && pings a b
    stop 1 b
    start 3 b
    pings c b && pings a b
    pings b c && pings b a
    run ! on 1 bridge fdb show dev skwt2x0
    in_guest c busybox nslookup b.infra 10.99.1.1 | grep -q 'Address: 10.99.1.11'
}

@test "vxlan: of a machine that moves every host knows before it has said a word" {
    configure "$vxlan"
    start 1 a
    start 2 b
    start 3 c
    pings a b && pings c b
    sent_to() { on "$1" bridge fdb show dev skwx1000 | grep -q "^$(mac b) dst $2 "; } # HOST PEER
    sent_to 1 192.0.2.2
    on 3 bridge fdb show dev skwx1000 | grep -q "^$(mac b) .*master skwb1"
    stop 2 b
    watch a
    start_mute 3 b
    eventually grep -qx "arp $(address b) $(mac b)" "$dir/a.seen"
    sent_to 1 192.0.2.3
    on 3 bridge fdb show dev skwt2x0 | grep -q "^$(mac b) master skwb1"
    run ! grep -q "^$(mac b) .*master" <(on 3 bridge fdb show dev skwx1000)
    is_mute 3 b
    # And back: the host that had it last sends nothing to its own dead port.
    stop 3 b
    start_mute 2 b
    eventually sent_to 3 192.0.2.2
    is_mute 2 b
}

@test "vxlan: a host that joins or leaves is followed without a restart" {
    two=$(jq -c 'del(.n3)' <<<"$nodes4")
    configure "$vxlan" "$two"
    configure_host 3 "$vxlan"
    start 1 a
    start 2 b
    start 3 c
    pings a b
    run ! pings a c # n3 is nobody to them: what it sends is not taken
    for h in 1 2; do configure_host $h "$vxlan" && net $h boundary; done
    [ "$(on 1 bridge fdb show dev skwx1000 | grep -c '^00:00:00:00:00:00 .*dst')" = 2 ]
    pings a c && pings c b && pings a b
    for h in 1 2; do configure_host $h "$vxlan" "$two" && net $h boundary; done
    [ "$(on 1 bridge fdb show dev skwx1000 | grep '^00:00:00:00:00:00 .*dst' | grep -o 'dst [0-9.]*')" = 'dst 192.0.2.2' ]
    pings a b
    ip -n "$n-c" neigh flush all
    run ! pings c b
}

@test "vxlan: frames that no node sent are not taken, nor what a machine or a tenant wraps itself" {
    configure "$vxlan"
    start 1 a
    start 2 b
    hear b
    inject() { # WORD COMMAND...: a frame for b, in VXLAN, to host 2
        "${@:2}" python3 -c 'import socket, struct, sys
mac = lambda t: bytes.fromhex(t.replace(":", ""))
inner = b"\xff" * 6 + mac("02:5f:00:00:00:01") + b"\x88\xb5" + b"sky:" + sys.argv[1].encode() + b";"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
s.sendto(struct.pack("!II", 8 << 24, 1000 << 8) + inner + b"\0" * 40, ("192.0.2.2", 4789))' "$1"
    }
    inject from-world ip netns exec "$n-under"
    inject from-guest ip netns exec "$n-a" || true
    inject from-tenant ip netns exec "$n-h1" setpriv --reuid 64001 --regid 64001 --clear-groups || true
    inject from-machine ip netns exec "$n-h1" setpriv --reuid 2100000 --regid 2100000 --clear-groups || true
    inject last ip netns exec "$n-h1" # a node itself
    [ "$(heard b)" = '' ]
    on 2 nft delete table inet skw # the twin
    hear b
    inject from-world ip netns exec "$n-under"
    inject last ip netns exec "$n-h1"
    [ "$(heard b)" = 'from-world ' ]
}

@test "vxlan: the MTU is what the underlay carries, on jumbo frames too; what does not fit is refused by the host's name" {
    for mtu in 9000 1450; do
        for h in 1 2 3; do
            on $h ip link set wan0 mtu $mtu
            ip -n "$n-under" link set h$h mtu $mtu
        done
        configure "$vxlan"
        start 1 a
        start 2 b
        grep -q " mtu=$((mtu - 50)) " "$dir/a.lease"
        for link in skwb1 skwx1000 skwt1x0; do [ "$(on 1 cat /sys/class/net/$link/mtu)" = $((mtu - 50)) ]; done
        pings a b -M "do" -s $((mtu - 50 - 28))
        stop 1 a
        stop 2 b
    done
    configure "$(jq -c '.mtu = 1401' <<<"$vxlan")"
    box a
    run -78 up 1 a
    [[ $output == *"networks.default.mtu: 1401 is more than host 'n1' carries: 1400 "* ]]
    configure "$vxlan" "$(jq -c '.n1.address = "192.0.2.77"' <<<"$nodes4")"
    run -78 up 1 a
    [[ $output == *"host 'n1' has no link with its address in nodes"* ]]
}
