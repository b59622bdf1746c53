# What a backup may do: save a snapshot of Nomad's state. It holds every variable and token: keep it like one.
operator {
  capabilities = ["snapshot-save"]
}
