# What happens at boot and after every switch: directories and rules, then the machines that should run.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.skyflake;
  tool =
    name:
    "${cfg.package}/bin/${name} ${lib.optionalString cfg.debug "-v "}--config /etc/skyflake/config.json";
  alone = cfg.storage.shared == null || cfg.storage.shared == cfg.storage.directory;
in
{
  config = lib.mkIf cfg.enable {
    systemd.services.skyflake-host = {
      description = "Skyflake: directories, and the rules that keep tenants and machines off this host";
      wantedBy = [ "multi-user.target" ];
      # After those that load rules of their own. Before anybody comes in, unless it waits for the network itself, for what hosts
      # share: then tenants' keys are what keeps them out, and operators come in to see why it waits.
      wants = lib.mkIf alone [ "network-pre.target" ];
      before = lib.mkIf alone [
        "network-pre.target"
        "sshd.service"
      ];
      after = [
        "nftables.service"
        "firewall.service"
      ];
      unitConfig.RequiresMountsFor = lib.unique (
        [ cfg.storage.directory ] ++ lib.optional (cfg.storage.shared != null) cfg.storage.shared
      );
      restartTriggers = [ cfg.configFile ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = [
          "${tool "sky-vm-run"} host-start"
          "${tool "sky-net-setup"} boundary"
          # Tenants' keys count while this unit is up: without the rules nobody's code runs here.
          "${pkgs.coreutils}/bin/ln -sfn /etc/ssh/authorized_keys.d /run/skyflake/keys"
          "${pkgs.coreutils}/bin/ln -sfn ${
            if cfg.storage.shared == null then cfg.storage.directory else cfg.storage.shared
          }/authorized_keys /run/skyflake/added"
        ];
        RuntimeDirectory = "skyflake";
      };
    };

    systemd.services.skyflake-reconcile = {
      description = "Skyflake: start what should run, stop what should not";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ] ++ lib.optional cfg.nomad.enable "nomad.service";
      requires = [ "skyflake-host.service" ];
      after = [
        "skyflake-host.service"
        "network-online.target"
      ]
      ++ lib.optional cfg.nomad.enable "nomad.service";
      restartTriggers = [ cfg.configFile ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true; # a switch starts it again only for another configuration
        TimeoutStartSec = "30min";
        ExecStart = "${tool "sky-nomad-submit"} reconcile";
      }
      # Nomad may have no leader yet. A machine that is at fault, or a configuration, is not better the next time.
      // lib.optionalAttrs cfg.nomad.enable {
        Restart = "on-failure";
        RestartSec = 30;
        RestartPreventExitStatus = "1 64 65 70 77 78";
      };
    };
  };
}
