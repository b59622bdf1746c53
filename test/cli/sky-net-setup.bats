#!/usr/bin/env bats
# sky-net-setup in a host of its own: a network namespace with a neighbour in the world, its guests
# played by net-guest, which opens the tap as the hypervisor would.

# shellcheck disable=SC2154 # net-lib's variables
load net-lib

@test "net: a bad request changes nothing and says which key" {
    box www
    run -65 net up <<<'{"v":1,"tenant":"alice","repo":"infra","machine":"www","colour":"red"}'
    [[ $output == *"request.interfaces: missing"* || $output == *colour* ]]
    run -65 net up <<<'{"v":1,"tenant":"alice","repo":"infra","machine":"../www","interfaces":[]}'
    run -65 net up < <(request www | sed 's|/proc/[0-9]*/ns/net|/run/netns/x|')
    [[ $output == *request.netns* ]]
    run -77 net up < <(request www | sed 's/02:5f:00:00:00:01/02:5f:00:00:00:02/')
    [[ $output == *"MAC '02:5f:00:00:00:02' is not this machine's"* ]]
    run -77 net up < <(request www | sed 's/"machine":"www"/"machine":"nix"/')
    ip netns exec "$n-host" sleep 100 >/dev/null 2>&1 3>&- &
    echo $! >"$dir/host.pid"
    eventually inside host
    run -77 net up < <(request www | sed "s|/proc/[0-9]*/|/proc/$!/|")
    [[ $output == *"the host's network namespace"* ]]
    [[ $output != *internal* ]]
    run -77 net attach < <(request www)
    [[ $output == *"up comes first"* ]]
    run -77 as_uid 64001 "$tool" --config "$dir/config.json" list
    run -64 net colour
    [ -z "$(links host)" ]
    rm "$dir/state/storage.json"
    run -69 net up < <(request www)
}

@test "net: up twice is up once, and a dry run changes nothing" {
    box www
    before=$(host ip -o link; host nft list ruleset)
    request www | net up --dry-run >"$dir/plan"
    grep -q '^bridge sknb1 02:5e:0a:63:01:01 10.99.1.1/24 mtu 1500$' "$dir/plan"
    grep -q '^tap sknt1x0 (sky0 of alice/infra/www) 02:5f:00:00:00:01 10.99.1.10 on sknb1 uid 2100000' "$dir/plan"
    grep -q '^dhcp-range=10.99.1.0,static,255.255.255.0' "$dir/plan"
    [ "$before" = "$(host ip -o link && host nft list ruleset)" ]
    [ ! -e "$dir/state/net" ]

    up www
    before=$(state_of_host)
    daemon=$(cat "$dir/state/net/sknb1.pid")
    up www
    [ "$before" = "$(state_of_host)" ]
    play www
    attach www
    attach www
    attached=$(state_of_host)
    up www # its runner lives: left alone
    diff <(echo "$attached") <(state_of_host)
    [ "$daemon" = "$(cat "$dir/state/net/sknb1.pid")" ]
    kill -0 "$daemon"
    net list | grep -q 'alice/infra/www .* sknt1x0 .* attached'
    [ "$(net list --json | jq -r '.interfaces[0].address')" = 10.99.1.10 ]
}

@test "net: a guest gets its address, talks to its neighbour and the world, and answers the host" {
    serve world 80
    boot www db >"$dir/leases"
    grep -qx 'bound 10.99.1.10/24 router=10.99.1.1 dns=10.99.1.1 hostname=' "$dir/leases"
    grep -q 'bound 10.99.1.11/24' "$dir/leases"
    serve db 80
    [ "$(in_guest www curl -sS --max-time 5 http://10.99.1.11/)" = 10.99.1.10 ]
    [ "$(in_guest www curl -sS --max-time 5 http://198.51.100.1/)" = 198.51.100.2 ] # masqueraded
    [ "$(host curl -sS --max-time 5 http://10.99.1.11/)" = 10.99.1.1 ]
    # Names are ours: what the guest calls itself is not served.
    in_guest www busybox nslookup db.infra 10.99.1.1 | grep -q 'Address: 10.99.1.11'
    in_guest www busybox nslookup db 10.99.1.1 | grep -q 'Address: 10.99.1.11'
    run ! in_guest www busybox nslookup evil 10.99.1.1
    # A new table is loaded under running guests, which notice nothing.
    net boundary
    [ "$(in_guest www curl -sS --max-time 5 http://198.51.100.1/)" = 198.51.100.2 ]
    # The dnsmasq that the guests talk to is nobody special.
    [ "$(stat -c %U "/proc/$(cat "$dir/state/net/sknb1.pid")")" = dnsmasq ]
}

@test "net: what a guest forges does not leave its tap" {
    boot www db
    ip netns exec "$n-db" "$here/net-guest" hear eth0 >"$dir/heard" 3>&- &
    eventually is_ready "$dir/heard"
    say() { in_guest www "$here/net-guest" say eth0 from="$(mac www)" to="$(mac db)" source=10.99.1.10 target=10.99.1.11 "$@"; }
    say word=honest
    say word=mac from=02:5f:00:00:00:02
    say word=gateway-mac from=02:5e:0a:63:01:01
    say word=address source=10.99.1.1
    say word=nobody source=0.0.0.0
    say word=no-discover source=0.0.0.0 target=10.99.1.11 ports=68:67
    say word=dhcp-server ports=67:68
    say word=dhcp-client ports=4000:68
    say word=vlan kind=vlan
    say word=ipv6 kind=ipv6
    say word=ipv6-group kind=ipv6 to=33:33:00:00:00:01
    say word=arp kind=arp
    say word=arp-gateway kind=arp source=10.99.1.1
    say word=arp-sender kind=arp sender=02:5e:0a:63:01:01
    say word=arp-probe kind=arp source=0.0.0.0
    say word=lldp to=01:80:c2:00:00:0e
    say word=pause to=01:80:c2:00:00:01
    say word=last
    eventually grep -q last "$dir/heard"
    echo "heard: $(cat "$dir/heard")"
    [ "$(tr '\n' ' ' <"$dir/heard")" = "ready honest arp arp-probe last " ]
    # Another MAC, another address: cut off until it is itself again.
    ip -n "$n-www" link set eth0 down
    ip -n "$n-www" link set eth0 address 02:5f:00:00:00:77 up
    run -1 dhcp www
    ip -n "$n-www" link set eth0 down
    ip -n "$n-www" link set eth0 address "$(mac www)" up
    run -0 dhcp www
}

@test "net: guests reach neither the host nor other tenants" {
    boot www bob
    serve host 80
    serve bob 80
    serve www 80
    for each in 198.51.100.2 10.99.1.1 10.99.2.1 10.99.2.10; do
        run ! in_guest www curl -sS --max-time 1 "http://$each/"
        [[ $output != *10.99* ]]
    done
    [ "$(host curl -sS --max-time 5 http://10.99.2.10/)" = 10.99.2.1 ] # it was there to be reached
    in_guest www busybox nslookup www 10.99.1.1 | grep -q 'Address: 10.99.1.10'
    run ! in_guest www timeout 3 busybox nslookup www 10.99.2.1
    run ! in_guest www ping -c1 -W1 10.99.1.1
    # The world does not come in behind the masquerade.
    ip -n "$n-world" route add 10.99.0.0/16 via 198.51.100.2
    run ! world curl -sS --max-time 1 http://10.99.1.10/
}

@test "net: tenants' and machines' uids reach the egress list and nothing else" {
    boot www
    serve world 80
    serve host 80
    serve www 80
    for each in 127.0.0.1 198.51.100.2 10.99.1.1 10.99.1.10 198.51.100.1 203.0.113.1; do
        [[ $(host curl -sS --max-time 5 "http://$each/") == *.*.*.* ]] # root goes everywhere
    done
    for who in 64001 64002 2100000 2100008 2103999; do
        for each in 127.0.0.1 '[::1]' 198.51.100.2 10.99.1.1 10.99.1.10 203.0.113.1; do
            run ! host setpriv --reuid "$who" --regid "$who" --clear-groups curl -sS --max-time 2 "http://$each/"
            [[ $output == *"curl: ("* ]]
        done
        [ "$(host setpriv --reuid "$who" --regid "$who" --clear-groups curl -sS --max-time 5 http://198.51.100.1/)" = 198.51.100.2 ]
    done
    [[ $(host setpriv --reuid 64003 --regid 64003 --clear-groups curl -sS --max-time 5 http://127.0.0.1/) == 127.0.0.1 ]]
    # In a user namespace of its own a tenant is who it was.
    run ! host setpriv --reuid 64001 --regid 64001 --clear-groups unshare -Ur curl -sS --max-time 2 http://127.0.0.1/
    # What root accepted stays root's when the process becomes the tenant, as sshd's sessions do.
    ip netns exec "$n-host" python3 -c 'import os, socket
s = socket.create_server(("127.0.0.1", 2222)); print("ready", flush=True)
c, _ = s.accept(); os.setgroups([]); os.setgid(64001); os.setuid(64001); c.sendall(b"welcome")' >"$dir/door" 3>&- &
    eventually is_ready "$dir/door"
    [ "$(host python3 -c 'import socket; s = socket.create_connection(("127.0.0.1", 2222), 5); print(s.recv(99).decode())')" = welcome ]
}

@test "net: a tap opens for its machine alone, with the queues it was made for" {
    box www
    up www 2
    run ! ip netns exec "$n-box-www" timeout 5 "$here/net-guest" run 2100004 sky0 2 "$(mac www)" "$n-www"
    [[ $output == *"not permitted"* ]]
    run ! ip netns exec "$n-box-www" timeout 5 "$here/net-guest" run 2100000 sky0 1 "$(mac www)" "$n-www"
    [[ $output == *"Invalid argument"* ]]
    up www 1 # the manifest changed: made anew
    run ! ip netns exec "$n-box-www" timeout 5 "$here/net-guest" run 2100000 sky0 2 "$(mac www)" "$n-www"
    up www 2
    play www 2
    attach www
    ip -n "$n-www" link set eth0 up
    dhcp www
    # Nothing is left inside, and nothing can be made there.
    [ -z "$(links box-www)" ]
    run ! ip netns exec "$n-box-www" timeout 5 "$here/net-guest" run 2100000 sky0 2 "$(mac www)" "$n-www"
}

@test "net: down leaves nothing of the machine, and nothing of the tenant with its last" {
    [ "$(host cat /proc/sys/net/ipv4/ip_forward)" = 0 ]
    boot www db bob
    [ "$(host cat /proc/sys/net/ipv4/ip_forward)" = 1 ]
    down www
    down www
    run ! host ip link show sknt1x0
    run ! host nft list chain netdev skn sknt1x0
    [ "$(cat "$dir/state/net/sknb1.hosts")" = "$(mac db),10.99.1.11" ]
    in_guest db busybox nslookup db 10.99.1.1 | grep -q 10.99.1.11 # the neighbour runs on
    daemon=$(cat "$dir/state/net/sknb1.pid")
    rm "$dir/state/registry.json" # a branch was deleted: cleanup does not need it
    down db
    eventually dead "$daemon"
    run ! host ip link show sknb1
    host ip link show sknb2
    run -77 net boundary --off
    down bob
    [ -z "$(links host)" ]
    [ "$(find "$dir/state/net" -type f -printf '%f ')" = "lock " ]
    [ "$(host nft list tables | tr "\n" " ")" = "table inet skn table netdev skn " ] # tenants stay guarded
    [ "$(host cat /proc/sys/net/ipv4/ip_forward)" = 0 ]
    net boundary --off
    [ -z "$(host nft list tables)" ]
}

@test "net: down before attach removes the taps inside the sandbox" {
    box www
    up www
    down www
    [ -z "$(links box-www)" ]
}

@test "net: the operator takes all of it away, once nothing runs" {
    boot www db
    run -77 net boundary --off
    [[ $output == *"'alice/infra/"*"' runs"* ]]
    kill "$(cat "$dir/www.play")" "$(cat "$dir/db.play")"
    idle() { [ "$(net list | grep -c unused)" = 2 ]; }
    eventually idle
    net boundary --off
    [ -z "$(links host)" ]
    [ -z "$(host nft list tables)" ]
    [ -z "$(net list)" ]
    [ "$(host cat /proc/sys/net/ipv4/ip_forward)" = 0 ]
}

@test "net: whatever was killed in the middle, the next up or down finishes" {
    box www
    empty=$(host ip -o link)
    for delay in 0.005 0.01 0.015 0.02 0.03 0.04 0.06 0.08; do
        request www | net up 3>&- &
        sleep "$delay"
        kill -KILL $! 2>/dev/null || true
        wait $! || true
        up www
        [ "$(host ip -o link | grep -c sknb1)" = 1 ]
        request www | net down 3>&- &
        sleep "$delay"
        kill -KILL $! 2>/dev/null || true
        wait $! || true
        down www
        [ "$(host ip -o link)" = "$empty" ]
        [ "$(find "$dir/state/net" -type f -name 'sknb*')" = "" ]
        [ -z "$(pgrep -f "conf-file=$dir/state/net/")" ]
    done
}

@test "net: beside a machine that stays too, and what is there then is what looking at all would make" {
    stands() { state_of_host | grep -v '\.pid$'; } # its dnsmasq was started anew
    boot db
    box www
    net boundary
    before=$(stands)
    for delay in 0.002 0.005 0.01 0.015 0.02 0.03 0.04 0.06; do
        request www | net up 3>&- &
        sleep "$delay"
        kill -KILL $! 2>/dev/null || true
        wait $! || true
        up www
        request www | net down 3>&- &
        sleep "$delay"
        kill -KILL $! 2>/dev/null || true
        wait $! || true
        down www
        diff <(echo "$before") <(stands)
    done
    up www && play www && attach www
    ip -n "$n-www" link set eth0 up
    dhcp www
    [ -e "$dir/state/net/stands" ]
    mine=$(stands)
    net boundary
    [ "$mine" = "$(stands)" ]
    # An index that nobody vouches for is not looked at.
    rm "$dir/state/net/stands"
    echo 'alice.infra.gone 9 0 10.99.1.10' >"$dir/state/net/sknb1.machines"
    down www
    [ "$before" = "$(stands)" ]
}

@test "net: a dead machine's tap is made anew, a dead dnsmasq started again, flushed rules loaded" {
    boot www
    kill "$(cat "$dir/www.play")"
    unused() { net list | grep -q unused; }
    eventually unused
    kill "$(cat "$dir/state/net/sknb1.pid")"
    host nft flush ruleset
    box_again() { ip netns del "$n-box-www" && ip netns del "$n-www" && box www; }
    box_again
    up www
    play www
    host nft flush ruleset
    attach www
    host nft list chain netdev skn sknt1x0
    ip -n "$n-www" link set eth0 up
    dhcp www
}

@test "net: boundary --check tells rules of another configuration; boundary puts them in order, and an older version's table away" {
    run -1 net boundary --check
    boot www
    net boundary --check
    host nft 'table bridge skn { chain old { type filter hook forward priority 0; policy drop; }; }'
    sed -i 's|"egress":\["198.51.100.0/24"\]|"egress":["198.51.100.0/25"]|' "$dir/config.json"
    rules=$(host nft list ruleset)
    run -1 net boundary --check
    [[ $output == *"than the configuration wants (sky-net-setup boundary)"* ]]
    [ "$rules" = "$(host nft list ruleset)" ]
    net boundary
    net boundary --check
    run ! host nft list table bridge skn
    host nft list chain netdev skn sknt1x0
    host nft delete table netdev skn
    run -1 net boundary --check
}

@test "net: an address that went to another machine is leased to it at once" {
    boot www db
    down www
    down db
    registry 10.99.1.10 && sed -i 's/"default":"10.99.1.10","back"/"default":"10.99.1.20","back"/' "$dir/state/registry.json"
    boot_again() { # its player ended when `down` took the tap
        up "$1" && ip netns del "$n-$1" && ip netns add "$n-$1" && play "$1" && attach "$1"
    }
    boot_again www
    boot_again db
    ip -n "$n-db" link set eth0 up
    run -0 dhcp db
    [[ $output == *"bound 10.99.1.10/24"* ]]
}

@test "net: two hosts on one kernel keep to their prefix" {
    box www
    up www
    mine=$(state_of_host)
    first=$dir
    dir=$dir/other && mkdir -p "$dir/state" && cp "$first/www.pid" "$dir"
    cp "$first/state/storage.json" "$dir/state" && registry && configure skm
    sed -i 's/10\.99\./10.97./; s/10\.98\./10.96./' "$dir/config.json"
    sed -i 's/10\.99\./10.97./g; s/10\.98\./10.96./g' "$dir/state/registry.json"
    up www
    host ip link show skmb1
    host ip link show sknb1
    [ "$(host nft list tables | wc -l)" = 4 ]
    down www
    net boundary --off
    dir=$first
    [ "$mine" = "$(state_of_host)" ]
    [ "$(host cat /proc/sys/net/ipv4/ip_forward)" = 1 ]
    down www
}
