# Numbers for a monitoring that asks: Nomad's, the host's, and how many machines are in which state.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.skyflake;
  sky = import ./lib.nix { inherit lib; };
  inherit (sky) option;
  inherit (lib) types;
  directory = "/run/skyflake-metrics";
in
{
  options.skyflake = {
    metrics = {
      enable = option types.bool false true ''
        Whether a Prometheus exporter tells of the host, of our units, and of the machines (port 9100, opened to nobody:
        that is your firewall's), and Nomad of itself (`/v1/metrics?format=prometheus`).
      '';
      calendar = option types.singleLineStr "minutely" "*:0/5" ''
        How often the machines are counted, as systemd.time(7) writes it.
      '';
    };

    debug = option types.bool false true ''
      Whether services say more in the journal: every step of ours, Nomad's at `DEBUG`.
    '';
  };

  config = lib.mkIf (cfg.enable && cfg.metrics.enable) {
    services.prometheus.exporters.node = {
      enable = true;
      enabledCollectors = [
        "systemd"
        "textfile"
      ];
      extraFlags = [ "--collector.textfile.directory=${directory}" ];
    };

    systemd.tmpfiles.rules = [ "d ${directory} 0755 root root -" ];
    systemd.services.skyflake-metrics = {
      description = "Skyflake: count the machines";
      requisite = [ "skyflake-host.service" ]; # a timer lets nobody in
      after = [ "skyflake-host.service" ];
      startAt = cfg.metrics.calendar;
      path = [
        pkgs.coreutils
        pkgs.jq
      ];
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${cfg.package}/libexec/skyflake/metrics ${cfg.package}/bin/sky-nomad-submit ${directory}/skyflake.prom";
        Nice = 5;
      };
    };
  };
}
