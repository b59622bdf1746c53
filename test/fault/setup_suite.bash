# One host for all of test/fault, as test/e2e makes its own.
export SKY_HOST=${SKY_HOST:-/var/tmp/skyflake-fault}
export SKY_PREFIX=${SKY_PREFIX:-skyf} SKY_PORT=${SKY_PORT:-10522} SKY_NET=${SKY_NET:-10.84} SKY_UIDS=${SKY_UIDS:-2800000}
# All points of a tool are one test.
[ "${SKY_FAULT_ALL:-}" != 1 ] || export BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-86400}
# shellcheck source=test/e2e/setup_suite.bash
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/setup_suite.bash"
