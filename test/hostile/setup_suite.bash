# One host for all of test/hostile, as test/e2e makes its own.
export SKY_HOST=${SKY_HOST:-/var/tmp/skyflake-hostile}
export SKY_PREFIX=${SKY_PREFIX:-skyh} SKY_PORT=${SKY_PORT:-10322} SKY_NET=${SKY_NET:-10.86} SKY_UIDS=${SKY_UIDS:-2600000}
# shellcheck source=test/e2e/setup_suite.bash
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/setup_suite.bash"
