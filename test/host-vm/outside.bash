# For the files here whose host is a Debian with systemd and, from `cmake --install`, the tools.
bats_require_minimum_version 1.5.0

host_vm() { "$SKY_SOURCE/test/lib/host-vm" "$1" "$HOST_VM" "${@:2}"; }
vm() { host_vm exec ". /srv/tree/$WORDS; $1" </dev/null 3>&-; }
# shellcheck disable=SC2154 # bats' run sets output
says() { [[ $output == *"$1"* ]] || { printf 'not said: %s\nin:\n%s\n' "$1" "$output" >&2; return 1; }; }

boot_debian() { # WORDS FILE...: these and the tools are in /srv/tree, WORDS what its scripts begin with
    export HOST_VM=${SKY_HOST_VM:-/var/tmp/skyflake-host-vm} WORDS=$1
    local tree=$BATS_FILE_TMPDIR/tree
    "$SKY_SOURCE/test/lib/install" host test 3>&-
    mkdir -p "$tree"
    cmake --install "$SKY_BUILD" --prefix "$tree/usr" --strip >/dev/null
    cp -r "$SKY_SOURCE/test/e2e/flake" "$BATS_TEST_DIRNAME/setup.bash" "${@:2}" "$tree/"
    # Guests on an emulated KVM: every character of a console is expensive.
    echo '{ microvm.kernelParams = [ "quiet" "loglevel=1" "tsc=reliable" "no_timer_check" "mitigations=off" ]; }' \
        >"$tree/usr/share/skyflake/quiet.nix"
    host_vm down 3>&-
    host_vm up --cache "$SKY_CACHE" --port "${SKY_PORT:-10722}" --tree "$tree" 3>&-
}
teardown_file() { [ "${SKY_KEEP:-}" = 1 ] || host_vm down 3>&-; }
