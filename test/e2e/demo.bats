#!/usr/bin/env bats
# The demo as a newcomer runs it, again after a kill in the middle, and that nothing of it stays.
load ../lib/e2e

setup_file() {
    export DEMO=/var/tmp/skyflake-demo-test
}
demo() {
    "$SKY_SOURCE/test/demo" --dir "$DEMO" --prefix skyx --port 10222 --net 10.87 --uids 2400000 \
        --build "$SKY_BUILD" --preset "$SKY_PRESET" --cache "$SKY_CACHE" "$@" 2>&1 </dev/null 3>&-
}
teardown_file() { "$SKY_SOURCE/test/demo" --down --dir "$DEMO" --prefix skyx --uids 2400000 3>&-; }

@test "it is for root alone" {
    run -77 setpriv --reuid 65534 --clear-groups "$SKY_SOURCE/test/demo"
    says 'sudo test/demo'
}

@test "killed in the middle, run again, it tells its story to the end" {
    demo --tenants alice >"$BATS_TEST_TMPDIR/killed" &
    local demo=$!
    under_way() { grep -q 'a push to two branches' "$BATS_TEST_TMPDIR/killed"; }
    eventually 300 under_way
    sleep 5
    kill -KILL "$demo"
    run -0 demo
    says 'Hello from www'
    says 'Good morning from www'
    says 'Hello from db'
    says '1 received'
    says 'and db runs on'
}

@test "what it leaves is at hand: ssh as the tenant, git in the clone, the operator's environment" {
    run -0 ssh -n -F "$DEMO/ssh_config" sky status
    says www
    cd "$DEMO/example"
    run -0 git push sky HEAD:www HEAD:db
    says 'Everything up-to-date'
    run -0 bash -c ". $DEMO/admin.env; sky-vm-run list | jq -r .machine"
    says www
    says db
}

@test "--down leaves no file, account, process, link, table, mount, cgroup or sudoers file" {
    run -0 demo --down
    [ ! -e "$DEMO" ]
    run getent passwd
    says_not skyx
    run getent group
    says_not skyx
    run ip -o link
    says_not skyx
    run nft list tables
    says_not skyx
    run ls /etc/sudoers.d
    says_not skyx
    run cat /proc/self/mountinfo
    says_not "$DEMO"
    run find /sys/fs/cgroup -maxdepth 2 -name skyx
    [ -z "$output" ]
    nobody_left() { [ -z "$(cat /proc/[0-9]*/status 2>/dev/null | awk '/^Uid:/ && $2 >= 2400000 && $2 < 2440000')" ]; }
    eventually 20 nobody_left # what was killed is still being reaped
    run pgrep -f "$DEMO"
    [ -z "$output" ]
}
