#!/usr/bin/env bats
# Mode routed on three hosts, whose routes bird and FRR tell each other.
# shellcheck disable=SC2154 # hosts.bash's variables
load hosts

routed='{"mode":"routed","ipv6":"fd99::/48"}'
honest='honest-ip honest-ip6 '

router() { # HOST bird|frr: BGP with the two others, of the routes that have our number
    local h=$1 conf=$dir/h$1.router each
    mkdir -p "$conf"
    others() { for each in 1 2 3; do [ "$each" = "$h" ] || echo "$each"; done; }
    case $2 in
    bird)
        {
            echo "router id 192.0.2.$h; protocol device { scan time 1; }"
            echo 'protocol kernel { learn; ipv4 { import where krt_source = 83; export where source = RTS_BGP; }; }'
            echo 'protocol kernel { learn; ipv6 { import where krt_source = 83; export where source = RTS_BGP; }; }'
            for each in $(others); do
                echo "protocol bgp h$each { local 192.0.2.$h as 6500$h; neighbor 192.0.2.$each as 6500$each; connect retry time 1;
                      connect delay time 1; startup hold time 10; ipv4 { import all; export all; next hop self; }; }"
                echo "protocol bgp h${each}v6 { local 2001:db8::$h as 6500$h; neighbor 2001:db8::$each as 6500$each;
                      connect retry time 1; connect delay time 1; error wait time 1, 2; ipv6 { import all; export all; next hop self; }; }"
            done
        } >"$conf/bird.conf"
        behind "$conf/log" on "$h" bird -f -c "$conf/bird.conf" -s "$conf/ctl" -P "$conf/pid"
        ;;
    frr)
        {
            echo "ip prefix-list ours permit 10.99.0.0/16 ge 32"
            echo "ipv6 prefix-list ours6 permit fd99::/48 ge 128"
            echo "route-map ours permit 1"$'\n'" match ip address prefix-list ours"
            echo "route-map ours6 permit 1"$'\n'" match ipv6 address prefix-list ours6"
            echo "router bgp 6500$h"$'\n'" bgp router-id 192.0.2.$h"$'\n'" no bgp ebgp-requires-policy"
            for each in $(others); do
                echo " neighbor 192.0.2.$each remote-as 6500$each"$'\n'" neighbor 192.0.2.$each timers connect 1"
                echo " neighbor 2001:db8::$each remote-as 6500$each"$'\n'" neighbor 2001:db8::$each timers connect 1"
            done
            echo " address-family ipv4 unicast"$'\n'"  redistribute kernel route-map ours"$'\n'" exit-address-family"
            echo " address-family ipv6 unicast"$'\n'"  redistribute kernel route-map ours6"
            for each in $(others); do echo "  neighbor 2001:db8::$each activate"; done
            echo " exit-address-family"
        } >"$conf/frr.conf"
        chmod -R a+rwX "$conf"
        behind "$conf/zebra.log" on "$h" /usr/lib/frr/zebra -z "$conf/z" -i "$conf/zebra.pid" --vty_socket "$conf" -A 127.0.0.1 -f /dev/null
        eventually [ -S "$conf/z" ]
        behind "$conf/bgpd.log" on "$h" /usr/lib/frr/bgpd -z "$conf/z" -i "$conf/bgpd.pid" --vty_socket "$conf" -A 127.0.0.1 -f "$conf/frr.conf"
        ;;
    esac
}
knows() { on "$1" ip route show "$(address "$2")" | grep -q via; }      # HOST NAME
knows6() { on "$1" ip -6 route show "$(address6 "$2")" | grep -q via; } # HOST NAME
tells6() { on 2 vtysh --vty_socket "$dir/h2.router" -c 'show bgp ipv6 unicast' | grep -qF "$(address6 "$1")/128"; } # NAME
died() { ! kill -0 "$(cat "$dir/h$1/net/skwb1.pid")"; }          # HOST
forgot() { ! knows "$1" "$2"; }

@test "routed: a machine has a route to itself and no segment; bird and FRR tell the others of it" {
    configure "$routed"
    router 1 bird
    router 2 frr
    router 3 bird
    start 1 a
    start 2 b
    start 3 c x
    grep -qx "bound 10.99.1.10/24 router=10.99.1.1 mtu=1500 dns=10.99.1.1" "$dir/a.lease"
    [ "$(on 1 ip route show proto 83)" = "10.99.1.10 dev skwt1x0 scope link src 10.99.1.1 " ]
    [ "$(on 1 ip -6 route show proto 83 | grep -c "^$(address6 a) dev skwt1x0")" = 1 ]
    [ "$(on 1 ip -o link show master skwb1)" = '' ]
    [ "$(on 1 cat /sys/class/net/skwt1x0/netdev_group)" = $((0x0a630100)) ] # 10.99.1.0
    for each in '1 b' '1 c' '2 a' '2 c' '3 a' '3 b'; do
        # shellcheck disable=SC2086 # a pair
        eventually knows $each
    done
    eventually knows6 1 c
    eventually knows6 3 a
    eventually tells6 b # FRR has it to tell
    eventually knows6 1 b # and told it
    eventually knows6 3 b
    eventually knows6 2 a # and was told
    for pair in 'a b' 'b c' 'c a' 'b a'; do
        # shellcheck disable=SC2086
        pings $pair
    done
    # Not to another tenant, on its host or elsewhere; out to the world, and not in from there.
    run ! pings c x
    run ! pings a x
    run ! pings x a
    in_guest a ping -n -q -c1 -W1 192.0.2.254
    ip -n "$n-under" route add 10.99.0.0/16 via 192.0.2.1
    run ! ip netns exec "$n-under" ping -n -q -c1 -W1 10.99.1.10
    for each in a c; do eventually settled $each; done
    in_guest a ping -6 -n -q -c1 -W2 "$(address6 c)"
    in_guest a busybox nslookup c.infra 10.99.1.1 | grep -q 'Address: 10.99.1.12'
    # It moves: the others hear of it, it answers again, and nobody sends to where it was.
    stop 2 b
    eventually forgot 1 b
    start 3 b
    eventually knows 1 b
    pings a b && pings c b && pings b a
    on 1 ip route show 10.99.1.11 | grep -q 'via 192.0.2.3'
    stop 3 b && stop 3 c && stop 3 x && stop 1 a
    for h in 1 3; do [ -z "$(leftovers $h)" ]; done
    eventually forgot 2 a
}

@test "routed: of a machine that moves the others' routers are told before it has said a word" {
    configure "$routed"
    router 1 bird
    router 2 frr
    router 3 bird
    start 2 b
    eventually knows 1 b
    on 1 ip route show "$(address b)" | grep -q 'via 192.0.2.2'
    stop 2 b
    start_mute 3 b
    leads() { on 1 ip "$1" route show "$2" | grep -q "via $3 "; }
    eventually leads -4 "$(address b)" 192.0.2.3
    eventually knows6 1 b
    is_mute 3 b
}

@test "routed: every machine is told of its gateway unasked, on its host's one link to it" {
    configure "$routed"
    start 1 a b c
    for each in a b c; do # from here on they ask nobody
        ip -n "$n-$each" link set eth0 down
        in_guest $each sysctl -qw net.ipv6.conf.eth0.router_solicitations=0
        ip -n "$n-$each" link set eth0 up
        watch $each
    done
    kill "$(cat "$dir/h1/net/skwb1.pid")"
    eventually died 1
    net 1 boundary # a dnsmasq that died comes back
    for each in a b c; do
        eventually grep -q '^ra fe80::1 180$' "$dir/$each.seen"
        run ! grep rs "$dir/$each.seen"
        [ "$(in_guest $each ip -6 route show default | grep -c 'via fe80::1 dev eth0 proto ra')" = 1 ]
        eventually settled $each
    done
    in_guest a ping -6 -n -q -c1 -W2 "$(address6 c)"
    in_guest a busybox nslookup c.infra fd99::1:0:0:0:1 | grep -qi "$(address6 c)" # which is on another link of the host
    # Who leaves is advertised to no more, who stays is.
    stop 1 b
    eventually grep -q '^bridge-interface=skwb1,skwt1x0$' "$dir/h1/net/skwb1.conf"
    run ! grep skwt2x0 "$dir/h1/net/skwb1.conf"
}

@test "routed: whatever a machine forges, in either direction, on its host and on others, is heard nowhere" {
    configure "$routed"
    start 1 a b
    start 2 c
    for each in a b c; do eventually settled $each; done
    on 1 ip route add 10.99.1.12 via 192.0.2.2
    on 2 ip route add 10.99.1.10 via 192.0.2.1
    on 1 ip -6 route add "$(address6 c)" via 2001:db8::2
    on 2 ip -6 route add "$(address6 a)" via 2001:db8::1
    for pair in 'a b' 'a c' 'c a'; do
        read -r from to <<<"$pair"
        pings "$from" "$to"
        in_guest "$from" ping -6 -n -q -c1 -W2 "$(address6 "$to")" # hosts know who is where
        hear "$to"
        gateway=$(on "$([ "$from" = c ] && echo 2 || echo 1)" cat "/sys/class/net/skwt$(index "$from")x0/address")
        forge "$from" "$to" "$gateway"
        [ "$(heard "$to")" = "$honest" ] || { echo "$pair: $(heard "$to")"; false; }
    done
    # The twin: without the rules, what a router passes on at all is heard.
    on 1 nft delete table inet skw
    on 1 nft delete table netdev skw
    gateway=$(on 1 cat /sys/class/net/skwt1x0/address)
    on 1 sysctl -qw net.ipv4.conf.skwt1x0.rp_filter=0 net.ipv4.conf.all.rp_filter=0
    hear b
    forge a b "$gateway"
    heard b >/dev/null
    for word in mac mac-of-peer source dhcp-server dhcp-client source6 dhcp6-server; do
        grep -qx "$word" "$dir/b.heard" || { echo "not heard without rules: $word"; false; }
    done
}

@test "routed: from outside nobody is a machine whose route leads elsewhere, without rp_filter too" {
    configure "$routed"
    start 1 a b
    ip -n "$n-under" route add 10.99.1.0/24 via 192.0.2.1
    ip -n "$n-under" addr add 10.99.1.11/32 dev lo # b's
    ip -n "$n-under" -6 route add fd99:0:0:1::/64 via 2001:db8::1
    ip -n "$n-under" addr add "$(address6 b)/128" dev lo nodad
    inject() { # WORD FROM TO
        ip netns exec "$n-under" python3 -c 'import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[2], 4000))
s.sendto(b"sky:" + sys.argv[1].encode() + b";" + b"\0" * 40, (sys.argv[3], 4000))' "$@"
    }
    eventually settled a
    eventually in_guest a ping -6 -n -q -c1 -W2 "$(address6 b)" # its host knows where it is
    hear a
    inject outside "$(address b)" "$(address a)"
    inject outside6 "$(address6 b)" "$(address6 a)"
    forge b a "$(on 1 cat /sys/class/net/skwt2x0/address)"
    run ! grep outside <(heard a)
    on 1 nft flush chain inet skw from_outside # the twin
    hear a
    inject outside "$(address b)" "$(address a)"
    inject outside6 "$(address6 b)" "$(address6 a)"
    eventually grep -qx outside "$dir/a.heard"
    eventually grep -qx outside6 "$dir/a.heard"
}
