#!/usr/bin/env bats
# `sky-net-setup verify` on a host with machines. Its twin is in it: a kind of frame that does not cross a bridge without
# rules either is not counted as shown.
# shellcheck disable=SC2154 # hosts.bash's variables
load hosts

shows() { # MODE HONEST: all is well, so many honest kinds arrived in each direction
    local line
    if [ "$status" != 0 ]; then printf '%s\n%s\n' "$output" "$stderr"; false; fi
    while read -r line; do
        [ "$(jq -c '[.crossed, .lost, .unprovable]' <<<"$line")" = '[[],[],[]]' ]
        [ "$(jq .forged <<<"$line")" -ge 18 ]
    done < <(jq -c "select(.mode == \"$1\")" <<<"$output")
    [ "$(jq -c "select(.mode == \"$1\") | .honest" <<<"$output" | tr '\n' ' ')" = "$2" ]
}

@test "verify: no forged frame comes through on a live host, honest ones do, and its machines notice nothing" {
    for mode in '{"ipv6":"fd99::/48"}' '{"mode":"vxlan","ids":{"first":1,"last":9},"ipv6":"fd99::/48"}' '{"mode":"routed","ipv6":"fd99::/48"}'; do
        configure "$mode"
        start 1 a b
        before=$(on 1 ip -o link | sed 's/<[^>]*>//; s/ state .*//' | sort; on 1 nft list ruleset)
        run --separate-stderr net 1 verify --json
        case $mode in *routed*) shows routed '2 2 0 ' ;; *) shows bridge '4 4 0 ' ;; esac
        [ "$before" = "$(on 1 ip -o link | sed 's/<[^>]*>//; s/ state .*//' | sort; on 1 nft list ruleset)" ]
        pings a b
        stop 1 a
        stop 1 b
    done
    # Where honest frames do not arrive nothing is shown, which is another answer than that a forged one did: here the
    # rules of another let nothing across bridges.
    configure '{"ipv6":"fd99::/48"}'
    on 1 nft 'table bridge other { chain none { type filter hook forward priority 0; policy drop; }; }'
    run -75 --separate-stderr net 1 verify --json
    [ "$(jq -c 'select(.way == "back") | .crossed, .honest, .lost' <<<"$output" | tr '\n' ' ')" = \
        '[] 4 ["IPv4","ARP","IPv6","ND advertisement"] ' ]
    [[ $stderr == *"no forged frame came through, but honest ones were not seen in time"* ]]
    on 1 nft delete table bridge other
    configure '{"mode":"routed","ipv6":"fd99::/48"}'
    # On a host without machines too, which has nothing of it afterwards.
    run -0 net 1 verify
    [[ $output == *"routed  to a neighbour     0 of "* ]]
    [ -z "$(leftovers 1)" ]
}
