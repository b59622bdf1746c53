# shellcheck shell=bash
# For a bats file with a private host in $TOP that vm-fixture made: what lives there, and what it is asked. $vmdir: the
# directory of the machine.
# shellcheck disable=SC2154

# Every process in a sandbox of this file's machines, but zombies: init here may not reap.
ours() {
    { cat /proc/[0-9]*/status 2>/dev/null || true; } | # processes come and go: awk would stop at the first that went
        awk -v first="$SKY_TEST_UIDS" '/^Name:/ { dead = 0 } /^State:/ { dead = $2 == "Z" } /^Pid:/ { pid = $2 }
            /^Uid:/ { uid = $2 } /^NSpid:/ && NF > 2 && !dead && uid >= first && uid < first + 4000 { print pid }'
}
ours_are() { [ "$(ours | wc -l)" = "$1" ]; }
one_supervisor() { [ "$(supervisors | wc -l)" = 1 ]; }
supervisors() { pgrep -f -- "^$SKY_BIN/sky-vm-run --config $TOP/config.json run alice.infra.www" || true; }

vm() { "$SKY_BIN/sky-vm-run" --config "$TOP/config.json" "$@"; }
no_process() { [ -z "$(ours)" ] && [ -z "$(supervisors)" ]; }
wait_for() { # COMMAND...
    local i
    for ((i = 0; i < 600 * ${SKY_PATIENCE:-1}; i++)); do
        if "$@"; then return 0; fi
        sleep 0.1
    done
    echo "waited in vain for: $*" >&2
    return 1
}
request() { jq -nc --argjson more "${1:-{\}}" '{ v: 1, tenant: "alice", repo: "infra", machine: "www" } + $more'; }
spec() { jq -c "${1:-.}" "$TOP/spec.json"; } # JQ-FILTER
start() { spec "${1:-.}" | vm start; }
field() { vm list </dev/null | jq -r ".$1"; }
field_is() { [ "$(field "$1")" = "$2" ]; }
says() { grep -q -- "$1" "$vmdir/console.log"; }
of_uid() { # OFFSET: the pid of the process with this uid of the machine's block
    local uid pid
    uid=$(($(jq '.machines["alice.infra.www"].uid' "$TOP/state/registry.json") + $1))
    for pid in $(ours); do
        if [ "$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")" = "$uid" ]; then echo "$pid" && return; fi
    done
}
