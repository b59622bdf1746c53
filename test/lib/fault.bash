# What the files in test/fault share, on top of e2e.bash: a look at everything that a host may leave behind.
# shellcheck source=test/lib/e2e.bash
. "$(dirname "${BASH_SOURCE[0]}")/e2e.bash"

# snapshot >FILE: one thing a line, see test/lib/snapshot.
snapshot() { "$SKY_SOURCE/test/lib/snapshot" "$SKY_HOST"; }

# nothing_left BEFORE: this host has what it had when BEFORE was written, and nothing else. What ends by itself (the door
# closes after the client has its last word) is given SKY_SETTLE seconds (5).
nothing_left() {
    local now=$BATS_TEST_TMPDIR/now.$BASHPID end=$((SECONDS + ${SKY_SETTLE:-5}))
    for (( ; ; )); do
        snapshot >"$now" || return
        ! diff "$1" "$now" >"$now.diff" || return 0
        [ "$SECONDS" -lt "$end" ] || break
        sleep 0.3
    done
    echo "left behind (>) or lost (<):" >&2
    grep '^[<>]' "$now.diff" >&2
    return 1
}
