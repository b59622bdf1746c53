# What crosses sudo is a request: a rule per verb fixes the whole command line, doc/interfaces.md "sudo".
{ config, lib, ... }:
let
  cfg = config.skyflake;

  commands =
    tool: verbs:
    map (verb: {
      command = "/run/current-system/sw/bin/${tool} --config /etc/skyflake/config.json ${verb}";
      options = [ "NOPASSWD" ];
    }) verbs;

  limits = [
    "as"
    "core"
    "cpu"
    "data"
    "fsize"
    "locks"
    "memlock"
    "nofile"
    "nproc"
    "rss"
    "stack"
  ];
  defaults = lib.concatStringsSep "," (
    [
      "env_reset"
      "!requiretty"
      "!use_pty"
      "!lecture"
      "!fqdn"
      "umask=0022"
      "umask_override"
    ]
    ++ map (limit: "rlimit_${limit}=default") limits
  );
in
{
  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = config.security.sudo.enable && !config.security.sudo-rs.enable;
        message = "skyflake: the tools cross accounts by sudo (security.sudo.enable; sudo-rs has no rlimit_*)";
      }
      {
        assertion = !config.security.sudo.execWheelOnly;
        message = "skyflake: tenants must be able to run sudo (security.sudo.execWheelOnly)";
      }
    ];

    security.sudo.extraRules = [
      {
        groups = [ "skyflake-tenants" ];
        runAs = "skyflake-cache";
        commands = commands "sky-cache-push" [
          "missing"
          "push"
        ];
      }
      {
        groups = [ "skyflake-tenants" ];
        runAs = "skyflake-deploy";
        commands = commands "sky-nomad-submit" [
          "identity"
          "submit"
          "ensure"
          "status"
          "stop"
          "restart"
          "redeploy"
          "rollback"
          "logs"
          "connect"
        ];
      }
      {
        users = [ "skyflake-deploy" ];
        runAs = "root";
        commands = commands "sky-vm-run" [
          "register"
          "start"
          "stop"
          "restart"
          "list"
          "logs"
        ];
      }
    ];
    security.sudo.extraConfig = ''
      Defaults:%skyflake-tenants ${defaults}
      Defaults:skyflake-deploy ${defaults}
    '';
  };
}
