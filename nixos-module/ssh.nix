# The door: whatever a tenant's client asks for, sshd starts sky-shell.
{ config, lib, ... }:
let
  cfg = config.skyflake;
in
{
  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = config.services.openssh.settings.UsePAM == true;
        message = "skyflake: tenants' limits are those of their systemd slices (services.openssh.settings.UsePAM)";
      }
    ];

    services.openssh = {
      enable = true;
      # Connections that have not logged in yet; sshd's own 10:30:100 drops pushes at random from the tenth silent one.
      settings.MaxStartups = lib.mkDefault "60:30:100";
      # Last: a Match block reaches to the next one.
      extraConfig = lib.mkAfter ''
        Match Group skyflake-tenants
          AuthorizedKeysFile /run/skyflake/keys/%u /run/skyflake/added/%u
          AuthorizedKeysCommand none
          AuthenticationMethods publickey
          PasswordAuthentication no
          KbdInteractiveAuthentication no
          ForceCommand /run/current-system/sw/bin/sky-shell
          ExposeAuthInfo yes
          AcceptEnv GIT_PROTOCOL
          PermitTTY no
          PermitTunnel no
          PermitUserRC no
          DisableForwarding yes
          ClientAliveInterval 15
          ClientAliveCountMax 3
        Match All
      '';
    };
  };
}
