#!/usr/bin/env bats
# Hosts at the same time, and what a machine brings about itself.
load ../lib/cluster

setup_file() {
    load ../lib/cluster
    work_tree together
    remotes
}
setup() { cd "$WORK" || return; }
teardown_file() { drop_all; }

@test "two hosts pushing to one repo at once: each branch gets there" {
    local first
    machines left="$(site "left")" right="$(site "right")"
    push_to n1 main:left >"$BATS_TEST_TMPDIR/left" 3>&- &
    first=$!
    run -0 push_to n2 main:right
    wait "$first"
    is_up left
    is_up right
    [ "$(git ls-remote n3 'refs/heads/*' | cut -f1 | sort | uniq -c | awk '{ print $1 }')" = 2 ]
    [ "$(page_of left)" = left ]
    [ "$(page_of right)" = right ]
    run -0 push_to n3 :right
}

@test "two pushes of one machine from two hosts at once: one of them wins, and that one runs, once" {
    local first other
    git switch -q -c other
    machines left="$(site "left by the other")"
    other=$(git rev-parse HEAD)
    git switch -q main
    machines left="$(site "left again")"
    push_to n1 main:left >"$BATS_TEST_TMPDIR/first" 3>&- &
    first=$!
    run push_to n2 +other:left
    wait "$first" || true
    cat "$BATS_TEST_TMPDIR/first" >&2
    is_up left
    [ "$(field left .branch)" = "$(git ls-remote n3 refs/heads/left | cut -f1)" ]
    [ "$(field left .rev)" = "$(field left .branch)" ]
    if [ "$(field left .rev)" = "$other" ]; then
        [ "$(page_of left)" = "left by the other" ]
    else
        [ "$(page_of left)" = "left again" ]
    fi
    [ "$(processes_of_uid "$(machine_uid left)" | wc -l)" = 1 ]
}

@test "no host fits: the push says which hosts were looked at and what each lacks, and that they are there" {
    machines left="$(site "left again")" huge="$(site huge 'deployment.mem = 6000;')"
    run -1 push_to n2 main:huge
    says 'no host'
    local host
    for host in n1 n2 n3; do says "$host"; done
    run -0 push_to n1 :huge
    is_up left
}

@test "a machine that powers itself off is started again, unless it said stay" {
    # shellcheck disable=SC2016 # for the guest's shell
    machines off="$(site off 'deployment.onPoweroff = "stay"; run = "(sleep 5; poweroff) &";')" \
        again="$(site again 'run = "[ $(wc -l < /var/lib/site/starts) -gt 1 ] || (sleep 5; poweroff) &";')"
    run -0 push_to n3 main:off main:again
    eventually 60 test_field off stopped
    [ "$(field off .why)" = "it powered itself off" ]
    [ -z "$(processes_of_uid "$(machine_uid off)")" ]
    twice() { [ "$(page_of again starts | wc -l)" -ge 2 ]; }
    eventually 90 twice
    eventually 60 is_up again # its page is there before its supervisor has looked
    HOST_NOW=n2 test_field off stopped # nobody starts it again
}
