#!/bin/sh
# After `nomad operator snapshot restore`, and before any host runs machines again: whoever owned a machine in the time that was lost
# has a lower generation than anybody who takes it from now on, and every host's lease is revoked.
# usage: restore-owners.sh NOMAD-TOKEN-FILE     (the hosts', nomad-host.token)
# NOMAD_ADDR, NOMAD_CACERT, NOMAD_CLIENT_CERT, NOMAD_CLIENT_KEY, NOMAD_TLS_SERVER_NAME as for `nomad` itself.
set -eu
[ $# -eq 1 ] || {
    sed -n 's/^# usage: /usage: /p' "$0" >&2
    exit 64
}
NOMAD_TOKEN=$(cat "$1")
export NOMAD_TOKEN
# Of standard input it makes a request.
get() { nomad operator api "$1?namespace=skyflake${2:-}" < /dev/null; }

change() { # PREFIX JQ: of every variable there, by compare-and-set
    get /v1/vars "&prefix=$1" > "$work/list" # in a pipe nobody would hear of its failure
    jq -r '.[].Path' "$work/list" > "$work/paths"
    while read -r path; do
        get "/v1/var/$path" > "$work/before"
        jq -c ".Items.json |= (fromjson | $2 | tojson) | {Path, Namespace, Items}" "$work/before" > "$work/after"
        nomad operator api -X PUT "/v1/var/$path?namespace=skyflake&cas=$(jq .ModifyIndex "$work/before")" < "$work/after" > "$work/said"
        jq -e .ModifyIndex "$work/said" > /dev/null
        echo "$path: $(jq -r .Items.json "$work/after")"
    done < "$work/paths"
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
change sky/owner/ '.generation += 1000000'
change sky/lease/ '.revoked = true'
