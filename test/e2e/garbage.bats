#!/usr/bin/env bats
# What an operator's timer calls: what nobody needs goes, what runs does not notice, what was deleted comes back in time.
load ../lib/e2e

setup_file() {
    load ../lib/e2e
    work_tree scrap
    machines www="$(site "one")" old="$(site "old")"
    push main:www main:old
}
setup() { cd "$WORK" || return; }
teardown_file() { drop_machines; }

deployment() { jq -r .deployment "$SKY_HOST/state/deployments/$(account alice)/scrap/$1/$2.json"; }
in_store() { [ -e "$SKY_HOST/state/store/$(account alice)/$(basename "$1")" ]; }
not_in_store() { [ ! -e "$SKY_HOST/state/store/$(account alice)/$(basename "$1")" ]; }
in_cell() { [ -e "$SKY_HOST/state/tenants/$(account alice)/cell$1" ]; }
not_in_cell() { [ ! -e "$SKY_HOST/state/tenants/$(account alice)/cell$1" ]; }

@test "what a machine ran before goes from the host's store and the cell, what it runs stays" {
    local before after boots
    before=$(deployment www "$(branch www)")
    machines www="$(site "two")" old="$(site "old")"
    run -0 push main:www
    after=$(deployment www "$(branch www)") boots=$(starts www)
    in_store "$before"
    in_store "$after"
    in_cell "$before"
    in_cell "$after"
    run -0 sky-vm-run gc --grace 0 --dry-run
    run -0 sky-build gc --dry-run
    in_store "$before"
    in_cell "$before"
    run -0 sky-vm-run gc --grace 0 --json
    jq -se --arg t "$(account alice)" 'any(.[]; .tenant == $t and .removed_paths > 0) and all(.[]; .removed_volumes == [])' <<<"$output"
    run -0 --separate-stderr sky-build gc --json
    jq -se --arg t "$(account alice)" 'any(.[]; .tenant == $t and .removed_paths > 0)' <<<"$output"
    not_in_store "$before"
    in_store "$after"
    not_in_cell "$before"
    in_cell "$after"
    [ "$(starts www)" = "$boots" ] # it ran on, and reads its store
    [ "$(page www)" = two ]
    run -0 sky restart scrap/www
    [ "$(page www)" = two ]
}

@test "a rollback brings from the cache what went from the store" {
    run -0 sky rollback scrap/www
    [ "$(page www)" = one ]
    in_store "$(deployment www "$(git rev-parse HEAD~1)")"
    run -0 sky redeploy scrap/www
    [ "$(page www)" = two ]
}

@test "a deleted branch: its files go, its volumes come back with it in time, and not after it" {
    local disk first
    disk=$SKY_HOST/state/volumes/$(account alice)/scrap/old/root.img
    first=$(starts old)
    run -0 push :old
    run -0 sky-vm-run gc --json
    jq -se --arg m "$(account alice)/scrap/old" 'any(.[]; .removed_machines == [$m])' <<<"$output"
    [ -e "$disk" ]
    run -0 push main:old
    [ "$(starts old | head -n "$(wc -l <<<"$first")")" = "$first" ]
    run -0 push :old
    jq '.volumes.keep_s = 0' "$SKY_CONFIG" >"$SKY_HOST/etc/soon.json"
    run -0 sky-vm-run --config "$SKY_HOST/etc/soon.json" gc
    says "$(account alice)/scrap/old: volume root, "
    [ ! -e "$disk" ]
    run -0 push main:old
    [ "$(starts old | wc -l)" = 1 ]
}
