# What nobody needs any more goes once a day: doc/interfaces.md "Garbage".
{ config, lib, ... }:
let
  cfg = config.skyflake;
  sky = import ./lib.nix { inherit lib; };
  inherit (sky) option;
  inherit (lib) types;
  tool = name: "${cfg.package}/bin/${name} --config /etc/skyflake/config.json";
in
{
  options.skyflake.gc.calendar =
    option types.singleLineStr "daily" "Sun 03:00"
      "When garbage is collected, as systemd.time(7) writes it.";

  config = lib.mkIf cfg.enable {
    systemd.services.skyflake-gc = {
      description = "Skyflake: remove what no machine, branch or build needs";
      requisite = [ "skyflake-host.service" ]; # a timer lets nobody in
      after = [ "skyflake-host.service" ];
      startAt = cfg.gc.calendar;
      serviceConfig = {
        Type = "oneshot";
        ExecStart = [
          "${tool "sky-vm-run"} gc"
          # A build that is on makes it fail, and the next time does it.
          "-${tool "sky-build"} gc"
          "${tool "sky-cache-push"} gc"
        ];
        Nice = 10;
        IOSchedulingClass = "idle";
      };
    };
    systemd.timers.skyflake-gc.timerConfig = {
      Persistent = true;
      RandomizedDelaySec = "30min";
    };
  };
}
