#!/usr/bin/env bats
# Two tenants on one host see nothing of each other.
load ../lib/e2e

setup_file() {
    load ../lib/e2e
    work_tree same bob
    machines www="$(site "of bob")"
    push main:www
    BOB_ADDRESS=$(address www)
    drop_bob="$WORK"
    export BOB_ADDRESS drop_bob
    work_tree same alice
    # alice's machine tries to reach bob's once it has a way out, and tells what came of it.
    machines www="$(site "of alice" "run = ''
        (
            until ip route | grep -q default; do sleep 1; done
            wget -q -T 5 -O /var/lib/site/bob http://$BOB_ADDRESS/ || echo unreachable > /var/lib/site/bob
            ping -c 1 -W 3 $BOB_ADDRESS > /var/lib/site/ping 2>&1
            echo 'done' > /var/lib/site/done
        ) &
    '';")"
    push main:www
}
setup() { cd "$WORK" || return; }
teardown_file() {
    drop_machines
    WORK=$drop_bob drop_machines
}

@test "the same names mean different machines" {
    [ "$(TENANT=alice address www)" != "$(TENANT=bob address www)" ]
    [ "$(TENANT=alice page www)" = "of alice" ]
    [ "$(TENANT=bob page www)" = "of bob" ]
}

@test "a tenant's status names their own machines only" {
    run -0 at bob status --json
    says_not "$(git rev-parse HEAD)"
    work_tree secret alice
    machines hidden="$(site hidden)"
    run -0 push main:hidden
    run -0 at bob status
    says_not hidden
    says_not secret
    run at bob status secret
    [ "$status" -ne 0 ]
    local missing=$output
    run at bob status nosuch
    [ "${output//nosuch/secret}" = "$missing" ]
    run at bob logs secret/hidden
    [ "$status" -ne 0 ]
    run at bob stop secret/hidden
    [ "$status" -ne 0 ]
    is_up hidden
    drop_machines
}

@test "a guest does not reach another tenant's guest" {
    eventually 60 page www "done" >/dev/null
    [ "$(page www bob)" = unreachable ]
    run -0 page www ping
    says "100% packet loss"
}

@test "a tenant's processes reach no guest, no loopback, no address of the host" {
    local as=(setpriv --reuid "$(account bob)" --regid "$(account bob)" --clear-groups)
    curl -sS --fail --max-time 5 "http://$BOB_ADDRESS/" >/dev/null # root does
    run "${as[@]}" curl -sS --max-time 5 "http://$BOB_ADDRESS/"
    [ "$status" -ne 0 ]
    run "${as[@]}" bash -c "exec 5<>/dev/tcp/127.0.0.1/$SKY_PORT"
    [ "$status" -ne 0 ]
    local own
    own=$(ip -4 -o addr show scope global | awk '{ sub("/.*", "", $4); print $4; exit }')
    run "${as[@]}" timeout 5 bash -c "exec 5<>/dev/tcp/$own/$SKY_PORT"
    [ "$status" -ne 0 ]
}

@test "a tenant's uid can read nothing of another's, of the cache, the keys, the records" {
    local as=(setpriv --reuid "$(account bob)" --regid "$(account bob)" --init-groups) path alice
    alice=$(account alice)
    for path in tenants/"$alice"/repos tenants/"$alice"/cell tenants/"$alice"/outbox tenants/"$alice"/builds cache keys \
        deployments records vm/"$alice".same.www volumes/"$alice"; do
        [ -e "$SKY_HOST/state/$path" ]
        run "${as[@]}" ls "$SKY_HOST/state/$path"
        [ "$status" -ne 0 ] || { echo "readable: $path" >&2; false; }
    done
    run "${as[@]}" cat "$SKY_HOST/state/registry.json"
    [ "$status" -ne 0 ]
}

@test "sudo gives a tenant the fixed command lines and nothing else" {
    local as=(setpriv --reuid "$(account bob)" --regid "$(account bob)" --init-groups)
    local bin=$SKY_HOST/usr/bin command
    for command in "-u root $bin/sky-vm-run --config $SKY_CONFIG list" \
        "-u $(account cache) $bin/sky-cache-push --config /tmp/x push" \
        "-u $(account cache) $bin/sky-cache-push --config $SKY_CONFIG push --tenant alice" \
        "-u $(account deploy) $bin/sky-nomad-submit --config $SKY_CONFIG reconcile" \
        "-u $(account alice) id" "-u $(account deploy) id" "-u root id"; do
        # shellcheck disable=SC2086 # words on purpose
        run "${as[@]}" sudo -n $command
        [ "$status" -ne 0 ] || { echo "allowed: $command" >&2; false; }
    done
    run -77 bash -c "echo '{\"v\":1,\"tenant\":\"$(account alice)\",\"repo\":\"same\",\"machine\":\"www\"}' |
        ${as[*]} sudo -n -u $(account deploy) $bin/sky-nomad-submit --config $SKY_CONFIG stop"
    TENANT=alice is_up www
}
