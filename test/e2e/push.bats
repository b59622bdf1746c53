#!/usr/bin/env bats
# What a tenant sees of git push: verdicts, machines, what runs on, what comes back.
load ../lib/e2e

setup_file() {
    load ../lib/e2e
    work_tree shop
}
setup() { cd "$WORK" || return; }
teardown_file() { drop_machines; }

@test "the first push creates the repo, shows progress and boots the machine" {
    machines www="$(site "one of www")" flaky="$(site "one of flaky")"
    run -0 push main:www main:flaky
    says 'www'
    says '[new branch]'
    [ "$(branch www)" = "$(git rev-parse HEAD)" ]
    is_up www
    ping -c 1 -W 5 -q "$(address www)"
    [ "$(page www)" = "one of www" ]
    [ "$(page flaky)" = "one of flaky" ]
}

@test "four branches of which one does not evaluate: three run, one is refused, what ran behind it runs on" {
    local before flaky
    before=$(branch flaky) flaky=$(starts flaky)
    machines www="$(site "two of www")" db="$(site "two of db")" api="$(site "two of api")" \
        flaky='throw "the flaky one is broken"'
    run -1 push main:www main:db main:api main:flaky
    [[ $output =~ \[remote\ rejected\]\ main\ -\>\ flaky\ \(.*flaky\ one\ is\ broken ]]
    [ "$(page www)" = "two of www" ]
    [ "$(page db)" = "two of db" ]
    [ "$(page api)" = "two of api" ]
    [ "$(branch www)" = "$(git rev-parse HEAD)" ]
    [ "$(branch flaky)" = "$before" ]
    [ "$(starts flaky)" = "$flaky" ]
    [ "$(page flaky)" = "one of flaky" ]
}

@test "a branch that names no machine is refused with the names there are and the command that would work" {
    run -1 push main:wwww
    says '[remote rejected] main -> wwww'
    says 'www'
    says 'api'
    says 'git push'
    [ -z "$(branch wwww)" ]
}

@test "a push of the same commit changes nothing and says so" {
    local www
    www=$(starts www)
    run -0 push main:www main:db
    says 'Everything up-to-date'
    [ "$(starts www)" = "$www" ]
}

@test "a changed machine is restarted and keeps its files, an unchanged one is not restarted" {
    local www db since
    www=$(starts www) db=$(starts db) since=$(field db .since)
    machines www="$(site "three of www")" db="$(site "two of db")" api="$(site "two of api")"
    run -0 push main:www main:db
    [ "$(page www)" = "three of www" ]
    [ "$(starts db)" = "$db" ]
    [ "$(field db .since)" = "$since" ]
    [ "$(field db .branch)" = "$(git rev-parse HEAD)" ]
    # Known from what its supervisor wrote down: root was not even asked.
    [ "$(jq -r .rev "$SKY_HOST/state/vm/$(account "$TENANT").$REPO.db/state.json")" != "$(git rev-parse HEAD)" ]
    # The first lines of www's file are those from before, and there is one more.
    [ "$(starts www | head -n "$(wc -l <<<"$www")")" = "$www" ]
    [ "$(starts www | wc -l)" -eq $(($(wc -l <<<"$www") + 1)) ]
}

@test "with --atomic one failure refuses all branches, with the reason" {
    machines www="$(site "four of www")" db='throw "no db today"'
    local www db
    www=$(branch www) db=$(branch db)
    run -1 push --atomic main:www main:db
    says 'no db today'
    [ "$(branch www)" = "$www" ]
    [ "$(branch db)" = "$db" ]
    [ "$(page www)" = "three of www" ]
}

@test "fetching gives back what was pushed" {
    git clone -q -c core.sshCommand="ssh -F $SKY_HOST/ssh_config" -b www "sky-$TENANT:$REPO" "$BATS_TEST_TMPDIR/clone"
    [ "$(git -C "$BATS_TEST_TMPDIR/clone" rev-parse HEAD)" = "$(branch www)" ]
}

@test "deleting a branch stops its machine" {
    local uid address
    uid=$(machine_uid api) address=$(address api)
    [ -n "$(processes_of_uid "$uid")" ]
    run -0 push :api
    says '[deleted]'
    says 'api'
    [ -z "$(branch api)" ]
    eventually 30 test -z "$(processes_of_uid "$uid")"
    run ping -c 1 -W 1 -q "$address"
    [ "$status" -ne 0 ]
}

@test "tags, nested branches and names that are no machine's are refused" {
    local ref
    for ref in refs/tags/v1 refs/heads/a/b refs/heads/-x refs/heads/WWW refs/notes/x refs/for/www; do
        run push "main:$ref"
        [ "$status" -ne 0 ]
        says 'rejected'
    done
    run git ls-remote sky
    says_not 'refs/tags/v1'
    says_not 'a/b'
}
