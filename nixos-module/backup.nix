# What can not be made anew goes elsewhere, by a timer.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.skyflake;
  backup = cfg.backup;
  sky = import ./lib.nix { inherit lib; };
  inherit (lib) mkOption types;
  inherit (sky) option;

  nomadEnvironment = import ./nomad-env.nix { inherit lib cfg; };
  path = [
    pkgs.coreutils
    pkgs.findutils
    pkgs.gnutar
    pkgs.jq
    pkgs.util-linux
    pkgs.zstd
  ]
  ++ lib.optional cfg.nomad.enable cfg.nomad.package;

  # The package's scripts as commands of this host.
  libexec = "${cfg.package}/libexec/skyflake";
  command =
    name: environment: arguments:
    pkgs.writeShellScriptBin name ''
      export PATH=${lib.makeBinPath path}:$PATH
      ${lib.concatStrings (
        lib.mapAttrsToList (name: value: "export ${name}=${lib.escapeShellArg value}\n") environment
      )}exec ${libexec}/${lib.removePrefix "skyflake-" name} ${arguments} "$@"
    '';
in
{
  options.skyflake.backup = {
    enable = option types.bool false true ''
      Whether this host saves what can not be made anew: repositories, records, keys, and in a cluster Nomad's state. Two of a
      cluster's hosts are enough.
    '';
    directory = mkOption {
      type = sky.types.directory;
      default = "/var/backup/skyflake";
      example = "/mnt/elsewhere/skyflake";
      description = ''
        Where to: a disk or a mount that is not the cluster's. It must hold a file `skyflake-backup`, which you make once: what
        is not mounted is then no place for backups. They hold every key and token: nobody else may read there.
      '';
    };
    calendar = option types.singleLineStr "hourly" "daily" "When, as systemd.time(7) writes it.";
    keep = option (sky.types.between 1 10000) 48 14 "How many backups of this host are kept.";
    token = mkOption {
      type = sky.types.secret;
      default = "${cfg.secrets}/nomad-backup.token";
      defaultText = lib.literalExpression ''"''${config.skyflake.secrets}/nomad-backup.token"'';
      example = "/run/keys/nomad-backup.token";
      description = "Token of policy `share/skyflake/nomad/backup.hcl`.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [
      (command "skyflake-restore" { } "/etc/skyflake/config.json")
    ]
    ++ lib.optionals cfg.nomad.enable [
      (command "skyflake-nomad-bootstrap" nomadEnvironment "${cfg.package}/share/skyflake/nomad ${cfg.secrets}")
      (command "skyflake-restore-owners" nomadEnvironment "${cfg.secrets}/nomad-host.token")
      (command "skyflake-rolling-reboot" nomadEnvironment (lib.optionalString cfg.ceph.enable "--ceph"))
      # As the operator: with the addresses and certificates of the tools.
      (pkgs.writeShellScriptBin "skyflake-nomad" ''
        ${lib.concatStrings (
          lib.mapAttrsToList (name: value: "export ${name}=${lib.escapeShellArg value}\n") nomadEnvironment
        )}exec ${cfg.nomad.package}/bin/nomad "$@"
      '')
    ];

    systemd.services.skyflake-backup = lib.mkIf backup.enable {
      description = "Skyflake: what can not be made anew goes elsewhere";
      wants = [ "network-online.target" ];
      after = [
        "skyflake-host.service"
        "network-online.target"
      ]
      ++ lib.optional cfg.nomad.enable "nomad.service";
      startAt = backup.calendar;
      inherit path;
      unitConfig.RequiresMountsFor = [
        backup.directory
        cfg.settings.shared
      ];
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${libexec}/backup /etc/skyflake/config.json ${backup.directory} ${toString backup.keep}${
          lib.optionalString cfg.nomad.enable " ${backup.token}"
        }";
        Nice = 10;
        IOSchedulingClass = "idle";
      };
    };
    systemd.timers.skyflake-backup = lib.mkIf backup.enable {
      timerConfig = {
        Persistent = true;
        RandomizedDelaySec = "5min";
      };
    };

    skyflake.neededSecrets = lib.mkIf (cfg.nomad.enable && backup.enable) [
      {
        when = "later";
        owner = "root";
        path = backup.token;
      }
    ];
  };
}
