#!/usr/bin/env bats
# sky-nomad-submit by itself, on a host that is played where it has to fail (submit-lib.bash).

setup() {
    # shellcheck source=test/cli/submit-lib.bash
    source "$BATS_TEST_DIRNAME/submit-lib.bash"
    [ "$(id -u)" = 0 ] || skip "needs root: it stands in for the service account"
    make_host
}

teardown() { [ -z "${top:-}" ] || remove_host; }

submit() { sky submit 2>"$top/stderr"; }
ensure() { sky ensure 2>"$top/stderr"; }
said() { cat "$top/stderr"; }

@test "help, version, configuration" {
    run "$SKY_BIN/sky-nomad-submit" --help
    [ "$status" = 0 ]
    [[ $output == *reconcile* && $output == *Examples:* && $output == *"Exit status"* ]]
    run "$SKY_BIN/sky-nomad-submit" --version
    [ "$status" = 0 ]
    run "$SKY_BIN/sky-nomad-submit" --check-config
    [ "$status" = 0 ]
    run "$SKY_BIN/sky-nomad-submit" no-such-verb
    [ "$status" = 64 ]
    echo '{"v":1,"storage":"00000000000000000000000000000002"}' >"$state/storage.json"
    run sky ensure <<<"$(branches "$BUILD")"
    [ "$status" = 69 ]
}

@test "identity: what the registry gave, the same again, and a refusal with numbers" {
    run sky identity <<<'{"v":1,"repo":"infra","machines":["www","db"]}'
    [ "$status" = 0 ]
    [ "$(jq -c '[.machine, .index, (.macs | length), .root_mib]' <<<"$output" | xargs)" = '[www,1,4,2048] [db,2,4,2048]' ]
    local first=$output
    run sky identity <<<'{"v":1,"repo":"infra","machines":["www","db"]}'
    [ "$output" = "$first" ]
    run sky identity <<<'{"v":1,"repo":"other","machines":["www","db"]}'
    [ "$status" = 1 ]
    [ "$(jq -r 'select(.error).error.text' <<<"$output")" = 'machines: asked 1, used 3, allowed 3' ]
    [ "$(jq '.machines | length' "$state/registry.json")" = 3 ]
    run sky identity <<<'{"v":1,"repo":"infra","machines":["../www"]}'
    [ "$status" = 65 ]
}

@test "submit: the objects pass with their own keys, verdicts for people beside them" {
    built www "$A"
    built db "$A"
    run submit < <(pushed www "$A" | jq -c '. + {extra: [1]}'; pushed db "$A")
    [ "$status" = 0 ]
    [ "$(jq -c 'select(.machine == "www") | [.extra, .result]' <<<"$output")" = \
        '[[1],{"address":"10.88.1.10","host":"n1","state":"running"}]' ]
    said | grep -qx '=====> www running on n1, 10.88.1.10'
    said | grep -qx -- '-----> db starting'
    [ "$(record www | jq -c '[.rev, .want, .did.state, .did.session, .granted]')" = \
        "[\"$A\",\"running\",\"running\",\"$BUILD\",{\"disk_mib\":2048,\"mem_mib\":512,\"vcpu\":1}]" ]
    [ "$(stat -c %a "$state/records/alice/infra/www.json" "$state/records/alice" | xargs)" = '640 750' ]
}

@test "submit: the same system under another commit is not restarted" {
    built www "$A"
    submit <<<"$(pushed www "$A")"
    jq -c --arg rev "$B" '.rev = $rev' "$state/deployments/alice/infra/www/$A.json" >"$state/deployments/alice/infra/www/$B.json"
    run submit <<<"$(pushed www "$B")"
    [ "$status" = 0 ]
    [ "$(said)" = $'-----> www starting\n=====> www same system as before, not restarted' ]
    [ "$(record www | jq -r .did.rev)" = "$B" ]
}

@test "submit: one machine is refused with numbers, the others run; errors of earlier stages pass" {
    built www "$A"
    built db "$A" '.mem_mib = 4096'
    run submit < <(pushed www "$A"; pushed db "$A"; pushed x "$A" | jq -c '. + {error: {stage: "build", code: 1, text: "no"}}')
    [ "$status" = 1 ]
    said | grep -qx 'error: db: mem_mib: asked 4096, used 512, allowed 2048\|error: db: mem_mib: asked 4096, used 0, allowed 2048'
    [ "$(jq -c 'select(.machine == "db").error | [.stage, .code]' <<<"$output")" = '["admit",77]' ]
    [ "$(jq -r 'select(.machine == "www").result.state' <<<"$output")" = running ]
    [ "$(jq -r 'select(.machine == "x").error.text' <<<"$output")" = no ]
    [ "$(calls)" = "start alice.infra.www a" ]
}

@test "submit: machines that start together are admitted one after the other" {
    for machine in a b c; do built $machine "$A" '.vcpu = 2'; done
    run submit < <(for machine in a b c; do pushed $machine "$A"; done)
    [ "$status" = 1 ]
    [ "$(jq -r 'select(.result).machine' <<<"$output" | wc -l)" = 2 ]
    [ "$(jq -r 'select(.error).error.text' <<<"$output")" = 'vcpu: asked 2, used 4, allowed 4' ]
}

@test "submit: what can not be read is refused, and no machine with it" {
    built www "$A"
    run submit < <(echo '{"v":1,"repo":"infra"'; pushed www "$A")
    [ "$status" = 65 ]
    [ "$(jq -r .result.state <<<"$output")" = running ]
    run submit <<<"$(pushed www "$A" | jq -c '.tenant = "bob"')"
    [ "$(jq -r .error.code <<<"$output")" = 77 ] # bob has no such deployment
    run submit <<<"$(pushed www "$A" | jq -c 'del(.rev)')"
    [ "$status" = 65 ]
    run submit <<<"$(pushed ../www "$A")"
    [ "$status" = 65 ]
}

@test "a deleted branch: stopped, forgotten, volumes kept" {
    built www "$A"
    submit <<<"$(pushed www "$A")"
    run submit <<<"$(deleted www)"
    [ "$status" = 0 ]
    [ "$(said)" = '=====> www stopped; its volumes are kept for 30 days' ]
    [ ! -e "$state/records/alice/infra/www.json" ]
    [ "$(calls | tail -n 1)" = 'stop alice.infra.www forget' ]
}

@test "a revision that the host could not start holds nothing back: the next contact tries it again" {
    built www "$A"
    built www "$B"
    submit <<<"$(pushed www "$A")"
    touch "$top/vm/host-$B"
    run submit <<<"$(pushed www "$B" 01j8000000000001)"
    [ "$status" = 1 ]
    said | grep -qx 'error: www: sky-net-setup up ended with 137'
    [ "$(calls | xargs)" = 'start alice.infra.www a start alice.infra.www b' ]
    [ "$(record www | jq -c '[.rev[:1], .pin, .did.state]')" = '["b",null,"failed"]' ]
    rm "$top/vm/host-$B"
    run ensure <<<"$(branches 01j8000000000002 www "$B")"
    [ "$status" = 0 ]
    [ "$(record www | jq -c '[.did.state, .did.rev[:1]]')" = '["running","b"]' ]
}

@test "held back: a revision that does not get ready gives way to the last good one" {
    built www "$A"
    built www "$B"
    submit <<<"$(pushed www "$A")"
    touch "$top/vm/fail-$B"
    run submit <<<"$(pushed www "$B" 01j8000000000001)"
    [ "$status" = 1 ]
    said | grep -qx 'error: www: bbbbbbb held back: port 80 did not open in 2 s'
    [ "$(calls | xargs)" = 'start alice.infra.www a start alice.infra.www b start alice.infra.www a' ]
    run sky status <<<"$(branches x www "$B" | jq -c 'del(.session)')"
    [ "$(jq -c '[.branch[:1], .rev[:1], .state, .why]' <<<"$output")" = \
        '["b","a","running","bbbbbbb held back: port 80 did not open in 2 s"]' ]
    # A push of the same commit is told so, and nothing is tried.
    run ensure <<<"$(branches 01j8000000000002 www "$B")"
    [ "$status" = 1 ]
    [ "$(jq -r .error.text <<<"$output")" = 'bbbbbbb held back: port 80 did not open in 2 s' ]
    [ "$(calls | wc -l)" = 4 ]
    # The next accepted push clears it.
    rm "$top/vm/fail-$B"
    run submit <<<"$(pushed www "$B")"
    [ "$status" = 0 ]
    [ "$(record www | jq -c '[.pin, .did.why, (.good | map(.[:1]))]')" = '[null,null,["b","a"]]' ]
}

@test "ensure: nothing to do is said by silence, and asks nobody" {
    built www "$A"
    submit <<<"$(pushed www "$A")"
    rm "$top/vm/calls"
    run sky ensure <<<"$(branches "$BUILD" www "$A")"
    [ "$status" = 0 ]
    [ -z "$output" ]
    [ -z "$(calls)" ]
}

@test "ensure: a machine without its supervisor is looked at; one that powered itself off is left" {
    built www "$A"
    submit <<<"$(pushed www "$A")"
    kill -KILL "$(cat "$top/vm/alice.infra.www.pid")"
    run ensure <<<"$(branches "$BUILD" www "$A")"
    [ "$status" = 0 ]
    [ "$(said | tail -n 1)" = '=====> www same system as before, not restarted' ]
    kill -KILL "$(cat "$top/vm/alice.infra.www.pid")"
    jq -c '.state = "stopped" | .why = "it powered itself off"' "$top/vm/alice.infra.www" >"$top/w"
    cp "$top/w" "$top/vm/alice.infra.www"
    run ensure <<<"$(branches 01j8000000000001 www "$A")"
    [ "$status" = 0 ]
    [ -z "$output" ]
    [ "$(calls | grep -c start)" = 2 ]
}

@test "ensure: ends what a scheduler that was away left, once per session" {
    built www "$A"
    touch "$top/vm/away"
    run submit <<<"$(pushed www "$A" "$BUILD")"
    [ "$status" = 1 ]
    [ "$(jq -c '[.error.stage, .error.code]' <<<"$output")" = '["start",69]' ]
    said | grep -q 'the host is on fire'
    run ensure <<<"$(branches "$BUILD" www "$A")"
    [ "$status" = 1 ]
    [ "$(calls | wc -l)" = 1 ] # the same push does not try twice, nor tell twice
    [ -z "$(said)" ]
    [ "$(jq -r .error.text <<<"$output")" = 'the host is on fire' ]
    rm "$top/vm/away"
    run ensure <<<"$(branches 01j8000000000001 www "$A")"
    [ "$status" = 0 ]
    [ "$(jq -r .result.state <<<"$output")" = running ]
    run ensure <<<"$(branches 01j8000000000002 www "$A")"
    [ -z "$output" ]
}

@test "ensure: a killed submit is finished; records without a branch go; foreign branches are left" {
    built www "$A"
    built db "$A"
    submit < <(pushed www "$A"; pushed db "$A")
    built www "$B"
    echo 20 >"$top/vm/slow"
    submit <<<"$(pushed www "$B")" >/dev/null 3>&- &
    local pid=$!
    until grep -q 'www b' "$top/vm/calls"; do sleep 0.05; done
    pkill -KILL -P $pid -x sky-nomad-submi
    wait $pid || true
    rm "$top/vm/slow"
    [ "$(record www | jq -c '[.rev[:1], .did.rev[:1]]')" = '["b","a"]' ]
    run ensure <<<"$(branches 01j8000000000001 www "$B" feature/x "$C")"
    [ "$status" = 0 ]
    [ "$(jq -c '[.machine, .result.state]' <<<"$output" | sort | xargs)" = '[db,stopped] [www,running]' ]
    [ ! -e "$state/records/alice/infra/db.json" ]
}

@test "ensure: an identity whose first build failed is given back" {
    sky identity <<<'{"v":1,"repo":"infra","machines":["typo"]}'
    run ensure <<<"$(branches "$BUILD")"
    [ "$status" = 0 ]
    [ -z "$output" ]
    [ "$(calls)" = 'stop alice.infra.typo forget' ]
}

@test "a scheduler that ends without a word is no failure of the machine" {
    built www "$A"
    built www "$B"
    submit <<<"$(pushed www "$A")"
    touch "$top/vm/mute"
    run submit <<<"$(pushed www "$B")"
    [ "$status" = 1 ]
    [ "$(jq -r .error.code <<<"$output")" = 69 ]
    [ "$(record www | jq .pin)" = null ]
}

@test "stop, restart, redeploy, rollback" {
    built www "$A"
    built www "$B"
    submit <<<"$(pushed www "$A")"
    submit <<<"$(pushed www "$B")"
    run sky stop <<<"$(request www "$B")"
    [ "$status" = 0 ]
    run sky ensure <<<"$(branches x www "$B" | jq -c 'del(.session)')"
    [ -z "$output" ] # stays stopped
    run sky status <<<"$(branches x www "$B" | jq -c 'del(.session)')"
    [ "$(jq -c '[.state, .why]' <<<"$output")" = '["stopped","stopped on request"]' ]
    run sky restart <<<"$(request www "$B")"
    [ "$status" = 0 ]
    run sky rollback <<<"$(request www "$B")"
    [ "$status" = 0 ]
    [ "$(record www | jq -c '[.rev[:1], .pin.rev[:1], .did.rev[:1]]')" = '["b","a","a"]' ]
    run sky ensure <<<"$(branches x www "$B" | jq -c 'del(.session)')"
    [ "$status" = 0 ]
    [ -z "$output" ]
    run sky rollback <<<"$(request www "$B" "\"to\":\"$C\"")"
    [ "$status" = 77 ]
    run sky redeploy <<<"$(request www "$B")"
    [ "$status" = 0 ]
    [ "$(record www | jq -c '[.pin, .did.rev[:1]]')" = '[null,"b"]' ]
    run sky stop <<<"$(request nobody "$B")"
    [ "$status" = 77 ]
}

@test "status of all, for the operator; another tenant's machine is not seen" {
    built www "$A"
    submit <<<"$(pushed www "$A")"
    run "$SKY_BIN/sky-nomad-submit" status --all
    [ "$(jq -c '[.machine, .state, .host, .address]' <<<"$output")" = '["alice/infra/www","running","n1",["10.88.1.10"]]' ]
    run "$SKY_BIN/sky-nomad-submit" --tenant bob status <<<'{"v":1,"repo":"infra","branches":{}}'
    [ "$status" = 0 ]
    [ -z "$output" ]
    run "$SKY_BIN/sky-nomad-submit" --tenant bob logs <<<'{"v":1,"repo":"infra","machine":"www"}'
    [ "$status" = 77 ]
    run "$SKY_BIN/sky-nomad-submit" --tenant bob connect <<<'{"v":1,"repo":"infra","machine":"www"}'
    [ "$status" = 77 ]
    run sky logs <<<'{"v":1,"repo":"infra","machine":"www","lines":7}'
    [ "$output" = 'console of alice.infra.www, 7 lines' ]
}

@test "dry run: says what would be, changes nothing, whatever the verb" {
    built www "$A"
    built www "$B"
    run sky --dry-run submit <<<"$(pushed www "$A")"
    [ "$status" = 0 ]
    [[ $output == *'www would start {"deployment"'* ]]
    [ -z "$(calls)" ]
    [ -z "$(find "$state/records" -type f)" ]
    local before verb
    before=$(cat "$state/registry.json")
    run sky --dry-run identity <<<'{"v":1,"repo":"infra","machines":["www","db"]}'
    [ "$(jq -c '[.machine, .index, (.macs | length), .root_mib]' <<<"$output" | xargs)" = '[www,1,4,2048] [db,2,4,2048]' ]
    [ "$(cat "$state/registry.json")" = "$before" ]
    submit <<<"$(pushed www "$A")"
    submit <<<"$(pushed www "$B")"
    before=$(record www; calls)
    for verb in stop restart redeploy rollback; do
        run sky --dry-run "$verb" <<<"$(request www "$B")"
        [ "$status" = 0 ]
        [[ $output == *'www would '* ]]
    done
    [[ $output == *"\"rev\":\"$A\""* ]] # rollback: to where
    run sky --dry-run submit <<<"$(deleted www)"
    [[ $output == *'www would be stopped'* ]]
    run sky --dry-run ensure <<<"$(branches "$BUILD")"
    [[ $output == *'www would be stopped'* ]]
    run sky ensure <<<"$(branches "$BUILD" www "$A" | jq -c '. + {dry_run: true}')"
    [[ $output == *'www would start {"deployment"'* ]]
    [ "$(record www; calls)" = "$before" ]
}

@test "reconcile: starts what should run and does not, stops what runs and should not" {
    built www "$A"
    built db "$A"
    submit < <(pushed www "$A"; pushed db "$A")
    sky stop <<<"$(request db "$A")"
    mv "$top/vm/alice.infra.www" "$top/vm/alice.infra.db" # the one died, the other came to life
    sed -i 's/"www"/"db"/' "$top/vm/alice.infra.db"
    # shellcheck disable=SC2016 # the script's own
    printf '#!/bin/sh\necho "$(id -u) $*" >>%s\n' "$top/shell" >"$top/bin/sky-shell"
    chmod 0755 "$top" "$top/bin" "$top/bin/sky-shell"
    install -m 0666 /dev/null "$top/shell"
    write_config '.tenants = {alice: (.tenants.alice | .uid = 5)}' # games; any account that Debian has
    run "$SKY_BIN/sky-nomad-submit" reconcile --dry-run
    [ "$status" = 0 ]
    [ "$(sort <<<"$output")" = $'-----> start alice/infra/www\n-----> stop alice/infra/db' ]
    [ "$(cat "$top/shell")" = "5 --config $SKY_CONFIG ensure --dry-run" ]
    run "$SKY_BIN/sky-nomad-submit" reconcile
    [ "$status" = 0 ]
    [ "$(tail -n 1 "$top/shell")" = "5 --config $SKY_CONFIG ensure" ]
    [ -e "$top/vm/alice.infra.www" ]
    [ ! -e "$top/vm/alice.infra.db" ]
    printf '#!/bin/sh\nexit 74\n' >"$top/bin/sky-shell"
    run "$SKY_BIN/sky-nomad-submit" reconcile
    [ "$status" = 1 ]
}

@test "connect: bytes both ways, the end of each side reaches the other" {
    built www "$A"
    jq -c '.machines["alice.infra.www"].addresses.default = "127.0.0.1"' "$state/registry.json" >"$top/r"
    cp "$top/r" "$state/registry.json"
    python3 - "$top/port" <<'PYTHON' 3>&- &
import socket, sys
s = socket.create_server(("127.0.0.1", 0))
open(sys.argv[1] + ".new", "w").write(str(s.getsockname()[1]))
__import__("os").rename(sys.argv[1] + ".new", sys.argv[1])
c, _ = s.accept()
data = b""
while chunk := c.recv(65536):
    data += chunk
c.sendall(b"got %d\n" % len(data) + data[-3:])
PYTHON
    until [ -e "$top/port" ]; do sleep 0.05; done
    run sky connect < <(echo "{\"v\":1,\"repo\":\"infra\",\"machine\":\"www\",\"port\":$(cat "$top/port")}"
        head -c 300000 /dev/zero; printf 'end')
    [ "$status" = 0 ]
    [ "$output" = $'got 300003\nend' ]
    wait
    run sky connect <<<'{"v":1,"repo":"infra","machine":"www","port":1}'
    [ "$status" = 69 ]
    [[ $output == *"cannot connect to 127.0.0.1 port 1"* ]]
}

@test "a stage quits when its pipe hangs up" {
    built www "$A"
    echo 20 >"$top/vm/slow"
    mkfifo "$top/out"
    (pushed www "$A"; sleep 20) | sky submit >"$top/out" 2>/dev/null 3>&- &
    exec 7<"$top/out"
    until [ -s "$top/vm/calls" ]; do sleep 0.05; done
    exec 7<&-
    for _ in {1..100}; do
        pgrep -f "^$SKY_BIN/sky-nomad-submit --tenant alice submit" >/dev/null || return 0
        sleep 0.1
    done
    return 1
}
