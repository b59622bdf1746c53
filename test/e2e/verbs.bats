#!/usr/bin/env bats
# What a tenant can say over ssh, and what not.
load ../lib/e2e

setup_file() {
    load ../lib/e2e
    work_tree talk
    machines www="$(site "hello" 'run = "echo a word on the console > /dev/console";')"
    push main:www
}
setup() { cd "$WORK" || return; }
teardown_file() { drop_machines; }

@test "help, and nothing at all, list the verbs; unknown ones point there" {
    run -0 sky help
    for verb in status logs connect stop restart whoami; do says "$verb"; done
    local help=$output
    run -0 sky
    [ "$output" = "$help" ]
    run -64 sky frobnicate
    says help
}

@test "whoami tells the tenant" {
    run -0 sky whoami
    says "$(account alice)"
    says "$(ssh-keygen -l -f "$SKY_HOST/id_alice" | cut -d' ' -f2)"
}

@test "status tells people and programs the same" {
    run -0 sky status
    says 'talk/www'
    says "$(address www)"
    run -0 status www
    jq -e --arg rev "$(git rev-parse HEAD)" '.machine == "talk/www" and .branch == $rev and .rev == $rev
        and .host == "n1" and .restarts == 0 and .why == null
        and (.address | length) == 1 and (.since | fromdateiso8601) > 0' <<<"$output"
    is_up www
}

@test "status of what is not there says so" {
    run sky status nothere
    [ "$status" -ne 0 ]
    run sky status talk/nothere
    [ "$status" -ne 0 ]
}

@test "logs has the console, and the output of a build by its id" {
    run -0 sky logs talk/www
    says 'a word on the console'
    run -0 sky builds talk
    local id
    id=$(sky builds talk --json | jq -rs 'map(select(.repo == "talk" and (.machines | has("www"))))[0].build')
    says "$id"
    run -0 sky logs talk/www --build "$id"
    says www
}

@test "connect reaches a port of one's own machine" {
    run bash -c 'printf "GET / HTTP/1.0\r\n\r\n" | ssh -F "$SKY_HOST/ssh_config" sky-alice connect talk/www 80'
    says hello
}

@test "stop stops it and keeps the branch; the next push of it starts it again" {
    run -0 sky stop talk/www
    [ "$(field www)" = stopped ]
    [ "$(branch www)" = "$(git rev-parse HEAD)" ]
    is_gone www
    run -0 sky status # a contact does not bring back what was stopped on purpose
    [ "$(field www)" = stopped ]
    git commit -q --allow-empty -m "again"
    run -0 push main:www
    is_up www
}

@test "restart boots it anew" {
    local before
    before=$(starts www | wc -l)
    run -0 sky restart talk/www
    is_up www
    eventually 60 page www >/dev/null
    [ "$(starts www | wc -l)" -eq $((before + 1)) ]
}

@test "an operator can run the stages of a push by hand, as root and for a tenant" {
    run -0 --separate-stderr bash -c "set -o pipefail
        sky-build --tenant $(account alice) --repo talk --rev www www |
            sky-cache-push push --tenant $(account alice) | sky-nomad-submit submit --tenant $(account alice)"
    jq -e '.machine == "www" and .cached and .result.state != null and (.deployment | startswith("/nix/store/"))' <<<"$output"
}

@test "no shell, no other program, no file transfer, no forwarding" {
    local command
    for command in bash sh "sh -c id" "git-shell" "git-upload-archive 'talk'" "scp -t x" "rsync --server ." \
        "status;id" "git-receive-pack talk" "git-receive-pack 'talk';id" "git-receive-pack --x 'talk'" \
        "git -c core.x=y receive-pack 'talk'" "git-upload-pack '--help'" /usr/lib/openssh/sftp-server; do
        run sky "$command"
        [ "$status" -ne 0 ] || { echo "accepted: $command" >&2; false; }
        says_not 'uid='
    done
    run sftp -F "$SKY_HOST/ssh_config" -b /dev/null sky-alice
    [ "$status" -ne 0 ]
    run ssh -n -F "$SKY_HOST/ssh_config" -W 127.0.0.1:22 sky-alice
    [ "$status" -ne 0 ]
}

@test "a refused repo name starts nothing and leaves nothing" {
    local name before after
    before=$(find "$SKY_HOST/state/tenants/$(account alice)/repos" -mindepth 1 -maxdepth 1 | sort)
    for name in .. . .git App -app app_ 'app;id' "a'b" 'a b' ../x x.git/hooks a/b 'a%2fb' ~bob "$(printf 'a%.0s' {1..64})"; do
        run git push "sky-alice:$name" main:www
        [ "$status" -ne 0 ] || { echo "accepted: $name" >&2; false; }
    done
    after=$(find "$SKY_HOST/state/tenants/$(account alice)/repos" -mindepth 1 -maxdepth 1 | sort)
    [ "$before" = "$after" ]
}
