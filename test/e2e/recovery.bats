#!/usr/bin/env bats
# Nothing is lost when something dies: the client, a build, the scheduler's step, a machine, its supervisor.
load ../lib/e2e

setup_file() {
    load ../lib/e2e
    work_tree lasting
    machines www="$(site "one")" slow="$(slow 1)"
    push main:www
}
setup() { cd "$WORK" || return; }
teardown_file() { drop_machines; }

# A machine whose build takes long enough to do something meanwhile.
slow() { # SEED
    echo "{ text = builtins.readFile (nixpkgs.legacyPackages.x86_64-linux.runCommand \"slow-$1\" { } \"sleep 12; echo slow $1 > \$out\"); }"
}
supervisor() { # MACHINE: pid of its sky-vm-run run
    local pid
    for pid in $(pgrep -f -x ".*/sky-vm-run .*run $(account alice).lasting.$1"); do
        [ "$(readlink "/proc/$pid/exe")" != "$SKY_HOST/usr/bin/sky-vm-run" ] || echo "$pid"
    done | head -n 1
}
qemu() { # MACHINE: pid of its hypervisor
    local pid
    for pid in $(processes_of_uid "$(machine_uid "$1")"); do
        tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q -- '-m ' && echo "$pid"
    done | head -n 1
}
runs_again() { # MACHINE OLD-PID
    local now
    now=$(qemu "$1")
    [ -n "$now" ] && [ "$now" != "$2" ]
}

@test "a second push to a repo waits and says who holds it and since when" {
    machines www="$(site "two")" slow="$(slow 2)"
    git push sky main:slow >"$BATS_TEST_TMPDIR/first" 2>&1 </dev/null 3>&- &
    local first=$!
    eventually 60 test -n "$(ls "$SKY_HOST/state/tenants/$(account alice)/builds")"
    sleep 3
    run -0 push main:www
    says 'lasting'
    [[ $output =~ [0-9a-v]{16} ]] # the build id of the push that is on
    [[ $output =~ [Ww]ait ]]
    wait "$first"
    [ "$(page www)" = two ]
    [ "$(page slow)" = "slow 2" ]
}

@test "a client that goes away leaves no lock behind and the next push ends the work" {
    machines www="$(site "three")" slow="$(slow 3)"
    setsid git push sky main:slow >/dev/null 2>&1 </dev/null 3>&- &
    local client=$!
    sleep 4
    kill -KILL -- "-$client"
    run -0 push main:slow
    [ "$(page slow)" = "slow 3" ]
}

@test "a killed scheduler step: the push fails, and a push of the same commit ends its work" {
    machines www="$(site "four")"
    local submit=$SKY_HOST/usr/bin/sky-nomad-submit
    # The step dies as by SIGKILL at its first word, once the branch has moved.
    mv "$submit" "$submit.real"
    cat >"$submit" <<EOF
#!/bin/sh
case "\$*" in *submit*|*ensure*) kill -KILL \$\$;; esac
exec $submit.real "\$@"
EOF
    chmod 755 "$submit"
    run push main:www
    mv "$submit.real" "$submit"
    [ "$status" -ne 0 ]
    [ "$(branch www)" = "$(git rev-parse HEAD)" ] # git ls-remote is a contact, too: it ends the work
    run -0 push main:www
    says 'Everything up-to-date'
    [ "$(page www)" = four ]
    [ "$(field www .rev)" = "$(git rev-parse HEAD)" ]
}

@test "a machine whose hypervisor dies is started again" {
    local before boot
    before=$(qemu www) boot=$(starts www | tail -n 1)
    kill -KILL "$before"
    eventually 60 runs_again www "$before"
    eventually 90 is_up www
    [ "$(starts www | tail -n 1)" != "$boot" ]
    [ "$(field www .restarts)" -ge 1 ]
}

@test "a machine that powers itself off is started again, unless it said stay" {
    machines off="$(site off 'deployment.onPoweroff = "stay"; run = "(sleep 10; poweroff) &";')"
    run -0 push main:off
    eventually 90 is_gone off
    eventually 30 test "$(field off)" = stopped
    run -0 push :off
}

@test "after the supervisor's death the machine lives on or comes back by the next contact" {
    local pid
    pid=$(supervisor www)
    [ -n "$pid" ]
    kill -KILL "$pid"
    run -0 sky status lasting/www
    eventually 90 is_up www
    [ "$(page www)" = four ]
    [ -n "$(supervisor www)" ]
}

# The machine dies, and who would have started it again dies before it. (Not by `status`: that is a contact.)
murder() { # MACHINE
    local uid
    uid=$(machine_uid "$1")
    kill -KILL "$(supervisor "$1")"
    # shellcheck disable=SC2046 # a list of numbers
    kill -KILL $(processes_of_uid "$uid") $(processes_of_uid $((uid + 1))) 2>/dev/null || true
    eventually 20 is_gone "$1"
}
runs() { [ -n "$(qemu "$1")" ]; }

@test "any contact with the repo brings back what died unseen, a stream at its beginning" {
    local contact
    for contact in "sky builds lasting" "sky logs lasting/www" "git ls-remote sky" "sky restart lasting/slow"; do
        murder www
        eval "run -0 $contact"
        eventually 90 runs www
    done
    murder www
    sky logs lasting/www -f >/dev/null 2>&1 3>&- &
    local reader=$!
    eventually 90 runs www
    kill -0 "$reader" # it came back while the stream went on
    kill "$reader"
    run -0 git push sky :slow
    eventually 90 is_up www
    [ "$(page www)" = four ]
}

@test "an identity remembered wrongly costs a build, not the push" {
    local memo
    memo=$(nix-hash --type sha256 --to-base32 "$(printf %s "$REPO/www" | sha256sum | cut -d' ' -f1)")
    memo=$SKY_HOST/state/tenants/$(account alice)/cell/memo/identity-$memo.json
    # As if the machine had been given another one through another host.
    sed -i 's/"machine_id":"[^"]*"/"machine_id":"00000000-0000-4000-8000-000000000000"/' "$memo"
    machines www="$(site "four and a half")"
    run -0 push main:www
    says "built for another identity"
    says "brought anew"
    [ "$(page www)" = "four and a half" ]
    run ! grep -q 00000000-0000-4000-8000-000000000000 "$memo"
}

@test "two pushes to different repos at once both get there" {
    local first
    machines www="$(site "five")"
    push main:www >"$BATS_TEST_TMPDIR/first" 3>&- &
    first=$!
    (
        work_tree other
        machines www="$(site "other")"
        push main:www
        [ "$(page www)" = other ]
        drop_machines
    )
    wait "$first"
    [ "$(page www)" = five ]
}

@test "reconcile, run by root, brings back what should run" {
    nobody_behind() { ! pgrep -u "$(account alice)" -f 'sky-shell .*ensure' >/dev/null; }
    eventually 60 nobody_behind # the check behind the last status would do it
    murder www
    run -0 sky-nomad-submit --config "$SKY_CONFIG" reconcile --dry-run
    says 'start '"$(account alice)"'/lasting/www'
    [ -z "$(qemu www)" ]
    run -0 sky-nomad-submit --config "$SKY_CONFIG" reconcile
    eventually 90 is_up www
    [ "$(page www)" = five ]
}
