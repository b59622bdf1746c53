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
plain_up() { run -0 push "+$1:refs/heads/www" && is_up www; }
is_down() { [ -z "$(branch www)" ] && is_gone_from_registry; }
is_gone_from_registry() { ! jq -e --arg m "$(account alice).$REPO.www" '.machines[$m]' "$SKY_HOST/state/registry.json" >/dev/null; }
prepare() { # SCENE: the state that it starts from, and HEAD what it pushes
    if [ "$1" = new ]; then
        [ -z "$(branch www)" ] || run -0 push :www || return
        forget_machine
        git checkout -q main && fresh
        return
    fi
    git checkout -q main
    if [ -z "$(branch www)" ]; then plain_up known-a || return; fi
    case $1 in
    update) fresh ;;
    switch | adopt) if [ "$(branch www)" = "$(git rev-parse known-a)" ]; then git checkout -q known-b; else git checkout -q known-a; fi ;;
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

# came_true SCENE: what the branch says is so.
came_true() {
    if ends_down "$1"; then
        is_down
    else
        [ "$(branch www)" = "$(git rev-parse HEAD)" ] && is_up www && [ "$(field www .rev)" = "$(git rev-parse HEAD)" ]
    fi
}

# try_point SCENE ROLE N OCCURRENCE WORDS: what happens and what is left when that call is never made.
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
        echo "  not killed: the call did not come"
        return 1
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
    if ! ends_down "$scene" || [ -n "$(branch www)" ]; then
        play "$scene" >"$out.plain" || {
            echo "  the push ended with $code:" && cat "$out" && echo "  a plain push after it with $?:" && cat "$out.plain"
            return 1
        }
    fi
    came_true "$scene" || {
        echo "  after a plain push it is not as the branch says:" && cat "$out" "$out.plain" && status www
        return 1
    }
    nothing_left "$before" 2>&1 || { echo "  the push ended with $code:" && cat "$out"; return 1; }
}
