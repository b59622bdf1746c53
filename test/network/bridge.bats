#!/usr/bin/env bats
# Mode bridge, and what holds in every mode: nothing is left, whatever was done how often.
# shellcheck disable=SC2154 # hosts.bash's variables
load hosts

@test "bridge: whatever a machine forges, in either direction, is heard nowhere; without the rules it is" {
    configure '{"ipv6":"fd99::/48"}'
    start 1 a b x
    for pair in 'a b' 'b a'; do
        read -r from to <<<"$pair"
        hear "$to"
        forge "$from" "$to"
        [ "$(heard "$to")" = 'honest-arp honest-ip honest-ip6 honest-nd ' ] || { echo "$pair: $(heard "$to")"; false; }
    done
    hear x # nothing at all goes to another tenant
    forge a x
    forge a x 02:5e:0a:63:01:01
    forge a x ff:ff:ff:ff:ff:ff ff:ff:ff:ff:ff:ff
    sleep 0.5
    [ "$(cat "$dir/x.heard")" = ready ]
    on 1 nft delete table netdev skw
    hear b
    forge a b ff:ff:ff:ff:ff:ff ff:ff:ff:ff:ff:ff
    heard b >/dev/null
    for kind in mac mac-of-peer source source-of-peer no-source dhcp-server dhcp-source dhcp-client tag tag-0 two-tags type arp-address \
        arp-mac arp-all source6 dhcp6-server nd-address nd-source nd-all nd-probe ra redirect; do
        grep -qx "$kind" "$dir/b.heard" || { echo "not heard without rules: $kind"; false; }
    done
}

@test "bridge: a machine has the IPv6 address that follows from its MAC, and names lead to both" {
    configure '{"ipv6":"fd99::/48"}'
    start 1 a b
    eventually settled a
    eventually settled b
    in_guest a ping -6 -n -q -c1 -W2 "$(address6 b)"
    in_guest a ping -6 -n -q -c1 -W2 2001:db8::fe # masqueraded
    in_guest a busybox nslookup b.infra 10.99.1.1 | grep -qi "$(address6 b)"
    run ! ip netns exec "$n-under" ping -6 -n -q -c1 -W1 "$(address6 a)"
}

@test "bridge: a shared network has everybody who may use it, under names that nobody takes" {
    configure '{"shared":true,"tenants":["alice","bob"]}'
    sed -i 's/10\.99\.[12]\.0\/24/10.99.0.0\/16/g' "$dir/shared/registry.json"
    start 1 a x
    pings a x
    pings x a
    link=$(links 1 | grep b)
    in_guest a busybox nslookup x.infra.bob 10.99.0.1 | grep -q 'Address: 10.99.2.10'
    run ! in_guest a busybox nslookup x.infra 10.99.0.1
    hear x
    forge a x
    [ "$(heard x)" = 'honest-arp honest-ip ' ] # this one has no IPv6
    stop 1 a
    [ "$(links 1 | grep b)" = "$link" ]
    stop 1 x
    [ -z "$(leftovers 1)" ]
    configure '{"shared":true,"tenants":["bob"]}'
    box a
    run -77 up 1 a
    [[ $output == *"no network 'default' for 'alice/infra/a'"* ]]
}

@test "bridge: a network is for tenants who are added later as well, and a name that nobody has opens nothing" {
    configure '{"tenants":["carol"]}'
    for h in 1 2; do 
        sed -i 's/"v": 1,/"v": 1, "tenant_uids": { "first": 64100, "count": 10 },/' "$dir/h$h.json"
        net $h --check-config
    done
    box x
    for name in a x; do
        [ -e "$dir/$name.pid" ] || box $name
        run -77 up 1 $name
        [[ $output == *"no network 'default' for '"* ]]
    done
    sed -i "s/bob/carol/" "$dir/shared/registry.json"
    echo '{"v":1,"next_uid":64101,"tenants":{"carol":{"uid":64100,"quota":{}}},"suspended":{}}' >"$dir/shared/tenants.json"
    chmod 644 "$dir/shared/tenants.json"
    request x | sed 's/bob/carol/' | net 1 up
    run -77 up 1 a
    [ "$(links 1 | grep -c t)" = 0 ] # prepared, in the sandbox
}

@test "bridge: of a machine that moves those behind the operator's link know before it has said a word" {
    ip -n "$n-under" link add br2 up type bridge # as a layer-2 VPN's
    for h in 1 2; do
        ip -n "$n-h$h" link add tap0 type veth peer name "far$h" netns "$n-under"
        ip -n "$n-under" link set "far$h" up master br2
    done
    configure '{"shared":true,"uplink":"tap0"}'
    sed -i 's/10\.99\.[12]\.0\/24/10.99.0.0\/16/g' "$dir/shared/registry.json"
    start 1 a
    start 2 b x
    pings a b && pings b a
    on 1 bridge fdb show dev tap0 | grep -q "^$(mac b) master"
    stop 2 b
    watch x
    start_mute 1 b
    eventually grep -qx "arp $(address b) $(mac b)" "$dir/x.seen"
    on 2 bridge fdb show dev tap0 | grep -q "^$(mac b) master"
    ip netns exec "$n-under" bridge fdb show dev far1 | grep -q "^$(mac b) master"
    on 1 bridge fdb show dev skwt2x0 | grep -q "^$(mac b) master"
    is_mute 1 b
}

@test "bridge: what is behind the operator's link is on the segment, whose MTU is the link's" {
    ip -n "$n-h1" link add tap0 type veth peer name far netns "$n-under" # as OpenVPN's
    ip -n "$n-h1" link set tap0 mtu 1410
    ip -n "$n-under" link set far mtu 1410 up
    ip -n "$n-under" addr add 10.99.0.200/16 dev far
    configure '{"shared":true,"uplink":"tap0"}'
    sed -i 's/10\.99\.[12]\.0\/24/10.99.0.0\/16/g' "$dir/shared/registry.json"
    start 1 a
    grep -q ' mtu=1410 ' "$dir/a.lease"
    in_guest a ping -n -q -c1 -W1 -M "do" -s $((1410 - 28)) 10.99.0.200
    stop 1 a
    [ -z "$(leftovers 1)" ]
    [ "$(on 1 cat /sys/class/net/tap0/mtu)" = 1410 ] # the operator's link stays
    run ! on 1 ip -o link show tap0 master skwb1
    configure '{"shared":true,"uplink":"tap0","mtu":1500}'
    box b
    run -78 up 1 b
    [[ $output == *"1500 is more than host 'n1' carries: 1410"* ]]
}

@test "every mode: up and down again and again leaves nothing, and the rest as it was" {
    local count rounds=40
    [ -z "${SKY_FAULT_ALL:-}" ] || rounds=334 # a thousand
    for mode in '{}' '{"mode":"vxlan","ids":{"first":1,"last":9},"ipv6":"fd99::/48"}' '{"mode":"routed","ipv6":"fd99::/48"}'; do
        configure "$mode"
        net 1 boundary
        [ -e "$dir/b.pid" ] || box b
        up 1 b # beside a machine that stays
        before=$(on 1 ip -o link | sed 's/<[^>]*>//; s/ state .*//'; on 1 nft list ruleset; on 1 ip route; find "$dir/h1" -type f | sort)
        [ -e "$dir/a.pid" ] || box a
        request a >"$dir/request"
        for ((count = 0; count < rounds; count++)); do
            net 1 up <"$dir/request"
            net 1 down <"$dir/request"
        done
        [ "$before" = "$(on 1 ip -o link | sed 's/<[^>]*>//; s/ state .*//'; on 1 nft list ruleset; on 1 ip route; find "$dir/h1" -type f | sort)" ]
        down 1 b
        [ -z "$(leftovers 1)" ]
        [ "$(ip -n "$n-box-a" -o link | wc -l)" = 1 ] # lo
    done
}
