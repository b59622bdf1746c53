# What a push and the verbs of tenants do.
{ lib, ... }:
let
  sky = import ./lib.nix { inherit lib; };
  inherit (lib) mkOption types;
  inherit (sky) option;
  verbs = [
    "redeploy"
    "restart"
    "stop"
    "rollback"
  ];
in
{
  options.skyflake.deploy = {
    customizationModule = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = lib.literalExpression "./customization";
      description = ''
        A NixOS module, or a directory with a default.nix, that extends every machine's configuration: an agent for
        metrics, say. What it sets a tenant can override; limits are the quotas' and machines' work.
      '';
    };

    verbs = option (types.listOf (types.enum verbs)) verbs [ "restart" ] ''
      Which of the verbs that change a running machine tenants have.
    '';

    push = {
      maxSize = option (sky.types.between 1 1048576) 512 64 "Most that one push may bring, in MiB.";
      waitTimeout =
        option sky.types.secondsOrNone 120 0
          "Seconds that a push waits for another one to the same repository.";
      idleTimeout =
        option sky.types.seconds 300 600
          "Seconds without a byte from the client after which a push is given up.";
    };
  };
}
