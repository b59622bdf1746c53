# What sky-vm-run on a host may do: look at jobs and nodes, keep the registry, owner records and leases.
namespace "sky-*" {
  capabilities = ["list-jobs", "read-job"]
}

namespace "skyflake" {
  variables {
    path "sky/*" {
      capabilities = ["list", "read", "write", "destroy"]
    }
  }
}

node {
  policy = "read"
}
