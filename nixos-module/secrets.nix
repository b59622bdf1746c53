# Files that only one account may read, brought to each host at run time: never by the store.
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

  file = when: owner: path: { inherit when owner path; };
  files = lib.optionals nomad.enable (
    lib.optionals nomad.tls.enable [
      (file "needed" "root" nomad.tls.ca)
      (file "needed" "root" nomad.tls.cert)
      (file "needed" "root" nomad.tls.key)
      (file "needed" "root" nomad.tls.clientCert)
      (file "needed" "skyflake-deploy" nomad.tls.clientKey)
    ]
    ++ lib.optional (nomad.gossip != null) (file "needed" "root" nomad.gossip)
    ++ [
      (file "later" "skyflake-deploy" nomad.tokens.deploy)
      (file "later" "root" nomad.tokens.host)
    ]
    ++ map (class: file "needed" "root" class.keyring) (
      lib.filter (class: class.kind == "fenced") (lib.attrValues cfg.storage.classes)
    )
  )
  ++ map (each: file each.when each.owner each.path) cfg.neededSecrets;
in
{
  options.skyflake.neededSecrets = mkOption {
    type = types.listOf (types.attrsOf types.str);
    default = [ ];
    internal = true;
    description = "Files of other parts: when (`needed` or `later`), owner, path.";
  };

  options.skyflake.secrets = mkOption {
    type = sky.types.secret;
    default = "/var/lib/skyflake-secrets";
    example = "/run/keys/skyflake";
    description = ''
      Directory of the files with keys and tokens, where no option names another. It is the operator's, or a tool's that
      brings secrets (sops-nix, agenix); `nix run .#make-nomad` and `make-ceph` make a cluster's.
    '';
  };

  config = lib.mkIf (cfg.enable && files != [ ]) {
    systemd.services.skyflake-secrets = {
      description = "Skyflake: keys and tokens are there, each for its account alone";
      wantedBy = [ "multi-user.target" ];
      unitConfig.RequiresMountsFor = [ cfg.secrets ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = lib.concatStringsSep " " (
          [ "${pkgs.runtimeShell} ${./scripts/secrets.sh}" ]
          ++ map (each: "${each.when} ${each.owner} ${each.path}") files
        );
      };
      path = [ pkgs.coreutils ];
    };
    systemd.tmpfiles.rules = [ "d ${cfg.secrets} 0711 root root -" ];
  };
}
