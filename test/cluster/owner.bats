#!/usr/bin/env bats
# One writer: whatever dies, hangs or is cut off, a volume that all hosts can open is written by one machine at a time, and what
# was synced stays. A guest counts on a bare volume (counter.cpp), and who reads along keeps the history.
load ../lib/cluster

setup_file() {
    load ../lib/cluster
    work_tree owner
    remotes
    c++ -std=c++20 -O1 -static -o counter "$BATS_TEST_DIRNAME/counter.cpp"
    mkdir "$BATS_FILE_TMPDIR/history"
}
setup() { cd "$WORK" || return; }
teardown_file() {
    local pid
    for pid in "$BATS_FILE_TMPDIR"/*.pid; do kill "$(cat "$pid")" || true; done
    cd "$WORK" || return 0
    git ls-remote n1 'refs/heads/*' | sed 's|.*refs/heads/|:refs/heads/|' | xargs -r git push -q n1 || true
}

# A machine whose second disk is one to count on.
counts() { # NAME
    echo "$1={ text = \"$1\"; run = \"\${./counter} write /dev/vdb &\"; deployment.volumes.count.size = 256; }"
}
volume() { echo "$SKY_HOST/shared/volumes/$(account "$TENANT")/$REPO/$1/count.img"; }
history_of() { echo "$BATS_FILE_TMPDIR/history/$1"; }
read_along() { # NAME...
    local name
    for name; do
        : >"$(history_of "$name")"
        ./counter watch "$(volume "$name")" "$(history_of "$name")" 3>&- &
        echo $! >"$BATS_FILE_TMPDIR/$name.pid"
    done
}
generation() { tail -n 1 "$(history_of "$1")" | cut -d' ' -f1; }
counted() { wc -l <"$(history_of "$1")"; }
counts_on() { # NAME LINES: it has written more than these
    [ "$(counted "$1")" -gt "$2" ]
}
in_generation() { [ "$(generation "$1")" -ge "$2" ]; }
# No lower generation after a higher one, each count after the one before, and nothing gone.
one_writer() { # NAME...
    local name
    for name; do
        awk -v name="$name" '$2 == "gone" { print name ": lost " $3 " of " $1; exit 1 }
            $1 < last { print name ": " $1 " wrote " $2 " after " last; exit 1 }
            $1 > last && $2 != 0 || $1 == last && $2 != count { print name ": " $0 " instead of " count; exit 1 }
            { last = $1; count = $2 + 1 }' last=0 count=0 "$(history_of "$name")" >&2 || return 1
    done
}
owner() { nomad_api GET "var/sky/owner/$(account "$TENANT")/$REPO/$1?namespace=skyflake" | jq -r ".Items.json | fromjson | $2"; }
owned_elsewhere() { [ "$(owner "$1" .host)" != "$2" ]; }

@test "a machine whose host dies runs elsewhere, with its data, and the host comes back without it" {
    machines "$(counts www)"
    read_along www
    run -0 push_to n1 main:www
    eventually 30 counts_on www 5
    local host generation written other=n1
    host=$(host_of www) generation=$(generation www) written=$(counted www)
    [ "$host" != n1 ] || other=n2
    export API_HOST=$other HOST_NOW=$other
    cluster kill "$host"
    eventually 60 in_generation www $((generation + 1))
    eventually 60 is_up www
    [ "$(host_of www)" != "$host" ]
    [ "$(page_of www)" = www ]
    counts_on www "$written"
    cluster start "$host"
    one_writer www
}
