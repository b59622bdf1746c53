# What sky-nomad-submit may do, and no more: jobs of tenants' namespaces, our variables but the registry, a look at nodes. The two *-exec are for
# `connect` to a machine on another host, which is dialled there.
# A token with it equals root on every host of the cluster: it can have Nomad run anything in those namespaces.
namespace "sky-*" {
  capabilities = ["list-jobs", "read-job", "submit-job", "read-logs", "alloc-lifecycle", "alloc-exec", "alloc-node-exec"]
}

namespace "skyflake" {
  variables {
    path "sky/*" {
      capabilities = ["list", "read", "write"]
    }
    path "sky/registry/*" {
      capabilities = ["deny"]
    }
  }
}

node {
  policy = "read"
}
