# deployment.volumes as the disks of the machine, in their order: root first, then by name.
{ lib }:
deployment:
let
  names = lib.attrNames deployment.volumes;
  ordered = lib.filter (name: name == "root") names ++ lib.filter (name: name != "root") names;
  first = if deployment.store == "disk" then 1 else 0;
in
lib.imap0 (
  n: name:
  deployment.volumes.${name}
  // {
    inherit name;
    device = "/dev/vd${lib.elemAt lib.strings.lowerChars (first + n)}";
  }
) ordered
