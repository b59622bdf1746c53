#!/usr/bin/env bats
# Commands, names and refs that a client of its own making sends to the real sshd and the real git behind it.
# shellcheck disable=SC2016 # words for a shell that must not read them
load ../lib/hostile

setup_file() {
    load ../lib/hostile
    keep_config
    work_tree theirs bob
    flake www='asks { }'
    push main:www
    work_tree door alice
    flake www='asks { }'
    push main:www
    TWIN=$SKY_HOST/twin.git # a repo as git by itself serves it
    git init -q --bare "$TWIN"
    export TWIN
}
setup() { cd "$WORK" || return; }
teardown() { restore_config; }
teardown_file() {
    drop_machines
    WORK=$BATS_FILE_TMPDIR/bob-theirs drop_machines
    rm -rf "$TWIN" "$SKY_HOST/outside"
}
things() { find "$SKY_HOST/state/tenants" -maxdepth 3 -path '*/repos/*' | sort; }
# ssh with one word as its command, whatever is in it.
raw() { ssh -F "$SKY_HOST/ssh_config" sky-alice "$1"; }

@test "commands that are none of ours" {
    local command before
    before=$(things)
    while IFS= read -r command; do
        run raw "$(printf '%b' "$command")" </dev/null
        [ "$status" -ge 64 ] && [ "$status" -le 78 ] || { echo "$status for: $command" >&2; false; }
        says_not "uid="
        plain || grep -q 'ERR\|^00' <<<"$output" # a refusal in git's protocol has its own bytes
    done <<'END'
bash
sh -c id
git-shell
git-shell -c id
git config foo.bar baz
git-upload-pack
git-receive-pack door
git-upload-pack '--help'
git-receive-pack  'door'
git-receive-pack 'door' 'b'
git-receive-pack 'door'x
git-receive-pack 'door
git-receive-pack 'do'\\''or'
git-receive-pack 'door'\\!'b'
git-receive-pack 'door';id
git-receive-pack 'door'\nid
git-receive-pack 'door' && id
git-receive-pack --skip-connectivity-check 'door'
git -c receive.denyDeletes=false receive-pack 'door'
git -c core.sshCommand=id upload-pack 'door'
git-upload-pack --timeout=0 'door'
git-upload-archive 'door'
git-receive-pack-x 'door'
git-lfs-authenticate door download
cvs server
/usr/lib/openssh/sftp-server
internal-sftp
scp -t x
rsync --server .
status;id
status `id`
status $(id)
status ../x
status --json --config=/tmp/x
logs www --follow=$(id)
logs www --build ../../x
connect www 22;id
connect www 99999
connect www 0x16
connect 127.0.0.1 22
rollback www --to HEAD
sky-nomad-submit status
proc-receive -- id
ensure
\x1b[2Jstatus
status\rwhoami
st\xe2\x80\xaeatus
\x7f
END
    [ "$(things)" = "$before" ]
    # Twin: the shell that a tenant does not have.
    run bash -c 'status;id'
    says uid=
}

@test "names that are no repo's" {
    local name before
    before=$(things)
    while IFS= read -r name; do
        run raw "git-receive-pack '$(printf '%b' "$name")'" </dev/null
        [ "$status" -ge 64 ] && [ "$status" -le 78 ] || { echo "$status for: $name" >&2; false; }
        run raw "git-upload-pack '$(printf '%b' "$name")'" </dev/null
        [ "$status" -ge 64 ] && [ "$status" -le 78 ] || { echo "$status for: $name" >&2; false; }
    done <<END

.
..
.git
.ssh
///
-x
--help
é
a..b
a.lock
HEAD
x.git/hooks
a%2fb
App
_app
.app
app;id
app\$cmd
app\`id\`
app|cat
app&x
app>file
app(cmd)
app{cmd}
app[cmd]
app*
app?
app!
app#
app\\\\cmd
app"quote
app cmd
app\tcmd
app\ncmd
app~cmd
app/cmd
app:cmd
~/a
~bob/a
../$(account bob)/repos/theirs
../../$(account bob)/repos/theirs.git
//door
door.git.git
door//
$SKY_HOST/state/tenants/$(account bob)/repos/theirs.git
$TWIN
$(printf 'a%.0s' {1..64})
$(printf 'a%.0s' {1..4096})
END
    [ "$(things)" = "$before" ]
    # The forms that git itself makes of a good name.
    for name in door /door door.git /door.git/; do
        run -0 git ls-remote "sky-alice:$name"
        says refs/heads/www
    done
    # Another's and none: the same words. A push only makes a repo of one's own.
    run -128 git ls-remote sky-alice:theirs
    says "repository 'theirs' is not there or not yours"
    run -128 git ls-remote sky-alice:nothere
    says "repository 'nothere' is not there or not yours"
    # Twin: git takes a path for a name, another's too, wherever the uid may read.
    printf '[safe]\n directory = *\n' >"$BATS_TEST_TMPDIR/gitconfig"
    run -0 env GIT_CONFIG_GLOBAL="$BATS_TEST_TMPDIR/gitconfig" git ls-remote "$SKY_HOST/state/tenants/$(account bob)/repos/theirs.git"
    says refs/heads/www
    git ls-remote "$TWIN"
}

@test "sessions, forwarding, files, environment" {
    run ssh -tt -F "$SKY_HOST/ssh_config" sky-alice whoami </dev/null
    says "PTY allocation request failed"
    run ! ssh -n -F "$SKY_HOST/ssh_config" -W 127.0.0.1:22 sky-alice
    run ! sftp -F "$SKY_HOST/ssh_config" -b /dev/null sky-alice
    run ! scp -F "$SKY_HOST/ssh_config" -O sky-alice:/etc/passwd "$BATS_TEST_TMPDIR/passwd"
    run ! timeout 5 ssh -N -o ExitOnForwardFailure=yes -R 10399:127.0.0.1:22 -F "$SKY_HOST/ssh_config" sky-alice
    # What a client sends of its environment does not arrive, of GIT_PROTOCOL what has its form.
    GIT_PROTOCOL="version=2:x=\$(id)" GIT_DIR=/etc LD_PRELOAD=/x GIT_TRACE=1 GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.hooksPath \
        GIT_CONFIG_VALUE_0=/tmp run ssh -F "$SKY_HOST/ssh_config" -o "SendEnv=*" -o "SetEnv=SKY_CONFIG=/tmp/x" sky-alice \
        "git-upload-pack 'door'" </dev/null
    says refs/heads/www
    says_not "version 2"
    says_not trace
    # Twin: git by itself believes them.
    GIT_TRACE=1 run git upload-pack --strict --timeout=1 "$TWIN" </dev/null
    says trace
}

# A client that git's own would never be: lines of commands, and the pack of the branch.
raw_push() { # CAPABILITIES "OLD NEW REF"...
    local line capabilities=$1 first=1
    shift
    for line; do
        line=$(printf '%b.' "$line") line=${line%.}
        if [ $first = 1 ]; then
            printf '%04x%s\0%s' $((${#line} + 5 + ${#capabilities})) "$line" "$capabilities"
        else
            printf '%04x%s' $((${#line} + 4)) "$line"
        fi
        first=0
    done
    printf 0000
    git rev-parse HEAD | git pack-objects --revs --stdout -q
}
ZERO=0000000000000000000000000000000000000000

@test "refs that no git would send: by hand, in git's own protocol" {
    local ref new
    new=$(git rev-parse HEAD)
    for ref in refs/heads/-x refs/heads/HEAD refs/heads/a/b refs/heads/WWW refs/heads/dd=ee refs/tags/v1 refs/for/x refs/notes/x \
        refs/sky/x 'refs/heads/a\nb' 'refs/heads/www extra' 'refs/heads/..' 'refs/heads/a..b' 'refs/heads/.a' 'refs/heads/a.lock' \
        'refs/heads/a@{1}' 'refs/heads/\x1b[2J' 'refs/heads/a^' 'refs/heads/a:b' 'refs/heads/a*' HEAD FETCH_HEAD ../../HEAD \
        'refs/heads/../../config' "refs/heads/$(printf 'a%.0s' {1..41})" "refs/heads/$(printf 'a%.0s' {1..3000})"; do
        raw_push report-status "$ZERO $new $ref" >"$BATS_TEST_TMPDIR/push"
        run bash -c "ssh -F '$SKY_HOST/ssh_config' sky-alice \"git-receive-pack 'door'\" <'$BATS_TEST_TMPDIR/push' 2>&1 | tr '\\0' '.'"
        says_not "ok $ref"
        run -0 git ls-remote sky
        [ "$(awk '{ print $2 }' <<<"$output")" = refs/heads/www ] || { echo "made: $ref" >&2; false; }
    done
    # A false old value, a branch twice, an object that is no commit, lines that are none.
    raw_push report-status "$new $ZERO refs/heads/www" "$ZERO $new refs/heads/www" >"$BATS_TEST_TMPDIR/push"
    run bash -c "ssh -F '$SKY_HOST/ssh_config' sky-alice \"git-receive-pack 'door'\" <'$BATS_TEST_TMPDIR/push' 2>&1 | tr '\\0' '.'"
    says "ng refs/heads/www"
    raw_push report-status "$(git rev-parse 'HEAD^{tree}') $(git rev-parse 'HEAD^{tree}') refs/heads/www" >"$BATS_TEST_TMPDIR/push"
    run bash -c "ssh -F '$SKY_HOST/ssh_config' sky-alice \"git-receive-pack 'door'\" <'$BATS_TEST_TMPDIR/push' 2>&1 | tr '\\0' '.'"
    says "ng refs/heads/www"
    [ "$(branch www)" = "$new" ]
    for ref in 'garbage' '0001' 'ffff' '0004' "0032$ZERO"; do
        run bash -c "printf '%s' '$ref' | ssh -F '$SKY_HOST/ssh_config' sky-alice \"git-receive-pack 'door'\" | tr '\\0' '.'"
        [ "$(branch www)" = "$new" ]
    done
    is_up www
    # Twin: git by itself takes names that are options elsewhere, and refs that are nobody's branch.
    run -0 git push -q "$TWIN" main:refs/heads/-x main:refs/for/x main:refs/notes/x main:refs/heads/WWW
    [ "$(git ls-remote "$TWIN" | wc -l)" = 4 ]
}

@test "trees that lead out, objects that are broken, packs that are too large" {
    local blob tree commit
    # shellcheck disable=SC2001
    bytes() { sed 's/../\\x&/g' <<<"$1"; }
    # "..", ".git" and a name twice, which no git writes.
    blob=$(git hash-object -w forged.nix)
    local name
    for name in .. .git . .GIT 'a/b'; do
        tree=$(printf '100644 %s\0%b' "$name" "$(bytes "$blob")" | git hash-object -w -t tree --literally --stdin)
        commit=$(git commit-tree -m bad "$tree" </dev/null)
        run ! git push sky "$commit:refs/heads/bad"
        says "rejected"
    done
    tree=$(printf '160000 commit %s\tsub\n100644 blob %s\tflake.nix\n' "$(git rev-parse HEAD)" "$blob" | git mktree)
    commit=$(git commit-tree -m submodule "$tree" </dev/null)
    run -1 git push sky "$commit:refs/heads/bad"
    says "'sub' is a submodule, which is not supported"
    # A tree deeper than any flake's, and one that is small to send and large to have.
    tree=$(git rev-parse 'HEAD^{tree}')
    for _ in {1..150}; do tree=$(printf '040000 tree %s\td\n' "$tree" | git mktree); done
    commit=$(git commit-tree -m deep "$tree" </dev/null)
    run -1 git push sky "$commit:refs/heads/bad"
    says "the tree is deeper than"
    head -c 300000000 /dev/zero >"$BATS_TEST_TMPDIR/zeros"
    blob=$(git hash-object -w "$BATS_TEST_TMPDIR/zeros")
    tree=$(for name in flake.nix {1..8}; do printf '100644 blob %s\t%s\n' "$blob" "$name"; done | git mktree)
    commit=$(git commit-tree -m bomb "$tree" </dev/null)
    run -1 git push sky "$commit:refs/heads/bad"
    says "the tree is larger than"
    configure '.push.max_mib = 1'
    head -c 3000000 /dev/urandom >random
    git add random && git commit -q -m "large"
    run -1 push main:bad
    says "pack exceeds maximum allowed size"
    git reset -q --hard HEAD^
    [ -z "$(branch bad)" ]
    # Twin: git by itself, without a look at what it takes.
    run -0 git push -q "$TWIN" "$commit:refs/heads/bomb"
}
