# Who gives way when the host is short: builds to machines, both to the host itself.
{ config, lib, ... }:
let
  cfg = config.skyflake;
  sky = import ./lib.nix { inherit lib; };
  inherit (sky) option;
in
{
  options.skyflake.reserve = {
    mem = option sky.types.mib 1024 4096 ''
      Memory in MiB that the services of the host keep, whatever machines and builds take.
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
          MemoryMin = "${toString cfg.reserve.mem}M";
          CPUWeight = cfg.reserve.cpuWeight;
        };
      };
    }
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
