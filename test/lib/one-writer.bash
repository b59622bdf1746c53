# One writer: what files of test/cluster share whose machines count on a bare volume (counter.cpp), while something happens to the
# host that has all of them (`all`), and they go to the next.
# shellcheck shell=bash
# shellcheck disable=SC2154
load ../lib/cluster

# Machines whose second disk is one to count on, unless a file says otherwise: COUNTS_ON a device, EACH_HAS in their Nix.
counting() { # TEXT [MORE...]: of a; more machines
    local each flake=("${@:2}")
    for each in "${all[@]}"; do
        flake+=("$each={ text = \"$([ "$each" = a ] && echo "$1" || echo "text of $each")\";
            run = \"\${./counter} write ${COUNTS_ON:-/dev/vdb} &\"; ${EACH_HAS:-deployment.volumes.count.size = 1024;} }")
    done
    machines "${flake[@]}"
}
read_along() { # NAME...
    local name
    for name; do
        : >"$(history_of "$name")"
        ./counter watch "$(volume_of "$name")" "$(history_of "$name")" 3>&- &
        echo $! >"$BATS_FILE_TMPDIR/$name.pid"
    done
}
volume_of() { # NAME: where it can be read; a file may say VOLUMES_AT
    [ -z "${VOLUMES_AT:-}" ] || { echo "$VOLUMES_AT/$1" && return; }
    echo "$SKY_HOST/shared/volumes/$(account "$TENANT")/$REPO/$1/count.img"
}
history_of() { echo "$BATS_FILE_TMPDIR/history/$1"; }
generation() { tail -n 1 "$(history_of "$1")" | cut -d' ' -f1; }
counted() { wc -l <"$(history_of "$1")"; }
counts_on() { [ "$(counted "$1")" -gt "$2" ]; } # NAME LINES: it has written more than these
# No lower generation after a higher one, each count after the one before, and nothing gone.
one_writer() { # NAME...
    local name
    for name; do promised "one writer" whole_history "$name" || return; done
}
whole_history() { # NAME
    awk -v name="$1" '$2 == "gone" { print name ": lost " $3 " of " $1; exit 1 }
        $1 < last { print name ": " $1 " wrote " $2 " after " last; exit 1 }
        $1 > last && $2 != 0 || $1 == last && $2 != count { print name ": " $0 " instead of " count; exit 1 }
        { last = $1; count = $2 + 1 }' last=0 count=0 "$(history_of "$1")" >&2
}

ask() { export API_HOST=$1 HOST_NOW=$1; } # HOST: about everything from now on
# HERE has all of them; they shall go to NEXT, whom to ask meanwhile.
begin() {
    local each
    HERE=$(host_of a)
    case $HERE in n1) NEXT=n2 ;; n2) NEXT=n3 ;; *) NEXT=n1 ;; esac
    ask "$NEXT"
    eventually 90 can_lose_one
    only "$NEXT"
    # What was done to a host before may have cost it its connections. If it dials an agent that stands still, it waits for an
    # answer until that one goes on (Nomad's TLS handshakes have no deadline), and its own heartbeats with it.
    eventually 90 ready "$NEXT"
    for each in "${all[@]}"; do
        [ "$(host_of "$each")" = "$HERE" ]
        generation "$each" >"$BATS_TEST_TMPDIR/$each"
    done
}
moved() { # NAME: a later generation counts, on NEXT
    later "$1" && [ "$(host_of "$1")" = "$NEXT" ] && is_up "$1"
}
all_moved() { # [NAME...]
    local each
    [ $# -gt 0 ] || set -- "${all[@]}"
    for each; do # Nomad itself takes up to 90 s when its leader hears nothing any more
        eventually 180 moved "$each" || { why_not_moved "$each" >&2; return 1; }
    done
    one_writer "$@"
}
why_not_moved() { # NAME: as the servers and NEXT see it
    local job
    job=$(account "$TENANT").$REPO.$1
    echo "leader $(leader); from $HERE to $NEXT"
    nomad_api GET nodes | jq -c '.[] | {Name, Status, SchedulingEligibility, StatusDescription}'
    nomad_api GET "job/$job/allocations?namespace=sky-$(account "$TENANT")" | jq -c '.[] | {NodeName, ClientStatus, DesiredStatus, CreateIndex}'
    nomad_api GET "job/$job/evaluations?namespace=sky-$(account "$TENANT")" | jq -c '.[-3:][] | {Status, StatusDescription, TriggeredBy, FailedTGAllocs}'
    nomad_api GET "var/sky/owner/$(account "$TENANT")/$REPO/$1?namespace=skyflake" | jq -r .Items.json
    tail -n 15 "$SKY_HOST/hosts/$NEXT/nomad.log"
}
hypervisor() { processes_of_uid "$(machine_uid "$1")"; }
gone_here() { [ -z "$(hypervisor "$1")" ]; }
later() { [ "$(generation "$1")" -gt "$(cat "$BATS_TEST_TMPDIR/$1")" ]; } # than when it was written down
supervisor() { on "$HERE" pgrep -f -- "sky-vm-run .* run $(account "$TENANT").$REPO.$1\$"; }
# Nothing of the machines lives on HERE any more, which holds its lease again and may be given machines.
settled() {
    local uid
    uid=$(machine_uid a)
    ! on "$HERE" sh -c 'cat /proc/[0-9]*/status 2>/dev/null' |
        awk -v u="$uid" '/^State:/ { z = $2 == "Z" } /^Uid:/ && !z && $2 >= u && $2 < u + 16 { n = 1 } END { exit !n }' || return 1
    ready "$HERE" || return 1
    [ "$(lease "$HERE" .revoked)" = false ]
}
ready() { nomad_api GET nodes | jq -e --arg n "$1" 'all(.[] | select(.Name == $n); .Status == "ready")' >/dev/null; }
lease() { nomad_api GET "var/sky/lease/$1?namespace=skyflake" | jq -r ".Items.json | fromjson | $2"; }
leader() { nomad_api GET status/leader | jq -r 'split(":")[0] | split(".")[3] | tonumber - 10 | "n\(.)"'; }
another_leads() { [ "$(leader)" != "$1" ]; }
leads() { [ "$(leader)" = "$1" ]; }
