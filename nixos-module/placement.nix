# Where machines run, in Nomad's words, and what becomes of them when a host goes down by itself.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.skyflake;
  nomad = cfg.nomad;
  sky = import ./lib.nix { inherit lib; };
  inherit (lib) mkOption types;
  inherit (sky) option;

  attribute = mkOption {
    type = types.strMatching "[$][{][A-Za-z0-9._-]+[}]";
    example = "\${meta.rack}";
    description = "Of a host, in Nomad's words.";
  };
  rule = more: types.submodule {
    options = {
      inherit attribute;
      operator = option types.singleLineStr "=" "!=" "How it is compared.";
      value = option types.singleLineStr "" "a" "What with.";
    }
    // more;
  };
  placement = types.submodule {
    options = {
      constraints = option (types.listOf (rule { })) [ ] [
        {
          attribute = "\${meta.rack}";
          value = "a";
        }
      ] "What a host must be.";
      affinities =
        option
          (types.listOf (rule {
            weight = option (sky.types.between (-100) 100) 50 (-50) "How much it is liked, or, below zero, disliked.";
          }))
          [ ]
          [
            {
              attribute = "\${node.class}";
              value = "fast";
              weight = 80;
            }
          ]
          "What a host should rather be.";
      spreads =
        option
          (types.listOf (
            types.submodule {
              options = {
                inherit attribute;
                weight = option (sky.types.between 1 100) 50 100 "How much it counts beside others.";
              };
            }
          ))
          [ ]
          [ { attribute = "\${node.datacenter}"; } ]
          "What machines are spread over.";
      priority = option (types.nullOr (sky.types.between 1 100)) null 70 ''
        Whose turn is first where there is too little room; null: Nomad's 50.
      '';
    };
  };

  drain = verb: "${pkgs.runtimeShell} ${./scripts/drain.sh} ${verb} ${cfg.package}/bin/sky-nomad-submit ${cfg.host} ${nomad.tokens.drain} /var/lib/skyflake-drained ${toString nomad.drain.deadline}";
  unit = {
    wantedBy = [ "multi-user.target" ];
    wants = [ "network-online.target" ];
    after = [
      "nomad.service"
      "skyflake-lease.service"
      "skyflake-host.service"
      "skyflake-secrets.service"
      "network-online.target"
      "remote-fs.target"
    ];
    environment = import ./nomad-env.nix { inherit lib cfg; };
    path = [
      nomad.package
      pkgs.coreutils
      pkgs.jq
      config.systemd.package
    ];
  };
in
{
  options.skyflake = {
    nomad = {
      spare = option (types.enum [
        "warn"
        "refuse"
      ]) "warn" "refuse" ''
        What becomes of a new machine that leaves no room for the loss of one host: it is warned of, or refused.
      '';
      placements = mkOption {
        type = types.attrsOf placement;
        default = { };
        example.default.spreads = [ { attribute = "\${node.datacenter}"; } ];
        description = ''
          Where machines run, by name: `default` is for all of them, others for tenants (`users.NAME.placement`).
        '';
      };
      drain = {
        enable = option types.bool true false ''
          Whether a host that is shut down or rebooted first has its machines moved to others. Without it they are shut down with
          it, and the others take them when its lease is over.
        '';
        deadline = option (sky.types.between 30 3600) 300 600 "Seconds that they may take; then they are shut down.";
      };
      tokens.drain = mkOption {
        type = sky.types.secret;
        default = "${cfg.secrets}/nomad-drain.token";
        defaultText = lib.literalExpression ''"''${config.skyflake.secrets}/nomad-drain.token"'';
        example = "/run/keys/drain.token";
        description = "Token for that: policy `share/skyflake/nomad/operator.hcl`. Where it is not there nothing is moved.";
      };
    };
  };

  config = lib.mkIf (cfg.enable && nomad.enable) {
    assertions = lib.mapAttrsToList (name: user: {
      assertion = lib.all (each: nomad.placements ? ${each}) (
        user.placement.placed ++ user.placement.mayAsk
      );
      message = "skyflake.users.${name}.placement: one is not of skyflake.nomad.placements";
    }) cfg.users;

    skyflake.neededSecrets = lib.optional nomad.drain.enable {
      when = "later";
      owner = "root";
      path = nomad.tokens.drain;
    };

    systemd.services = lib.mkIf (nomad.drain.enable && lib.elem cfg.host nomad.clients) {
      # Its end is what counts: behind it in the order of the start, it is before them in that of the end.
      skyflake-drain = lib.recursiveUpdate unit {
        description = "Skyflake: machines leave before the host goes down";
        restartIfChanged = false;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${pkgs.coreutils}/bin/true";
          ExecStop = drain "down";
          TimeoutStopSec = nomad.drain.deadline + 60;
        };
      };
      skyflake-undrain = lib.recursiveUpdate unit {
        description = "Skyflake: a host that is back takes machines again";
        unitConfig = {
          ConditionPathExists = "/var/lib/skyflake-drained";
          StartLimitIntervalSec = 0;
        };
        serviceConfig = {
          Type = "oneshot";
          ExecStart = drain "up";
          Restart = "on-failure";
          RestartSec = 15;
        };
      };
    };
  };
}
