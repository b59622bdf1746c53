# What the token in NOMAD_TOKEN must be good for when an operator drains a host: nodes, and ending allocations. And for
# rolling-reboot, whether the servers are healthy.
# `tenant add` makes namespaces, for which Nomad asks for a management token.
namespace "sky-*" {
  capabilities = ["list-jobs", "read-job", "alloc-lifecycle"]
}

node {
  policy = "write"
}

operator {
  policy = "read"
}
