# What crosses sudo is a request: a rule per verb fixes the whole command line, doc/interfaces.md "sudo".
{ config, lib, ... }:
let
  cfg = config.skyflake;

  # The one text of the rules.
  rules =
    lib.replaceStrings
      [
        "{tenants}"
        "{cache}"
        "{deploy}"
        "{bin}"
        "{config}"
      ]
      [
        "skyflake-tenants"
        "skyflake-cache"
        "skyflake-deploy"
        "/run/current-system/sw/bin"
        "/etc/skyflake/config.json"
      ]
      (builtins.readFile ../tools/sky-vm-run/sudoers.in);
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

    security.sudo.extraConfig = rules;
  };
}
