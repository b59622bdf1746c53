# One host for all of test/fault, as test/e2e makes its own.
export SKY_HOST=${SKY_HOST:-/var/tmp/skyflake-fault}
export SKY_PREFIX=${SKY_PREFIX:-skyf} SKY_PORT=${SKY_PORT:-10522} SKY_NET=${SKY_NET:-10.84} SKY_UIDS=${SKY_UIDS:-2800000}
# shellcheck source=test/e2e/setup_suite.bash
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/setup_suite.bash"
