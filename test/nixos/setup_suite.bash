# Real programs for what the module makes: Nomad (test/run has it ready), Ceph.
setup_suite() {
    "$BATS_TEST_DIRNAME/../lib/install" ceph
    NOMAD=$("$BATS_TEST_DIRNAME/../lib/nomad" "${SKY_CACHE:-$BATS_TEST_DIRNAME/../../build/cache}")
    export NOMAD
}
