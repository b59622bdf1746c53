#!/usr/bin/env bats
# What needs a machine of its own: systemd as pid 1, cgroup v2, a reboot, a power cut. The host is a VM, see
# test/lib/host-vm; its machines run on the KVM that it has. The tests build on one another.
# shellcheck disable=SC2016 # scripts for the VM
bats_require_minimum_version 1.5.0

setup_file() {
    export HOST_VM=${SKY_HOST_VM:-/var/tmp/skyflake-host-vm} TREE=$BATS_FILE_TMPDIR/tree PHOTOS=$BATS_FILE_TMPDIR/photos
    "$SKY_SOURCE/test/lib/install" host test 3>&-
    mkdir -p "$TREE/test/e2e" "$TREE/tools/sky-vm-run" "$PHOTOS"
    cmake --install "$SKY_BUILD" --prefix "$TREE/usr" --strip >/dev/null
    cp -r "$SKY_SOURCE/test/lib" "$TREE/test/"
    cp -r "$SKY_SOURCE/test/e2e/flake" "$TREE/test/e2e/"
    cp "$SKY_SOURCE/tools/sky-vm-run/sudoers.in" "$TREE/tools/sky-vm-run/" # as test/lib/host reads it
    cp "$BATS_TEST_DIRNAME/inside.bash" "$TREE/"
    # Guests on an emulated KVM: every character of a console is expensive.
    echo '{ microvm.kernelParams = [ "quiet" "loglevel=1" "tsc=reliable" "no_timer_check" "mitigations=off" ]; }' >"$TREE/quiet.nix"
    host_vm down 3>&-
    host_vm up --cache "$SKY_CACHE" --port "${SKY_PORT:-10722}" --tree "$TREE" 3>&-
    vm_raw 'cp -r /srv/tree/usr /srv/tree/quiet.nix /srv/sky/ && /srv/tree/test/lib/host up /srv/sky --made 1 --prefix skyv \
        --port 10022 --net 10.80 --uids 3100000 --tenants alice --cell-memory 700M \
        --more "{ \"cell\": { \"customization\": \"/srv/sky/quiet.nix\" }, \"machine\": { \"ready_s\": 600 } }"'
}
teardown_file() { [ "${SKY_KEEP:-}" = 1 ] || host_vm down 3>&-; }

host_vm() { "$SKY_SOURCE/test/lib/host-vm" "$1" "$HOST_VM" "${@:2}"; }
vm_raw() { host_vm exec "$1" </dev/null 3>&-; }
vm() { vm_raw ". /srv/tree/inside.bash; $1"; }
says() { [[ $output == *"$1"* ]] || { printf 'not said: %s\nin:\n%s\n' "$1" "$output" >&2; return 1; }; }

@test "each supervisor is a unit of its own, its machine a cgroup in there with the machine's limits" {
    vm 'work_tree infra; machines www="$(site one)" db="$(site db)"; push main:www main:db'
    vm 'for m in www db; do
            unit=$(units $m)
            [ "$(wc -w <<<"$unit")" = 1 ]
            [ "$(cgroup "$(main_pid $m)")" = "/skyv.slice/$unit/supervisor" ]
            uid=$(machine_uid $m) n=0
            for pid in $(processes_of_uid $uid) $(processes_of_uid $((uid + 1))) $(processes_of_uid $((uid + 2))); do
                [ "$(cgroup $pid)" = "/skyv.slice/$unit/$(name $m)" ]
                n=$((n + 1))
            done
            [ $n -ge 3 ]
            cd "/sys/fs/cgroup/skyv.slice/$unit/$(name $m)"
            [ "$(cat memory.max)" = $((($(jq .mem_mib $state/vm/$(name $m)/spec.json) + 512 + 1024) << 20)) ]
            [ "$(cat memory.swap.max)" = 0 ]
            [ "$(cat pids.max)" = 576 ]
            [ "$(cat cpu.max)" = "200000 100000" ]
        done
        [ ! -e /sys/fs/cgroup/skyv ]'
}

@test "a tenant's session is in the tenant's slice, with the operator's limits; no service manager of the tenant's" {
    vm 'session
        uid=$(id -u skyv-alice)
        for pid in $(processes_of_uid $uid); do
            group=$(cgroup $pid)
            [[ -z $group || $group == /user.slice/user-$uid.slice/session-*.scope ]]
        done
        cd /sys/fs/cgroup/user.slice/user-$uid.slice
        [ "$(cat memory.max)" = $((700 << 20)) ]
        [ "$(cat memory.swap.max)" = 0 ]
        [ "$(cat pids.max)" = 4096 ]
        [ "$(systemctl is-active user@$uid.service)" != active ]'
}

@test "neither sessions that end nor sshd, our units or systemd itself take a machine along" {
    vm 'before="$(hypervisor www) $(hypervisor db)"
        session
        loginctl terminate-user skyv-alice
        wait
        systemctl restart ssh skyv-host skyv-sshd skyv-reconcile
        systemctl daemon-reload
        systemctl daemon-reexec
        [ "$(hypervisor www) $(hypervisor db)" = "$before" ]
        [ "$(page www)" = one ]'
}

@test "a killed supervisor: the next one finds the same machine, in the cgroup that it had" {
    vm 'pid=$(hypervisor www) unit=$(units www)
        kill -KILL "$(main_pid www)"
        sky status infra/www
        [ "$(hypervisor www)" = "$pid" ]
        [ "$(units www)" != "$unit" ]
        [ "$(cgroup "$pid")" = "/skyv.slice/$unit/$(name www)" ]
        [ "$(cat "/sys/fs/cgroup/skyv.slice/$unit/$(name www)/pids.max")" = 576 ]'
}

@test "a machine that eats memory ends with all that is in its cgroup, and nothing else does" {
    # The eater is ours: to the kernel it is what a runner would be that had taken over its sandbox.
    vm 'www=$(hypervisor www) db=$(hypervisor db) supervisor=$(main_pid db)
        group=$(cgroup "$db") uid=$(machine_uid db)
        not sh -c "echo \$\$ >/sys/fs/cgroup$group/cgroup.procs; exec setpriv --reuid $uid --regid $uid --clear-groups \
            dd if=/dev/zero of=/dev/null bs=1900M count=1"
        gone() { [ ! -e /proc/$db ]; }
        eventually 30 gone
        [ "$(killed_for_memory)" = "$group" ]
        [ "$(main_pid db)" = "$supervisor" ]
        [ "$(hypervisor www)" = "$www" ]
        [ "$(page www)" = one ]
        again() { [ "$(hypervisor db)" != null ]; }
        eventually 60 again
        sky stop infra/db'
}

@test "a build that eats memory is killed in its tenant's slice" {
    run vm 'machines www="$(site one)" hog="{ text = builtins.readFile (nixpkgs.legacyPackages.x86_64-linux.runCommand \
            \"hog\" { } \"dd if=/dev/zero of=/dev/null bs=1000M count=1; echo > \$out\"); }"
        push main:hog'
    [ "$status" -eq 1 ]
    says 'main -> hog ('
    vm 'killed_for_memory | tail -n 1 | grep -x "/user.slice/user-$(id -u skyv-alice).slice"
        [ "$(page www)" = one ]'
}

@test "a reboot: guests are shut down, machines that should run are back with data and address, others are not" {
    local before address
    before=$(vm 'starts www') address=$(vm 'address www')
    host_vm reboot 3>&-
    vm 'eventually 300 is_ready www'
    [ "$(vm 'address www')" = "$address" ]
    [ "$(vm 'starts www | head -n -1')" = "$before" ]
    vm '[ "$(field db)" = stopped ]
        is_gone db
        [ -z "$(units db)" ]
        grep -q "stopped: the supervisor was told to stop" $state/vm/$(name www)/supervisor.log
        not grep "did not shut down" $state/vm/$(name www)/supervisor.log
        [ "$(systemctl show -P Result skyv-reconcile)" = success ]'
}

# What a cut left, looked at from outside: files that are there are whole.
whole() { # PHOTO
    local out=$1.tree file
    mkdir -p "$out"
    for dir in cache deployments gcroots keys records net registry.json vm tenants/skyv-alice/repos tenants/skyv-alice/builds; do
        mkdir -p "$(dirname "$out/$dir")"
        debugfs -R "rdump /srv/sky/state/$dir $(dirname "$out/$dir")" "$1" 2>/dev/null
    done
    [ -s "$out/registry.json" ]
    find "$out" -name '*.json' ! -name '.*' -print0 | xargs -0 -n 1 jq -e . >/dev/null
    git -c safe.directory='*' -C "$out/tenants/skyv-alice/repos/infra.git" fsck --strict --no-dangling
    while read -r file; do
        [ "$(sed -n 's/^FileHash: sha256://p' "$file")" = "$(nix-hash --type sha256 --base32 --flat \
            "$(dirname "$file")/$(sed -n 's/^URL: //p' "$file")")" ] || { echo "not whole: $file" >&2; return 1; }
    done < <(find "$out/cache" -name '*.narinfo')
}

# push TEXT UNTIL: the push of a new commit, photographed after every word about a step, cut at the word UNTIL.
push_and_cut() {
    local line n=0
    vm "machines www=\"\$(site $1)\""
    coproc PUSH { vm 'push main:www'; }
    while read -r line <&"${PUSH[0]}"; do
        echo "# $line" >&2
        [[ $line != *"$2"* ]] || break
        [[ ! $line =~ built|new,|fetching ]] || host_vm photo "$PHOTOS/$1.$((++n))" 3>&-
    done
    [[ $line == *"$2"* ]]
    host_vm cut 3>&-
    wait "$PUSH_PID" || true
}

@test "the power fails during a build: the machine is back as it was, and the next push goes through" {
    vm 'starts www' >"$BATS_FILE_TMPDIR/starts"
    push_and_cut two building
    host_vm boot 3>&-
    vm 'eventually 300 is_ready www
        [ "$(page www)" = one ]'
    [ "$(vm 'starts www | head -n -1')" = "$(cat "$BATS_FILE_TMPDIR/starts")" ]
}

@test "the power fails while the machine starts: whole files at every step, and the new one runs" {
    vm 'starts www' >"$BATS_FILE_TMPDIR/starts"
    push_and_cut three starting
    host_vm boot 3>&-
    for photo in "$PHOTOS"/three.?; do whole "$photo"; done
    vm 'eventually 300 is_ready www
        [ "$(page www)" = three ]
        sky-vm-run --config "$SKY_CONFIG" list </dev/null'
    [ "$(vm 'starts www | head -n -1')" = "$(cat "$BATS_FILE_TMPDIR/starts")" ]
}

@test "after all that a plain push works, and nothing of a half-done step is left" {
    vm 'machines www="$(site four)"
        push main:www
        [ "$(page www)" = four ]
        [ -z "$(find $state -name ".*.tmp" -o -path "*/outbox/*" -o -path "*/cache/*/tmp/*" -o -path "*/.incoming/*")" ]
        for id in $(ls $state/tenants/skyv-alice/builds); do jq -e .ended $state/tenants/skyv-alice/builds/$id/build.json; done'
}
