#!/usr/bin/env bats
# The demo on Ceph, as an operator tries it, and that nothing of it stays.
bats_require_minimum_version 1.5.0

setup_file() {
    export DEMO=/var/tmp/skyflake-ceph-demo BATS_TEST_TIMEOUT=600
}
demo() {
    "$SKY_SOURCE/test/demo" --ceph --dir "$DEMO" --prefix "${SKY_PREFIX:-skyy}" --port "$((${SKY_PORT:-10222} + 10))" --net "${SKY_NET:-10.86}" \
        --uids "${SKY_UIDS:-2440000}" --build "${SKY_BUILD:-$SKY_SOURCE/build/${SKY_PRESET:-dev}}" --preset "${SKY_PRESET:-dev}" \
        --cache "$SKY_CACHE" "$@" 2>&1 </dev/null 3>&-
}
teardown_file() { demo --down; }

@test "the demo's machines have their volumes on Ceph, and keep what they wrote" {
    run -0 demo --tenants alice
    [[ $output == *"Good morning from www"* ]]
    [[ $output == *"and db runs on"* ]]
    # The roots of both and db's data: images of their own, which are open, and no file beside them.
    run -0 rbd --conf "$DEMO-ceph/daemons.conf" --pool sky ls
    [ "$(sed -E 's/^[a-z]+-alice\.//' <<<"$output" | sort | xargs)" = "infra.db.data infra.db.root infra.www.root" ]
    run -0 jq -r '.machines[].volumes[].class' "$DEMO/state/registry.json"
    [ "$(sort -u <<<"$output")" = ceph ]
    [ -z "$(find "$DEMO/state" -name '*.img' -size +0)" ]
}

@test "--down takes Ceph with it" {
    run -0 demo --down
    [ ! -e "$DEMO" ]
    [ ! -e "$DEMO-ceph" ]
    run pgrep -f "$DEMO"
    [ -z "$output" ]
}
