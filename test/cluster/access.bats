#!/usr/bin/env bats
# Who may do what with Nomad: the tools' tokens no more than they need, tenants nothing.
load ../lib/hostile
load ../lib/cluster

# The answer's status to a request with a token of the cluster's.
answer() { # TOKEN METHOD PATH [DATA]
    curl -sS -o /dev/null -w '%{http_code}' --max-time 20 --cacert "$SKY_HOST/tls/ca.pem" --cert "$SKY_HOST/tls/agent.pem" \
        --key "$SKY_HOST/tls/agent.key" --connect-to "::$SKY_NET.255.11:4646" -H "X-Nomad-Token: $(cat "$SKY_HOST/tokens/$1")" \
        -X "$2" "https://server.global.nomad/v1/$3" ${4:+--data-binary "$4"}
}
a_job() { # NAMESPACE: of no machine, for a job that is taken away while it is placed ends Nomad 1.11.3's leader, and the next
    jq -nc --arg n "$1" '{Job: {ID: "x", Name: "x", Namespace: $n, Type: "service", Datacenters: ["*"],
        TaskGroups: [{Name: "x", Count: 0, Tasks: [{Name: "x", Driver: "raw_exec", Config: {command: "/bin/true"}}]}]}}'
}
variable() { echo "{\"Namespace\":\"$1\",\"Path\":\"$2\",\"Items\":{\"json\":\"{}\"}}"; }

@test "the deploy token reaches tenants' jobs and our variables" {
    [ "$(answer deploy GET "jobs?namespace=sky-$(account alice)")" = 200 ]
    [ "$(answer deploy GET nodes)" = 200 ]
    [ "$(answer deploy PUT 'var/sky/test/deploy?namespace=skyflake' "$(variable skyflake sky/test/deploy)")" = 200 ]
    [ "$(answer operator DELETE 'var/sky/test/deploy?namespace=skyflake')" = 204 ] ||
        [ "$(answer operator GET 'var/sky/test/deploy?namespace=skyflake')" = 404 ]
}

@test "the deploy token reaches nothing else" {
    local job
    job=$(a_job default)
    [ "$(answer operator PUT 'jobs?namespace=default' "$job")" = 200 ] # it is a good job
    [ "$(answer operator DELETE 'job/x?namespace=default')" = 200 ]
    [ "$(answer deploy PUT 'jobs?namespace=default' "$job")" = 403 ]
    [ "$(answer deploy PUT 'jobs?namespace=skyflake' "$(a_job skyflake)")" = 403 ]
    [ "$(answer deploy GET 'jobs?namespace=default')" = 403 ]
    [ "$(answer deploy PUT namespace '{"Name":"sky-mine"}')" = 403 ]
    [ "$(answer deploy GET acl/tokens)" = 403 ]
    [ "$(answer deploy PUT 'var/other?namespace=skyflake' "$(variable skyflake other)")" = 403 ]
    [ "$(answer deploy PUT 'var/sky/x?namespace=default' "$(variable default sky/x)")" = 403 ]
    [ "$(answer deploy PUT 'var/sky/registry/head?namespace=skyflake' "$(variable skyflake sky/registry/head)")" = 403 ]
    [ "$(answer deploy GET 'var/sky/registry/head?namespace=skyflake')" = 403 ]
    [ "$(answer deploy PUT system/gc)" = 403 ]
}

@test "the hosts' token starts no jobs" {
    [ "$(answer host GET "jobs?namespace=sky-$(account alice)")" = 200 ]
    [ "$(answer host PUT "jobs?namespace=sky-$(account alice)" "$(a_job "sky-$(account alice)")")" = 403 ]
    [ "$(answer host DELETE "job/x?namespace=sky-$(account alice)")" = 403 ]
}

@test "a token lies where its service account alone reads it" {
    run -0 on n1 setpriv --reuid "$SKY_PREFIX-deploy" --clear-groups cat "$SKY_HOST/tokens/deploy"
    local who
    for who in alice cache; do
        run -1 on n1 setpriv --reuid "$SKY_PREFIX-$who" --clear-groups cat "$SKY_HOST/tokens/deploy"
        run -1 on n1 setpriv --reuid "$SKY_PREFIX-$who" --clear-groups cat "$SKY_HOST/tokens/host"
    done
    run -1 on n1 setpriv --reuid "$SKY_PREFIX-deploy" --clear-groups cat "$SKY_HOST/tokens/host"
}

# Nomad's ports on the host itself and on others, and what anybody may reach: a server outside, of root's.
setup_file() {
    load ../lib/hostile
    load ../lib/cluster
    OUTSIDE=$(ip -4 -o addr show scope global | awk -v n="$SKY_NET." 'index($4, n) != 1 { sub("/.*", "", $4); print $4; exit }')
    export OUTSIDE WEB=$((SKY_PORT + 1)) ADDRESSES="127.0.0.1 $SKY_NET.255.11 $SKY_NET.255.12 $SKY_NET.255.13"
    python3 -m http.server --bind "$OUTSIDE" --directory "$BATS_FILE_TMPDIR" "$WEB" >/dev/null 2>&1 </dev/null 3>&- &
    echo $! >"$BATS_FILE_TMPDIR/pid"
    work_tree reach
    remotes
}
teardown_file() {
    kill "$(cat "$BATS_FILE_TMPDIR/pid")"
    drop_all
}
# For a shell that knows no more than busybox's: says WORD for each that it reaches.
attempts() { # WORD
    cat <<END
for port in 4646 4647 4648 $WEB; do
    for each in $ADDRESSES $OUTSIDE; do
        nc -w 1 \$each \$port -e touch ./got </dev/null >/dev/null 2>&1 || true
        if [ -e ./got ]; then rm ./got; echo "$1 \$each:\$port"; fi
    done
done
END
}
on_the_host() { (cd / && on n1 "$@" busybox sh -c "cd \$(mktemp -d) && $(attempts reached)"); }

@test "no uid of a tenant's or a machine's reaches Nomad, on its own host or another; root's does" {
    local each uid tries=()
    run -0 on_the_host
    for each in $ADDRESSES; do says "reached $each:4646"; done
    for each in $SKY_NET.255.1{1,2,3}; do says "reached $each:4647" && says "reached $each:4648"; done
    local uids=("$(id -u "$SKY_PREFIX-alice")" "$SKY_UIDS" $((SKY_UIDS + 1)) $((SKY_UIDS + 2)))
    for uid in "${uids[@]}"; do
        on_the_host setpriv --reuid "$uid" --clear-groups >"$BATS_TEST_TMPDIR/$uid" 3>&- &
        tries+=($!)
    done
    wait "${tries[@]}" # not for bats' own
    for uid in "${uids[@]}"; do [ "$(cat "$BATS_TEST_TMPDIR/$uid")" = "reached $OUTSIDE:$WEB" ]; done
}

@test "no build and no evaluation reaches Nomad" {
    cd "$WORK"
    flake www="from (_: make \"fetch-$RANDOM\" ''
        $(attempts reached)
        exit 1
    '' { outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \"$(sha256sum </dev/null | cut -d' ' -f1)\"; })"
    run -1 push_to n1 main:www
    [ "$(grep -oE 'reached [0-9.:]+' <<<"$output" | sort -u)" = "reached $OUTSIDE:$WEB" ]
    flake www="throw (builtins.readFile (builtins.fetchurl {
        url = \"https://$SKY_NET.255.12:4646/v1/status/leader\"; sha256 = \"$(sha256sum </dev/null | cut -d' ' -f1)\"; }))"
    run -1 push_to n1 main:www
    says "unable to download 'https://$SKY_NET.255.12:4646"
}

@test "no guest reaches Nomad" {
    cd "$WORK"
    rm -- *.nix && cp "$SKY_SOURCE"/test/e2e/flake/*.nix .
    machines www="{ text = \"reach\"; run = ''
        cd /var/lib/site
        ($(attempts reached)) > reached
    ''; }"
    run -0 push_to n1 main:www
    [ "$(page_of www reached)" = "reached $OUTSIDE:$WEB" ]
}

@test "ssh gives no way to it" {
    local each
    for each in 127.0.0.1 "$SKY_NET.255.11" "$SKY_NET.255.12"; do
        run ! timeout 10 ssh -F "$SKY_HOST/ssh_config" -W "$each:4646" n1-alice </dev/null
        says 'prohibited'
        run ! at n1 alice connect "$each" 4646
    done
}

@test "without its namespace a tenant's push says what is missing" {
    work_tree lonely bob
    remotes
    answer operator DELETE "namespace/sky-$(account bob)"
    machines www="$(site "bob")"
    run push_to n1 main:www
    says 'sky-'
    says 'nomad'
    NOMAD_TOKEN=$(cat "$SKY_HOST/tokens/operator") on n1 "$SKY_HOST/usr/bin/sky-nomad-submit" --config "$SKY_CONFIG" tenant add "$(account bob)"
    run -0 push_to n1 main:www
    [ "$(field www)" = running ]
    run -0 push_to n1 :www
}
