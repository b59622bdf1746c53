#!/usr/bin/env bats
# A push to any of three hosts: Nomad runs the machine on one of them, and every host knows.
load ../lib/cluster

setup_file() {
    load ../lib/cluster
    work_tree shop
    remotes
}
setup() { cd "$WORK" || return; }
teardown_file() { drop_all; }

@test "the first push to one of the hosts boots the machine on a host that Nomad chose" {
    machines www="$(site "one of www")"
    run -0 push_to n1 main:www
    says '[new branch]'
    says 'running on n'
    is_up www
    [ "$(page_of www)" = "one of www" ]
    nomad_api GET "job/$(account alice).shop.www?namespace=sky-$(account alice)" | jq -e '.Status == "running"'
}

@test "every host says the same of it" {
    local host
    for host in n1 n2 n3; do
        [ "$(at "$host" alice status shop/www --json | jq -c '[.state, .rev, .host]')" = \
            "[\"running\",\"$(git rev-parse HEAD)\",\"$(host_of www)\"]" ]
    done
}

@test "a push of the same system from another host restarts nothing" {
    local before
    before=$(page_of www starts)
    git commit -q --allow-empty -m "the same machine"
    run -0 push_to n2 main:www
    says 'not restarted'
    [ "$(page_of www starts)" = "$before" ]
    [ "$(field www .rev)" = "$(git rev-parse HEAD)" ]
}

@test "a changed machine pushed to a third host comes up anew and keeps its files" {
    local before
    before=$(page_of www starts)
    machines www="$(site "two of www")"
    run -0 push_to n3 main:www
    [ "$(page_of www)" = "two of www" ]
    [ "$(page_of www starts | head -n "$(wc -l <<<"$before")")" = "$before" ]
}

@test "stop waits until it is gone, from any host; restart brings it back" {
    run -0 at n2 alice stop shop/www
    [ "$(HOST_NOW=n3 field www)" = stopped ]
    [ -z "$(processes_of_uid "$(machine_uid www)")" ]
    run -0 at n3 alice restart shop/www
    is_up www
    [ "$(page_of www)" = "two of www" ]
}

@test "the console, from another host" {
    run -0 at n2 alice logs shop/www
    [ -n "$output" ]
}

@test "logs -f and the operator's status --watch go on while a machine is stopped and started anew" {
    local had
    at n2 alice logs -f shop/www >"$BATS_TEST_TMPDIR/log" 2>&1 3>&- &
    local reader=$!
    on n1 timeout 120 "$SKY_HOST/usr/bin/sky-nomad-submit" --config "$SKY_CONFIG" status --all --watch --json \
        >"$BATS_TEST_TMPDIR/watch" 2>&1 3>&- &
    seen() { jq -es --arg s "$1" 'any(.[]; (.machine | endswith("/shop/www")) and .state == $s)' "$BATS_TEST_TMPDIR/watch" >/dev/null; }
    longer() { [ "$(wc -l <"$BATS_TEST_TMPDIR/log")" -gt "$1" ]; }
    eventually 30 longer 0
    eventually 30 seen running
    run -0 at n3 alice stop shop/www
    eventually 30 seen stopped
    had=$(wc -l <"$BATS_TEST_TMPDIR/log")
    run -0 at n3 alice restart shop/www
    eventually 30 longer "$had"
    kill "$reader"
}

@test "connect, from any host: bytes both ways, and why not" {
    local host
    for host in n1 n2 n3; do
        # shellcheck disable=SC2016 # for the inner shell
        run -0 bash -c 'printf "GET / HTTP/1.0\r\n\r\n" | ssh -F "$SKY_HOST/ssh_config" "$1-alice" connect shop/www 80' - "$host"
        says "two of www"
        run -69 at "$host" alice connect shop/www 81
        says "port 81: Connection refused"
    done
}

@test "deleting the branch stops the machine and takes its job away" {
    run -0 push_to n2 :www
    [ -z "$(processes_of_uid "$(machine_uid www)")" ]
    nomad_api GET "jobs?namespace=sky-$(account alice)" | jq -e 'map(select(.Stop | not)) == []'
}

@test "its volume waits for the branch, and when its time is over any host's gc removes it and lets the machine go" {
    local image path
    path=$(account alice)/shop/www
    image=$(find "$SKY_HOST/shared" -path "*/$path/root.img")
    run -0 on n3 "$SKY_HOST/usr/bin/sky-vm-run" --config "$SKY_CONFIG" gc --tenant "$(account alice)"
    [ -e "$image" ]
    run -0 on n3 "$SKY_HOST/usr/bin/sky-vm-run" --config "$SKY_CONFIG" gc --tenant "$(account alice)" --keep 0
    says "$path: volume root, "
    [ ! -e "$image" ]
    jq -e --arg m "${path//\//.}" '.kept | has($m) | not' "$SKY_HOST/shared/registry.json"
    nomad_api GET "var/sky/owner/$path?namespace=skyflake" | jq -e '.Items.json | fromjson | .released'
}
