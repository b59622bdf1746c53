# What test/fault/kill.bats plays: pushes of one machine, during which a tool is killed at one of its state-changing
# system calls (test/fault/point.cpp says how).
# shellcheck source=test/lib/fault.bash
. "$(dirname "${BASH_SOURCE[0]}")/../lib/fault.bash"

TOOLS=(sky-shell sky-build sky-cache-push sky-nomad-submit sky-vm-run sky-net-setup)
FAULT=$SKY_HOST/fault

# Each tool of the host can now be watched; without a plan it is what it was.
watch_tools() {
    local tool
    mkdir -p "$SKY_HOST/usr/real" "$FAULT/log"
    chmod 1777 "$FAULT/log"
    g++ -std=c++20 -O1 -Wall -Wextra -o "$FAULT/point" "$SKY_SOURCE/test/fault/point.cpp" || return
    for tool in "${TOOLS[@]}"; do
        mv "$SKY_HOST/usr/bin/$tool" "$SKY_HOST/usr/real/$tool" || return
        cp "$FAULT/point" "$SKY_HOST/usr/bin/$tool" || return
        setcap cap_sys_ptrace=ep "$SKY_HOST/usr/bin/$tool" || return
    done
}
leave_tools() {
    local tool
    for tool in "${TOOLS[@]}"; do mv "$SKY_HOST/usr/real/$tool" "$SKY_HOST/usr/bin/$tool"; done
}
plan() { echo "$*" >"$FAULT/plan.new" && mv "$FAULT/plan.new" "$FAULT/plan"; }
no_plan() { rm -f "$FAULT/plan"; }
no_logs() { find "$FAULT/log" -type f -delete; }

# The machine. It is ready as soon as its hypervisor answers: what runs in it is not what this is about.
fresh() { machines www="$(site "$RANDOM$RANDOM$RANDOM" 'deployment.ready = { };')"; }
supervisor() { # pid of the machine's sky-vm-run run
    local pid
    for pid in $(pgrep -f -x ".*/sky-vm-run .*run $(account alice).$REPO.www"); do
        [ "$(readlink "/proc/$pid/exe")" != "$SKY_HOST/usr/real/sky-vm-run" ] || echo "$pid"
    done | head -n 1
}
two_commits() { # which the host knows both, for scenes that build nothing
    # The machine needs no shutdown of its own here.
    jq '.machine.stop_s = 2' "$SKY_CONFIG" >"$FAULT/config" && cat "$FAULT/config" >"$SKY_CONFIG"
    fresh && git branch known-a && fresh && git branch known-b &&
        push +known-a:refs/heads/www && push +known-b:refs/heads/www
}
# As if it had never been here: its disk, its records and its roots, too. For a machine that is down.
forget_machine() {
    local path
    path=$(account alice)/$REPO/www
    rm -rf "$SKY_HOST/state/vm/${path//\//.}" "$SKY_HOST/state/"{volumes,deployments,gcroots}"/$path"
    jq '.kept = {}' "$SKY_HOST/state/registry.json" >"$FAULT/registry" && cat "$FAULT/registry" >"$SKY_HOST/state/registry.json"
}

# A scene is a push: of a machine that was never here (new), of another deployment (update), of one that was here before
# (switch), of nothing (delete); adopt and drop are switch and delete while the machine's supervisor is dead.
ends_down() { [[ $1 = delete || $1 = drop ]]; }
plain_up() { push "+$1:refs/heads/www" && is_up www; }
# What the host has, seen without a contact: that would end what a push left to do.
held() { git -c safe.directory='*' --git-dir="$SKY_HOST/state/tenants/$(account alice)/repos/$REPO.git" rev-parse -q --verify refs/heads/www; }
registered() { machine_uid www >/dev/null 2>&1; }
runs() { # REVISION
    jq -e --arg rev "$1" '.rev == $rev and (.state == "ready" or .state == "running")' \
        "$SKY_HOST/state/vm/$(account alice).$REPO.www/state.json" >/dev/null &&
        [ -n "$(processes_of_uid "$(machine_uid www)")" ]
}
prepare() { # SCENE: the state that it starts from, and HEAD what it pushes
    if [ "$1" = new ]; then
        [ -z "$(held)" ] || push :www || return
        forget_machine
        git checkout -q main && fresh
        return
    fi
    git checkout -q main
    if [ -z "$(held)" ]; then plain_up known-a || return; fi
    case $1 in
    update) fresh ;;
    switch | adopt) if [ "$(held)" = "$(git rev-parse known-a)" ]; then git checkout -q known-b; else git checkout -q known-a; fi ;;
    esac
    case $1 in
    adopt | drop)
        kill -KILL "$(supervisor)" || return
        ;;
    esac
}
play() { # SCENE: the push; a client that hangs is one that fails
    local what=+HEAD:refs/heads/www
    ! ends_down "$1" || what=:www
    timeout 240 git push sky "$what" 2>&1 </dev/null
}

# came_true SCENE: what the push said is so.
came_true() {
    if ends_down "$1"; then
        [ -z "$(held)" ] && ! registered
    else
        [ "$(held)" = "$(git rev-parse HEAD)" ] && runs "$(git rev-parse HEAD)"
    fi
}

# Writes down what the tools do in each scene, and what there is when nobody was killed.
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

# try_point SCENE ROLE N OCCURRENCE WORDS: what happens and what is left when that call is never made. 2: the call did
# not come this time (how often somebody asks a monitor, say, is no more the same twice).
try_point() {
    local scene=$1 role=$2 number=$3 code out=$BATS_TEST_TMPDIR/out before=$FAULT/up
    ! ends_down "$scene" || before=$FAULT/down
    prepare "$scene" >"$out" 2>&1 || { echo "  cannot begin:"; cat "$out"; return 1; }
    no_logs
    plan kill "$role" "$number" "$4" "$5"
    play "$scene" >"$out" && code=0 || code=$?
    # What is killed may be at work after the client's last word; not every occurrence need come again.
    eventually 10 grep -q '^killed' "$FAULT/log/$role:$number" >/dev/null 2>&1 || {
        no_plan
        return 2
    }
    no_plan
    if [ "$code" = 124 ]; then
        echo "  the push hangs"
        return 1
    fi
    if [ "$code" = 0 ] && ! came_true "$scene"; then
        echo "  the push said that all is well, and it is not:" && cat "$out" && status www
        return 1
    fi
    # A plain push. What is deleted already can not be pushed again: any contact ends the work.
    if ends_down "$scene" && [ -z "$(held)" ]; then
        # It does not wait for the work that it has begun.
        git ls-remote sky >"$out.plain" 2>&1 && eventually 60 came_true "$scene" >>"$out.plain" 2>&1
    else
        play "$scene" >"$out.plain"
    fi || {
        echo "  the push ended with $code:" && cat "$out" && echo "  a plain push after it does not work:" && cat "$out.plain"
        return 1
    }
    came_true "$scene" || {
        echo "  the push ended with $code, and after a plain push it is not as that said:" && cat "$out" "$out.plain" && status www
        return 1
    }
    nothing_left "$before" 2>&1 || { echo "  the push ended with $code:" && cat "$out" "$out.plain"; return 1; }
}
