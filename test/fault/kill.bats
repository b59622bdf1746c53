#!/usr/bin/env bats
# kill -9 of each tool at state-changing system calls of a push, and of each process that lives as long as a machine.
# SKY_FAULT_ALL=1: at all of them; else at a sample of SKY_FAULT_POINTS for each tool, chosen by SKY_FAULT_SEED. The
# revision is the seed of a run that names none: each commit tries others, and each run of it the same.
load kill

setup_file() {
    load kill
    work_tree killed
    watch_tools
    # The machine needs no shutdown of its own here.
    jq '.machine.stop_s = 2' "$SKY_CONFIG" >"$FAULT/config" && cat "$FAULT/config" >"$SKY_CONFIG"
    fresh && git branch known-a && fresh && git branch known-b
    push known-a:refs/heads/www && push +known-b:refs/heads/www
    record
    export SKY_FAULT_SEED=${SKY_FAULT_SEED:-$(git -C "$SKY_SOURCE" rev-parse HEAD)}
}
setup() { cd "$WORK" || return; }
teardown_file() {
    no_plan
    drop_machines
    leave_tools
}

record() {
    local scene
    for scene in switch adopt delete new update drop; do
        prepare "$scene"
        no_logs
        plan record
        play "$scene"
        no_plan
        came_true "$scene"
        mkdir -p "$FAULT/points/$scene"
        cp "$FAULT/log/"* "$FAULT/points/$scene"
        # Of these only the supervisor differs from what the scene without its death has.
        case $scene in adopt | drop) find "$FAULT/points/$scene" -type f ! -name 'sky-vm-run.run.*' -delete ;; esac
    done
    expectation # now without a tracer that watches a supervisor
}
# What there is when nobody was killed.
expectation() {
    prepare new && play new && came_true new && settled >"$FAULT/up" &&
        play delete && came_true delete && settled >"$FAULT/down"
}
# A snapshot that stays what it is.
settled() {
    local now before=
    for (( ; ; )); do
        now=$(snapshot)
        [ "$now" != "$before" ] || break
        before=$now
        sleep 1
    done
    echo "$now"
}

points() { # TOOL [OPTION...]
    "$SKY_SOURCE/test/fault/points" "$FAULT/points" --tool "$@"
}

# kills TOOL FLOOR: at least FLOOR points are found, and at each that is tried nothing is lost and nothing is left.
kills() {
    local tool=$1 floor=$2 found tried=0 failed=0 scene role number occurrence words list=$BATS_TEST_TMPDIR/list
    found=$(points "$tool" | wc -l)
    if [ "${SKY_FAULT_ALL:-}" = 1 ]; then points "$tool" >"$list"; else
        points "$tool" --seed "$SKY_FAULT_SEED" --count "${SKY_FAULT_POINTS:-4}" >"$list"
    fi
    while read -r scene role number occurrence words <&4; do
        tried=$((tried + 1))
        try_point "$scene" "$role" "$number" "$occurrence" "$words" 4>&- 3>&- >"$BATS_TEST_TMPDIR/said" && continue
        failed=$((failed + 1))
        echo "$scene: $role $number: $occurrence. $words"
        cat "$BATS_TEST_TMPDIR/said"
        expectation >"$BATS_TEST_TMPDIR/said" 2>&1 || cat "$BATS_TEST_TMPDIR/said" # its leavings are told once
    done 4<"$list"
    echo "# $tool: $found points found, $tried tried (seed $SKY_FAULT_SEED), $failed not good" | tee /dev/fd/3
    [ "$found" -ge "$floor" ] && [ "$tried" -gt 0 ] && [ "$failed" = 0 ]
}

@test "kill -9 of sky-shell at any call: a plain push works, nothing is left" { kills sky-shell 100; }
@test "kill -9 of sky-build at any call: a plain push works, nothing is left" { kills sky-build 200; }
@test "kill -9 of sky-cache-push at any call: a plain push works, nothing is left" { kills sky-cache-push 80; }
@test "kill -9 of sky-nomad-submit at any call: a plain push works, nothing is left" { kills sky-nomad-submit 90; }
@test "kill -9 of sky-vm-run at any call: a plain push works, nothing is left" { kills sky-vm-run 700; }
@test "kill -9 of sky-net-setup at any call: a plain push works, nothing is left" { kills sky-net-setup 150; }
