#!/usr/bin/env bats
# The door by itself: real git on both sides, an unprivileged uid, a state directory of its own. ssh is a script that
# does what sshd would. The stages behind it are small fakes: what they do is not the matter here, what becomes of
# their answers and of their death is.
bats_require_minimum_version 1.5.0

UID_ALICE=61234 UID_CACHE=61235

setup_file() {
    D=$(mktemp -d /var/tmp/sky-shell.XXXXXX)
    export D
    chmod 711 "$D"
    mkdir "$D"/{bin,log,work,hooks}
    install -m 755 "$SKY_BIN/sky-shell" "$D/bin/"
    install -m 755 "$BATS_TEST_DIRNAME"/../../hooks/* "$D/hooks/"
    fakes
    chown $UID_ALICE "$D/log"
    fake_ssh
    git init -q -b main "$D/work"
    cd "$D/work" || return
    git config user.name alice
    git config user.email alice@example.org
}
teardown_file() { rm -rf "$D"; }
teardown() { eventually nobody_behind; } # who writes where the next test removes

setup() {
    rm -rf "$D/state" "$D/log/"*
    local tenant=$D/state/tenants/alice
    mkdir -p "$tenant"/{repos,cell,builds,locks,outbox}
    chmod 711 "$D/state/tenants" "$tenant"
    chown $UID_ALICE:$UID_ALICE "$tenant"/{repos,cell,builds,locks}
    chmod 700 "$tenant"/{repos,cell,builds,locks}
    chown $UID_ALICE:$UID_CACHE "$tenant/outbox"
    chmod 2750 "$tenant/outbox"
    echo '{"v":1,"storage":"0123456789abcdef0123456789abcdef"}' >"$D/state/storage.json"
    config '.'
    export GIT_SSH_COMMAND=$D/ssh GIT_SSH_VARIANT=ssh REPOS=$tenant/repos OUTBOX=$tenant/outbox BUILDS=$tenant/builds
    cd "$D/work" || return
    git commit -q --allow-empty -m "one more"
}

config() { # JQ-FILTER
    jq -n --arg d "$D" --argjson uid $UID_ALICE '{ v: 1, host: "n1", state: ($d + "/state"),
        storage: "0123456789abcdef0123456789abcdef", bin: ($d + "/bin"), hooks: ($d + "/hooks"),
        tenants: { alice: { uid: $uid } }, push: { wait_s: 30, idle_s: 30, max_mib: 4 } }' | jq "$1" >"$D/config.json"
}

# What the stages do is told by the machine's name; each keeps what it was given in log/.
fakes() {
    cat >"$D/bin/sky-build" <<'EOF'
#!/bin/bash
log=$(dirname "$0")/../log
env >"$log/env"
ls -l /proc/self/fd >"$log/fds"
while read -r line; do
    echo "$line" >>"$log/build"
    machine=$(jq -r .machine <<<"$line") build=$(jq -r .build <<<"$line")
    ls -ld "$log/../state/tenants/alice/outbox/$build" >>"$log/outbox"
    echo "output of $machine" >"$log/../state/tenants/alice/builds/$build/$machine.log"
    echo "building $machine" >&2
    case $machine in
    bad) jq -c '. + { error: { stage: "eval", code: 65, text: "no nixosConfigurations.bad in this flake" } }' <<<"$line" ;;
    lost) ;;
    garbage) echo '{"machine":"www"' ;;
    dies) kill -KILL $$ ;;
    slow)
        echo $$ >"$log/slow"
        trap '' TERM # as stubborn as a build can be
        for _ in {1..600}; do sleep 0.1; done
        ;;
    waits)
        touch "$log/waits"
        until [ -e "$log/go" ]; do sleep 0.1; done
        jq -c . <<<"$line"
        ;;
    *) jq -c '. + { deployment: "/nix/store/x" }' <<<"$line" ;;
    esac
done
EOF
    cat >"$D/bin/sky-cache-push" <<'EOF'
#!/bin/bash
exec jq -c --unbuffered 'if has("error") or .machine == "uncached" then . else . + { cached: true } end'
EOF
    cat >"$D/bin/sky-nomad-submit" <<'EOF'
#!/bin/bash
log=$(dirname "$0")/../log
[ "$1" = --config ] && shift 2
verb=$1
case $verb in
connect) read -r line && echo "$line" >>"$log/connect" && exec tr '[:lower:]' '[:upper:]' ;;
logs) read -r line && echo "$line" >>"$log/logs" && echo "console" && exit ;;
esac
while read -r line; do
    echo "$line" >>"$log/$verb"
    case $verb in
    status)
        jq -c '.repo as $r | .machine as $m | .branches | to_entries[] | select($m == null or .key == $m) |
            { machine: ($r + "/" + .key), branch: .value, rev: .value, state: "running", host: "n1",
              since: "2026-11-22T10:00:00Z", address: ["10.0.3.7"], restarts: 0, why: null }' <<<"$line"
        ;;
    esac
done
if [ -e "$log/hang-$verb" ]; then # once
    rm "$log/hang-$verb"
    for _ in {1..600}; do sleep 0.1; done
    touch "$log/hung-$verb"
fi
if [ -e "$log/away-$verb" ]; then
    echo '{"v":1,"repo":"infra","machine":"www","error":{"stage":"start","code":69,"text":"no host has room"}}'
    exit 1
fi
exit 0
EOF
    chmod 755 "$D"/bin/*
}

fake_ssh() {
    cat >"$D/ssh" <<EOF
#!/bin/bash
# ssh [-o OPTION]... HOST COMMAND: what sshd does with a ForceCommand.
command=\${*: -1}
echo \$\$ >$D/door
exec setsid setpriv --reuid $UID_ALICE --regid $UID_ALICE --clear-groups env -i PATH=/usr/bin:/bin \\
    SSH_CONNECTION="192.0.2.7 1 192.0.2.1 22" SSH_ORIGINAL_COMMAND="\$command" GIT_PROTOCOL="\$GIT_PROTOCOL" \\
    GIT_DIR=/nowhere EVIL=1 SKY_CONFIG=$D/config.json $D/bin/sky-shell
EOF
    chmod 755 "$D/ssh"
}

sky() { "$D/ssh" host "$*"; }
as_alice() { setpriv --reuid $UID_ALICE --regid $UID_ALICE --clear-groups env -i PATH=/usr/bin:/bin SKY_CONFIG="$D/config.json" "$@"; }
push() { git push "$@" 2>&1 </dev/null; }
branch() { git --git-dir="$REPOS/infra.git" -c safe.directory='*' rev-parse -q --verify "refs/heads/$1"; }
head_rev() { git rev-parse HEAD; }

# shellcheck disable=SC2154 # bats' run sets output
says() { [[ $output == *"$1"* ]] || { printf 'not said: %s\nin:\n%s\n' "$1" "$output" >&2; return 1; }; }
# shellcheck disable=SC2154
says_not() { [[ $output != *"$1"* ]] || { printf 'said: %s\nin:\n%s\n' "$1" "$output" >&2; return 1; }; }
eventually() { # a bound, not a measure
    local end=$((SECONDS + 20 * ${SKY_PATIENCE:-1}))
    until "$@"; do
        [ $SECONDS -lt $end ] || { echo "never came: $*" >&2; return 1; }
        sleep 0.1
    done
}

nobody_behind() { ! pgrep -f "^$D/bin/sky-shell .*ensure" >/dev/null; }

is_dead() { ! grep -qsE '^State:\s+[^ZX]' "/proc/$1/status"; }

@test "a first push makes the repo, builds, moves the branch and hands it on" {
    run -0 push host:infra main:www
    says '[new branch]      main -> www'
    says 'remote: -----> alice/infra: 1 machine (build '
    says 'remote: building www'
    [ "$(branch www)" = "$(head_rev)" ]
    [ "$(stat -c %u "$REPOS/infra.git")" = $UID_ALICE ]
    [ -z "$(ls "$REPOS/infra.git/hooks" 2>/dev/null)" ] # the installed ones are used where they are
    jq -e --arg r "$(head_rev)" '.v == 1 and .repo == "infra" and .machine == "www" and .old == null and .rev == $r' "$D/log/build"
    jq -e --arg r "$(head_rev)" '.repo == "infra" and .branches == { www: $r }' "$D/log/ensure"
    # Asked once, in the hook, with the build's id.
    [ "$(wc -l <"$D/log/ensure")" = 1 ]
    [ "$(jq -r .build "$D/log/build")" = "$(jq -r .session "$D/log/ensure")" ]
}

@test "a verdict for each branch, in git's own status lines" {
    run -1 push host:infra main:www main:bad main:lost main:uncached main:garbage
    says '[new branch]      main -> www'
    says '[remote rejected] main -> bad (no nixosConfigurations.bad in this flake)'
    says '[remote rejected] main -> lost (the build ended without a verdict)'
    says '[remote rejected] main -> uncached (built, but it did not reach the cache)'
    says '[remote rejected] main -> garbage (the build ended without a verdict)'
    says "logs infra/bad --build"
    [ "$(branch www)" = "$(head_rev)" ]
    run branch bad
    [ -z "$output" ]
    jq -e '.branches | keys == ["www"]' "$D/log/ensure"
}

@test "a pipe that dies refuses what it had not answered" {
    run -1 push host:infra main:a main:dies main:z
    says '[new branch]      main -> a'
    says '[remote rejected] main -> dies (the build ended without a verdict)'
    says '[remote rejected] main -> z (the build ended without a verdict)'
}

@test "with --atomic one failure refuses all, with the reason, and nothing moves" {
    run -0 push host:infra main:db
    run -1 push --atomic host:infra main:www main:bad :db
    says '[remote rejected] main -> bad (no nixosConfigurations.bad in this flake)'
    says '[remote rejected] main -> www (atomic: bad: no nixosConfigurations.bad'
    [ -n "$(branch db)" ]
    run branch www
    [ -z "$output" ]
    rm "$D/log/build"
    run -1 push --atomic host:infra main:www main:Bad
    [ ! -e "$D/log/build" ] # pointless, so not begun
    run -0 push --atomic host:infra main:www main:web
    says 'main -> web'
}

@test "a deletion builds nothing and stops the machine; the branch that HEAD names too" {
    run -0 push host:infra main:main main:www
    rm "$D/log/build"
    run -0 push host:infra :main
    says '[deleted]         main'
    [ ! -e "$D/log/build" ]
    [ "$(tail -n 1 "$D/log/ensure" | jq -c '.branches | keys')" = '["www"]' ]
}

@test "what is no machine's branch is refused, and nothing is built" {
    git tag -f v1 >/dev/null
    local ref
    for ref in refs/tags/v1 refs/heads/a/b refs/heads/-x refs/heads/WWW refs/heads/HEAD refs/notes/x refs/for/x refs/sky/x \
        "refs/heads/dd=ee" "refs/heads/$(printf 'a%.0s' {1..41})"; do
        run -1 push host:infra "main:$ref"
        says '[remote rejected]'
    done
    run -1 push host:infra 'main^{tree}:refs/heads/www'
    says '[remote rejected] main^{tree} -> www (not a commit)'
    [ ! -e "$D/log/build" ]
    run git ls-remote host:infra
    [ -z "$output" ]
}

# A client that git's own would never be: commands as given, and the pack of what they name.
raw_push() { # REF-BYTES
    local line
    line="0000000000000000000000000000000000000000 $(head_rev) $1"
    {
        printf '%04x%s\0report-status' $((${#line} + 4 + 14)) "$line"
        printf 0000
        head_rev | git pack-objects --revs --stdout -q
    } | sky "git-receive-pack 'infra'" | tr '\0' '\n'
}

@test "a line feed in a ref is seen and refused" {
    run raw_push $'refs/heads/a\nb'
    says 'ng refs/heads/a'
    says 'no machine name'
    run raw_push $'refs/heads/www extra'
    says 'ng refs/heads/www extra'
    [ ! -e "$D/log/build" ]
    run raw_push refs/heads/www
    says 'ok refs/heads/www'
}

ensured() { [ "$(wc -l <"$D/log/ensure")" = "$1" ]; }

@test "what was already there is handed on again: a push of the same commit, any contact with the repo" {
    run -0 push host:infra main:www
    local contact build count=1
    build=$(jq -r .build "$D/log/build")
    rm "$D/log/"*
    run -0 push host:infra main:www
    says 'Everything up-to-date'
    [ ! -e "$D/log/build" ]
    ensured 1
    for contact in 'git ls-remote host:infra' 'sky status' 'sky status infra' 'sky status infra/www --json' 'sky builds infra' \
        'sky logs www' 'sky logs www -f' "sky logs www --build $build" 'sky connect www' 'sky restart www' 'sky stop www' \
        'sky redeploy www' "sky rollback www --to $(head_rev)"; do
        eval "run -0 $contact </dev/null"
        eventually nobody_behind
        ensured $((++count)) || { echo "no check after $contact" >&2; false; }
    done
    for contact in help whoami builds; do # about no repo
        run -0 sky "$contact"
    done
    ensured $count
    run -0 as_alice "$D/bin/sky-shell" ensure
    ensured $((++count))
    run -0 as_alice "$D/bin/sky-shell" ensure infra
    [ "$(jq -r .session "$D/log/ensure" | sort -u | wc -l)" = $((++count)) ]
    jq -se 'all(has("dry_run") | not)' "$D/log/ensure"
    run -0 as_alice "$D/bin/sky-shell" ensure --dry-run
    jq -se '.[-1].dry_run and (.[-1].branches | keys == ["www"])' "$D/log/ensure"
}

@test "who asks does not wait for the check behind it, and a push does not for long" {
    run -0 push host:infra main:www
    local contact
    for contact in 'sky status' 'git ls-remote host:infra'; do
        touch "$D/log/hang-ensure"
        eval "run -0 $contact"
        eventually test ! -e "$D/log/hang-ensure"
        run -0 push host:infra main:www
        says 'infra is busy: a check ('
        says 'from 192.0.2.7, since '
        [ ! -e "$D/log/hung-ensure" ]
    done
}

checked() { # its code
    local code=0
    as_alice "$D/bin/sky-shell" ensure >"$D/said" 2>&1 || code=$?
    ! grep busy "$D/said" && [ "$code" = "$1" ]
}

@test "the branch moved but the machine does not run: the push fails and says it, with --atomic too" {
    touch "$D/log/away-ensure"
    run -1 push host:infra main:www
    says '[new branch]      main -> www'
    says 'error: infra: branches are as git says, but what runs is not: www: no host has room'
    [ "$(branch www)" = "$(head_rev)" ]
    git commit -q --allow-empty -m "again"
    run push --atomic host:infra main:www # git of 2.27 to 2.48 throws our exit code away here
    says 'what runs is not: www: no host has room'
    # A fetch is whole all the same.
    run -0 git ls-remote host:infra
    says "$(head_rev)"
    eventually checked 1 # not while the fetch's own check holds the repo
    rm "$D/log/away-ensure"
    run -0 push host:infra main:www
    says 'Everything up-to-date'
}

@test "fetch gives back what was pushed, and nothing that is not there" {
    run -0 push host:infra main:www
    git clone -q -b www host:infra "$BATS_TEST_TMPDIR/clone"
    [ "$(git -C "$BATS_TEST_TMPDIR/clone" rev-parse HEAD)" = "$(head_rev)" ]
    run -128 git ls-remote host:nothere
    says "fatal: remote error: repository 'nothere' is not there or not yours"
    run -77 sky "git-upload-pack 'nothere'"
    [ ! -e "$REPOS/nothere.git" ]
}

@test "refused commands start nothing and make nothing" {
    local command
    for command in bash "sh -c id" git-shell "git config foo.bar baz" git-upload-pack "git-receive-pack foo" \
        "git-upload-pack '--help'" "git-receive-pack  'a'" "git-receive-pack 'a' 'b'" "git-receive-pack 'a'x" \
        "git-receive-pack 'a'\\''b'" "git-receive-pack 'a';id" $'git-receive-pack \'a\'\nid' "git-upload-archive 'a'" \
        "git-receive-pack --skip-connectivity-check 'a'" "git -c receive.denyDeletes=false receive-pack 'a'" \
        "git-receive-pack 'A'" "git-receive-pack '../a'" "git-receive-pack '~/a'" "git-receive-pack ''" \
        "cvs server" "scp -t x" "rsync --server ." /usr/lib/openssh/sftp-server "status;id" "status ../x" \
        "logs vm --follow=\$(id)"; do
        run sky "$command"
        # shellcheck disable=SC2154
        [ "$status" -ge 64 ] && [ "$status" -le 78 ] || { echo "$status for: $command" >&2; false; }
        says_not uid=
    done
    [ -z "$(ls -A "$REPOS")" ]
    [ -z "$(ls -A "$D/log")" ]
    run -128 push host:App main:www
    says "fatal: remote error: repository name 'App' not allowed (use a-z 0-9 -"
    run -77 sky "scp -t x"
    says 'no file transfer here'
    run -64 sky frobnicate
    says "see 'help'"
}

@test "as login shell: the client's command, and the ForceCommand when that is what sshd runs" {
    run -0 as_alice "$D/bin/sky-shell" -c whoami
    says 'alice on n1, from this host'
    run -0 as_alice SSH_ORIGINAL_COMMAND=whoami "$D/bin/sky-shell" -c "$D/bin/sky-shell"
    says 'alice on n1'
    run -0 as_alice "$D/bin/sky-shell" -c "$D/bin/sky-shell"
    says 'git push alice@HOST:REPO HEAD:MACHINE'
    run -0 as_alice "$D/bin/sky-shell" -c "/x/sky-shell --config $D/other proc-receive -- /bin/id"
    says_not uid=
    run -64 as_alice "$D/bin/sky-shell" -c 'id; id'
    run -77 env SKY_CONFIG="$D/config.json" "$D/bin/sky-shell" -c whoami
    says 'uid 0 is no tenant of this host'
}

@test "a second push waits, says who holds the repo and since when, then goes on" {
    push host:infra main:waits >"$D/first" 3>&- &
    eventually test -e "$D/log/waits"
    push host:infra main:www >"$D/second" 3>&- &
    local second=$!
    eventually grep -q 'waiting up to 30 s' "$D/second"
    grep -E -- '-----> infra is busy: a push \(build [0-9a-v]{16}\) from 192.0.2.7, since 20[0-9T:-]+Z' "$D/second"
    touch "$D/log/go"
    wait $second
    [ "$(branch www)" = "$(head_rev)" ]
    wait
}

@test "progress reaches the client while it happens, and a hook in the repo is nobody's" {
    run -0 push host:infra main:www
    mkdir -p "$REPOS/infra.git/hooks"
    printf '#!/bin/sh\ntouch %s/log/own-hook\n' "$D" >"$REPOS/infra.git/hooks/post-receive"
    chmod -R 755 "$REPOS/infra.git/hooks"
    push host:infra main:waits >"$D/first" 3>&- &
    eventually grep -q 'remote: building waits' "$D/first"
    eventually test -e "$D/log/waits" # the build has not ended: it waits for us
    touch "$D/log/go"
    wait
    [ ! -e "$D/log/own-hook" ]
}

@test "who waited in vain gets git's own error and code 75" {
    push host:infra main:waits >"$D/first" 3>&- &
    eventually test -e "$D/log/waits"
    config '.push.wait_s = 1'
    run -128 push host:infra main:www
    says 'fatal: remote error: infra is busy: a push (build '
    run -75 sky "git-receive-pack 'infra'"
    # Somebody else's repo is not held, and a look does not wait.
    run -0 push host:other main:www
    run -0 sky status
    touch "$D/log/go"
    wait
}

@test "a client that goes away takes its build with it, the lock too, and the branch stays" {
    run -0 push host:infra main:slow2
    setsid git push host:infra main:slow >"$D/first" 2>&1 </dev/null 3>&- &
    local client=$!
    eventually test -s "$D/log/slow"
    kill -KILL -- -$client
    eventually is_dead "$(cat "$D/log/slow")"
    eventually flock -n "$D/state/tenants/alice/locks/infra.lock" true
    run branch slow
    [ -z "$output" ]
    [ -z "$(ls -A "$OUTBOX")" ]
    # However it ended, what runs was looked at.
    [ "$(tail -n 1 "$D/log/ensure" | jq -c '.branches | keys')" = '["slow2"]' ]
    run -0 sky builds
    says 'slow: cancelled'
    run -0 push host:infra main:www
}

@test "when the door itself is killed, its build ends and moves nothing" {
    push host:infra main:slow >"$D/first" 3>&- &
    eventually test -s "$D/log/slow"
    kill -KILL "$(cat "$D/door")"
    run -0 push host:infra main:www # the lock went with its holder
    eventually is_dead "$(cat "$D/log/slow")"
    wait
    run branch slow
    [ -z "$output" ]
    run -0 push host:infra main:www2
    [ -z "$(ls -A "$OUTBOX")" ]
}

@test "an upload that does not move lets go of the repo" {
    config '.push.idle_s = 1'
    run -75 sky "git-receive-pack 'infra'" < <(exec 3>&- && sleep 15)
    says 'nothing came for 1 s'
    run -0 push host:infra main:www
}

@test "a pack that is too large is refused" {
    head -c 6000000 /dev/urandom >big
    git add big
    git commit -q -m big
    run -1 push host:infra main:www
    says 'pack exceeds maximum allowed size'
    git reset -q --hard HEAD^
    [ ! -e "$D/log/build" ]
}

@test "objects that could do harm in a checkout are refused" {
    local tree commit
    tree=$(printf '100644 blob %s\t.git\n' "$(git hash-object -w --stdin </dev/null)" | git mktree)
    commit=$(git commit-tree -m bad "$tree")
    run -1 push host:infra "$commit:refs/heads/www"
    says hasDotgit
    [ ! -e "$D/log/build" ]
}

@test "many pushes do not leave many packs" {
    local i packs=$REPOS/infra.git/objects/pack
    run -0 push host:infra main:www
    for i in {1..60}; do # as if there had been more
        git commit -q --allow-empty -m "$i"
        git pack-objects --revs -q "$packs/pack" >/dev/null < <(printf '%s\n^%s\n' "$(head_rev)" "$(git rev-parse HEAD^)")
    done
    chown -R $UID_ALICE "$packs"
    run -0 push host:infra main:www
    says 'tidying up'
    [ "$(find "$packs" -name '*.pack' | wc -l)" -lt 5 ]
    run -0 push host:infra main:www # and it is whole
    run -0 git ls-remote host:infra
    says "$(head_rev)"
}

@test "git and the hooks get an environment made from nothing, and no descriptor too many" {
    run -0 push host:infra main:www
    run cut -d= -f1 "$D/log/env"
    says SKY_BUILD
    says SKY_REPO
    says_not GIT_
    says_not EVIL
    says_not SSH_
    [ "$(grep -c -E '^(PATH|HOME|LANG|SKY_CONFIG|SKY_REPO|SKY_BUILD|PWD|SHLVL|_)=' "$D/log/env")" = "$(wc -l <"$D/log/env")" ]
    grep -qE "^PATH=([^:]*/git-core:)*$D/bin:" "$D/log/env"
    # 0, 1, 2 and what ls opens itself.
    [ "$(grep -c -- '->' "$D/log/fds")" = 4 ]
}

@test "outbox: there while the pipe runs, set-gid for the cache, gone after it; dead ones are swept, live ones not" {
    local dead=000000000000000a builds=$BUILDS
    mkdir -p "$OUTBOX"/{$dead,live} "$builds/$dead"
    touch "$OUTBOX"/{$dead,live}/lock
    jq -n --arg b $dead '{ v: 1, build: $b, repo: "infra", at: "2026-01-01T00:00:00Z", ended: null, machines: { www: "building" } }' \
        >"$builds/$dead/build.json"
    chown -R $UID_ALICE "$OUTBOX"/{$dead,live} "$builds"
    exec 9<"$OUTBOX/live/lock"
    flock -s 9
    run -0 push host:infra main:www
    grep -q '^drwxr-s---' "$D/log/outbox"
    [ "$(ls "$OUTBOX")" = live ]
    jq -e '.ended != null and .machines.www == "cancelled"' "$builds/$dead/build.json"
    exec 9<&-
}

@test "a creation that was interrupted does no harm" {
    mkdir -p "$REPOS/.new.infra/objects"
    touch "$REPOS/.new.infra/HEAD"
    chown -R $UID_ALICE "$REPOS/.new.infra"
    run -0 push host:infra main:www
    [ "$(ls -A "$REPOS")" = infra.git ]
}

@test "what a killed git left in a repo refuses no later push, and goes" {
    run -0 push host:infra main:www
    local repo=$REPOS/infra.git
    mkdir "$repo/objects/tmp_objdir-incoming-x"
    touch "$repo/refs/heads/www.lock" "$repo/HEAD.lock" "$repo/packed-refs.lock" \
        "$repo/objects/tmp_objdir-incoming-x/pack" "$repo/objects/pack/tmp_pack_x"
    chown -R $UID_ALICE "$repo"
    git commit -q --allow-empty -m "after it"
    run -0 push host:infra main:www
    [ "$(branch www)" = "$(head_rev)" ]
    run find "$repo" -name "*.lock" -o -name "tmp_*"
    [ -z "$output" ]
}

@test "storage that is away, or a repo that can not be read, is an error and never an empty list" {
    run -0 push host:infra main:www
    run -0 push host:other main:www
    rm "$D/log/ensure"
    chmod 000 "$REPOS/infra.git/refs/heads"
    run -74 as_alice "$D/bin/sky-shell" ensure
    chmod 755 "$REPOS/infra.git/refs/heads"
    [ "$(jq -r .repo "$D/log/ensure")" = other ]
    : >"$REPOS/infra.git/refs/heads/www"
    run -74 as_alice "$D/bin/sky-shell" ensure infra
    says "branch 'www' holds no commit"
    git --git-dir="$REPOS/other.git" -c safe.directory='*' pack-refs --all
    run -0 as_alice "$D/bin/sky-shell" ensure other
    [ "$(tail -n 1 "$D/log/ensure" | jq -c '.branches | keys')" = '["www"]' ]
    rm "$D/state/storage.json"
    run -69 sky status
    run -128 push host:infra main:www
    says 'is the storage mounted?'
}

@test "status, for people and for programs" {
    run -0 sky status
    says 'no machines yet'
    run -0 push host:infra main:www main:db
    run -0 sky status
    [ "${lines[0]}" = "MACHINE    BRANCH    RUNS      STATE    HOST  ADDRESS   SINCE                 WHY" ]
    says "infra/www  $(head_rev | cut -c1-8)"
    run -0 sky status infra/www --json
    jq -e '.machine == "infra/www"' <<<"$output"
    run -77 sky status nothere
    run -77 sky status infra/nothere
}

@test "builds and their logs" {
    run -1 push host:infra main:www main:bad
    run -0 sky builds infra --json
    jq -e '.machines == { bad: "no nixosConfigurations.bad in this flake", www: "ok" } and .ended != null' <<<"$output"
    local id
    id=$(jq -r .build <<<"$output")
    run -0 sky builds
    says "$id"
    run -0 sky logs infra/bad --build "$id" -f # over, so it ends
    [ "$output" = "output of bad" ]
    run -77 sky logs other/bad --build "$id"
    run -77 sky logs nothere --build "$id"
    run -77 sky logs www --build 0000000000000000
    run -0 sky logs www -f
    [ "$output" = console ]
    jq -e '. == { v: 1, repo: "infra", machine: "www", follow: true, lines: 200 }' "$D/log/logs"
}

@test "connect carries any byte both ways and closes one side at a time" {
    run -0 push host:infra main:www
    head -c 300000 /dev/urandom | LC_ALL=C tr '[:lower:]' _ >"$BATS_TEST_TMPDIR/bytes"
    sky connect www 8080 <"$BATS_TEST_TMPDIR/bytes" >"$BATS_TEST_TMPDIR/back"
    cmp "$BATS_TEST_TMPDIR/bytes" "$BATS_TEST_TMPDIR/back"
    jq -e '. == { v: 1, repo: "infra", machine: "www", port: 8080 }' "$D/log/connect"
}

@test "stop, restart, redeploy, rollback: asked with the branch's revision, when the operator allows it" {
    run -0 push host:infra main:www
    run -0 push host:other main:www
    run -0 sky stop infra/www
    jq -e --arg r "$(head_rev)" '. == { v: 1, repo: "infra", machine: "www", rev: $r }' "$D/log/stop"
    run -64 sky restart www
    says 'in more than one repository (say infra/www)'
    run -0 sky rollback infra/www --to "$(head_rev)"
    jq -e --arg r "$(head_rev)" '.to == $r' "$D/log/rollback"
    run -77 sky restart infra/nothere
    touch "$D/log/away-restart"
    run -1 sky restart infra/www
    [ -z "$output" ] # people are told on stderr by who knows; nobody here reads its JSON
    config '.verbs = ["restart"]'
    run -77 sky stop infra/www
    says "'stop' is not allowed on this host"
}

@test "help for an empty command" {
    run -0 sky ""
    says 'git push alice@HOST:REPO HEAD:MACHINE'
    local help=$output
    run -0 sky help
    [ "$output" = "$help" ]
}
