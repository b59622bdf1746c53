# shellcheck shell=bash
# A check of what Skyflake promises whatever a computer is busy with: test/run gives a case in which it failed no second go.
promised() { # SENTENCE COMMAND...
    "${@:2}" || { echo "a promise is broken: $1" | tee -a "${SKY_BROKEN:-/dev/null}" >&2; return 1; }
}
