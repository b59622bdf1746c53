# manifest.json: what the machine asks for. It says what the runner was really made with, whoever decided it.
{ config, pkgs }:
let
  inherit (pkgs) lib;
  inherit (config) deployment microvm;
  runner = microvm.declaredRunner;
in
{
  v = 1;
  inherit (pkgs.stdenv.hostPlatform) system;
  inherit (microvm) hypervisor vcpu;
  mem_mib = microvm.mem;
  machine_id = microvm.machineId;
  runner = "${runner}";
  toplevel = if deployment.store == "virtiofs" then "${config.system.build.toplevel}" else null;
  inherit (deployment) store;
  interfaces = lib.zipListsWith (network: interface: {
    inherit (interface) id mac;
    inherit network;
    queues = if runner.tapMultiQueue then microvm.vcpu else 1;
  }) deployment.networks microvm.interfaces;
  volumes = map (disk: {
    inherit (disk) name class;
    size_mib = disk.size;
    mount = disk.mountPoint;
    read_only = disk.readOnly;
  }) (import ./volumes.nix { inherit lib; } deployment);
  ready =
    if deployment.ready.notify then
      { type = "notify"; }
    else if deployment.ready.tcp == null then
      { type = "none"; }
    else
      {
        type = "tcp";
        port = deployment.ready.tcp;
      };
  on_poweroff = deployment.onPoweroff;
}
// lib.optionalAttrs (deployment.placement.ask != [ ] || deployment.placement.apart != [ ]) {
  placement = { inherit (deployment.placement) ask apart; };
}
