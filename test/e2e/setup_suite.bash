# One host for all of test/e2e, made before the first test and removed after the last (SKY_KEEP=1: left for a look).

setup_suite() {
    export SKY_SOURCE=${SKY_SOURCE:-$(realpath "$BATS_TEST_DIRNAME/../..")}
    export SKY_PRESET=${SKY_PRESET:-dev} SKY_HOST=${SKY_HOST:-/var/tmp/skyflake-test}
    export SKY_BUILD=${SKY_BUILD:-$SKY_SOURCE/build/$SKY_PRESET} SKY_CACHE=${SKY_CACHE:-$SKY_SOURCE/build/cache}
    export SKY_PREFIX=${SKY_PREFIX:-skyt} SKY_PORT=${SKY_PORT:-10122} SKY_NET=${SKY_NET:-10.89} SKY_UIDS=${SKY_UIDS:-2200000}
    export BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-900}
    local options=(--prefix "$SKY_PREFIX" --port "$SKY_PORT" --net "$SKY_NET" --uids "$SKY_UIDS"
        --tenants "alice bob carol" --preset "$SKY_PRESET" --build "$SKY_BUILD" --cache "$SKY_CACHE")
    "$SKY_SOURCE/test/lib/host" up "$SKY_HOST" "${options[@]}" 3>&-
    "$SKY_SOURCE/test/lib/cell-root" "$SKY_HOST/cell-2.26" "$SKY_CACHE" 2.26 3>&-
    export SKY_CONFIG=$SKY_HOST/etc/config.json
    export PATH=$SKY_HOST/usr/bin:$PATH
}

teardown_suite() {
    [ "${SKY_KEEP:-}" = 1 ] || "$SKY_SOURCE/test/lib/host" down "$SKY_HOST" 3>&-
}
