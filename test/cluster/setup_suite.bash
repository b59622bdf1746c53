# One cluster of three hosts for all of test/cluster, made before the first test and removed after the last (SKY_KEEP=1: left
# for a look).

setup_suite() {
    export SKY_SOURCE=${SKY_SOURCE:-$(realpath "$BATS_TEST_DIRNAME/../..")}
    export SKY_PRESET=${SKY_PRESET:-dev} SKY_HOST=${SKY_HOST:-/var/tmp/skyflake-cluster}
    export SKY_BUILD=${SKY_BUILD:-$SKY_SOURCE/build/$SKY_PRESET} SKY_CACHE=${SKY_CACHE:-$SKY_SOURCE/build/cache}
    export SKY_PREFIX=${SKY_PREFIX:-skyc} SKY_PORT=${SKY_PORT:-22} SKY_NET=${SKY_NET:-10.90} SKY_UIDS=${SKY_UIDS:-2400000}
    export BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-$((600 + 100 * ${SKY_ROUNDS:-3}))}
    local options=(--hosts 3 --prefix "$SKY_PREFIX" --port "$SKY_PORT" --net "$SKY_NET" --uids "$SKY_UIDS"
        --tenants "alice bob" --preset "$SKY_PRESET" --build "$SKY_BUILD" --cache "$SKY_CACHE")
    "$SKY_SOURCE/test/lib/cluster" up "$SKY_HOST" "${options[@]}" 3>&-
    export SKY_CONFIG=$SKY_HOST/etc/config.json
}

teardown_suite() {
    [ "${SKY_KEEP:-}" = 1 ] || "$SKY_SOURCE/test/lib/cluster" down "$SKY_HOST" 3>&-
}
