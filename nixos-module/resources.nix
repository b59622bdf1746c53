# Who gives way when the host is short: builds to machines, both to the host itself.
{ config, lib, ... }:
let
  cfg = config.skyflake;
  sky = import ./lib.nix { inherit lib; };
  inherit (sky) option;
  inherit (lib) types;
  inherit (cfg) reserve;

  # Inside of system.slice: what a slice keeps counts as far as those above it keep as much.
  service = mem: weight: {
    sliceConfig = {
      MemoryMin = "${toString mem}M";
      CPUWeight = weight;
      IOWeight = weight;
    };
  };
in
{
  options.skyflake.reserve = {
    mem = option sky.types.mib 1024 4096 ''
      Memory in MiB that the services of the host keep, whatever machines and builds take.
    '';
    nomadMem = option sky.types.mib (if cfg.nomad.enable then 1024 else 0) 2048 ''
      Memory in MiB that Nomad keeps on a host of a cluster: its agent, and 30 a machine.
    '' // {
      defaultText = lib.literalMD "1024 in a cluster";
    };
    cephMem = option sky.types.mib 0 16384 ''
      Memory in MiB that Ceph's services keep: for each OSD its `osd_memory_target` and a quarter more, 1 GiB for a monitor, and
      what an MDS caches.
    '';
    buildMem = option sky.types.mib 4096 16384 ''
      Memory in MiB that Nomad gives to no machine, so that tenants' builds find some.
    '';
    cores = option (types.nullOr (types.strMatching "[0-9,-]+")) null "0-1" ''
      Processors that no machine runs on in a cluster: the host's, Nomad's and Ceph's.
    '';
    cpuWeight = option (sky.types.between 100 10000) 1000 500 ''
      Share of the processors that the services of the host get when all of them are busy; machines together have 100.
    '';
  };

  options.skyflake.cells.cpuWeight = option (sky.types.between 1 10000) 20 100 ''
    Share of the processors of one tenant's builds when all of them are busy; other users have 100.
  '';

  config = lib.mkIf cfg.enable {
    # Nothing of a tenant's is kept running by a service manager.
    systemd.services = lib.mapAttrs' (
      _: user: lib.nameValuePair "user@${toString user.uid}" { enable = false; }
    ) cfg.users;

    systemd.slices = {
      system = {
        overrideStrategy = "asDropin";
        sliceConfig = {
          MemoryMin = "${toString (reserve.mem + reserve.nomadMem + reserve.cephMem)}M";
          CPUWeight = reserve.cpuWeight;
        };
      };
    }
    // lib.optionalAttrs cfg.nomad.enable { system-nomad = service reserve.nomadMem 500; }
    # After 10-defaults.conf of all users' slices, by its name.
    // lib.mapAttrs' (
      _: user:
      lib.nameValuePair "user-${toString user.uid}" {
        overrideStrategy = "asDropin";
        sliceConfig = {
          MemoryMax = "${toString cfg.cells.mem}M";
          MemorySwapMax = 0;
          TasksMax = cfg.cells.pids;
          CPUWeight = cfg.cells.cpuWeight;
          IOWeight = cfg.cells.cpuWeight;
        };
      }
    ) cfg.users;
  };
}
