#!/usr/bin/env bats
# Who may do what with Nomad: the tools' tokens no more than they need, tenants nothing.
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

@test "a tenant's uid does not reach Nomad, root's does" {
    local where
    for where in 127.0.0.1 "$SKY_NET.255.11" "$SKY_NET.255.12"; do
        run -0 on n1 curl -sk --max-time 5 --cert "$SKY_HOST/tls/agent.pem" --key "$SKY_HOST/tls/agent.key" "https://$where:4646/v1/status/leader"
        run on n1 setpriv --reuid "$SKY_PREFIX-alice" --clear-groups curl -sk --max-time 5 "https://$where:4646/v1/status/leader"
        [ "$status" -ne 0 ]
        [ -z "$output" ]
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
