# One real Ceph on loopback for all of test/storage (SKY_KEEP=1: left for a look).

setup_suite() {
    export SKY_SOURCE=${SKY_SOURCE:-$(realpath "$BATS_TEST_DIRNAME/../..")}
    export SKY_BIN=${SKY_BIN:-$SKY_SOURCE/build/${SKY_PRESET:-dev}/bin} SKY_CACHE=${SKY_CACHE:-$SKY_SOURCE/build/cache}
    export SKY_CEPH=${SKY_CEPH:-/var/tmp/skyflake-ceph} BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-240}
    "$SKY_SOURCE/test/lib/ceph" up "$SKY_CEPH" --port "${SKY_PORT:-16789}" --osds 2 3>&-
}

teardown_suite() {
    [ "${SKY_KEEP:-}" = 1 ] || "$SKY_SOURCE/test/lib/ceph" down "$SKY_CEPH" 3>&-
}
