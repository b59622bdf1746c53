# What the files in test/e2e share: a tenant's work tree, a look at machines. Each file has a repo of its own, REPO.
bats_require_minimum_version 1.5.0
# shellcheck source=test/lib/promise.bash
. "$(dirname "${BASH_SOURCE[0]}")/promise.bash"

# A tenant's ssh. -n: the test's own stdin is not for them.
at() { ssh -nT -F "$SKY_HOST/ssh_config" "sky-$1" "${@:2}"; }
sky() { at "${TENANT:-alice}" "$@"; }
account() { echo "$SKY_PREFIX-$1"; }

# A new work tree with the test's flake, remote "sky" and no machines yet; the tests of a file share it.
work_tree() { # REPO [TENANT]
    REPO=$1 TENANT=${2:-alice} WORK=$BATS_FILE_TMPDIR/${2:-alice}-$1
    export REPO TENANT WORK
    cp -r "$SKY_SOURCE/test/e2e/flake" "$WORK"
    cd "$WORK" || return
    git init -q -b main
    git config user.name "$TENANT"
    git config user.email "$TENANT@example.org"
    git config core.sshCommand "ssh -F $SKY_HOST/ssh_config"
    git remote add sky "sky-$TENANT:$REPO"
}

# machines NAME=NIX...: the flake now has exactly these; committed.
machines() {
    local each
    {
        echo 'nixpkgs: {'
        for each; do printf '  %s = %s;\n' "${each%%=*}" "${each#*=}"; done
        echo '}'
    } >machines.nix
    git add -A
    git commit -q --allow-empty -m "machines"
}
site() { echo "{ text = \"$1\"; ${2:-} }"; }

push() { git push sky "$@" 2>&1 </dev/null; }

# status of a machine, as jq sees it: field www .state
status() { sky status "$REPO/$1" --json; }
field() { status "$1" | jq -r "${2:-.state}"; }
address() { field "$1" '.address[0] // error("no address")'; }
is_up() { case $(field "$1" .state) in running | ready) ;; *) status "$1" >&2; return 1 ;; esac; }

page() { # MACHINE [FILE]
    local there
    there=$(address "$1") && [ -n "$there" ] || return
    curl -sS --fail --connect-timeout 3 --max-time 20 --retry 30 --retry-max-time 30 --retry-delay 1 --retry-connrefused "http://$there/${2:-}"
}
starts() { page "$1" starts; }

# Until a command succeeds; a bound, not a measure: SKY_PATIENCE times as long where a computer does much else.
eventually() { # SECONDS COMMAND...
    local end=$((SECONDS + $1 * ${SKY_PATIENCE:-1}))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || { echo "never came: $*" >&2; return 1; }
        sleep 0.5
    done
}

# shellcheck disable=SC2154 # bats' run sets output
# Words that must (not) be in $output of the last run.
says() { [[ $output == *"$1"* ]] || { printf 'not said: %s\nin:\n%s\n' "$1" "$output" >&2; return 1; }; }
# shellcheck disable=SC2154
says_not() { [[ $output != *"$1"* ]] || { printf 'said: %s\nin:\n%s\n' "$1" "$output" >&2; return 1; }; }

branch() { git ls-remote sky "refs/heads/$1" | cut -f1; }

# The processes with one of a machine's uids, or with an account's.
machine_uid() { jq -re --arg m "$(account "$TENANT").$REPO.$1" '.machines[$m].uid' "$SKY_HOST/state/registry.json"; }
processes_of_uid() {
    { cat /proc/[0-9]*/status 2>/dev/null || true; } | # some awks stop at the first that went
        awk -v u="$1" '/^State:/ { z = $2 == "Z" } /^Pid:/ { p = $2 } /^Uid:/ && $2 == u && !z { print p }'
}
is_gone() { [ -z "$(processes_of_uid "$(machine_uid "$1")")" ]; }

# For teardown_file: ends what a file's machines use, so that the next one has the quota and the memory.
drop_machines() {
    cd "$WORK" || return 0
    git ls-remote sky 'refs/heads/*' | sed 's|.*refs/heads/|:refs/heads/|' | xargs -r git push -q sky || true
}
