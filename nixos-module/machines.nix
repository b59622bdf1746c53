# What one machine may have, and the uids that machines run under.
{ lib, ... }:
let
  sky = import ./lib.nix { inherit lib; };
  inherit (sky) option;
  inherit (lib) types;
in
{
  options.skyflake.machines = {
    vcpuMax = option (sky.types.between 1 4096) 8 16 "Most virtual CPUs of one machine.";
    memMax = option (sky.types.mibAtLeast 32) 16384 32768 "Most memory of one machine, in MiB.";
    rootSize =
      option (sky.types.mibAtLeast 16) 2048 8192
        "Size in MiB of the persistent root that a machine gets without asking.";
    readyTimeout =
      option (sky.types.between 1 3600) 90 300
        "Seconds that a machine may take to get ready before it goes back to the deployment that last did.";
    stopTimeout =
      option (sky.types.between 1 3600) 30 120
        "Seconds that a machine may take to shut down before it is killed.";
    hypervisors = option (types.listOf (types.enum [ "qemu" ])) [ "qemu" ] [ "qemu" ] ''
      Hypervisors that a machine may ask for.
    '';
    uids.first = option (sky.types.between 1000 2147483632) 2000000 3000000 ''
      First uid of machines, four for each. No other account of the host may lie in the range.
    '';
    uids.count = option (sky.types.between 4 2147483632) 40000 4000 "How many uids there are for machines.";
  };
}
