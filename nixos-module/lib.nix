# What several files of the module need: the tools' own limits as types.
{ lib }:
let
  inherit (lib) mkOption types;

  # In the configuration of the tools numbers are checked again; here the message names the option.
  between = types.ints.between;
  kMostMib = 1099511627776;
  kMostSeconds = 604800;
in
{
  types = {
    # tenants
    shortName = types.strMatching "[a-z][a-z0-9-]{0,30}";
    # machines, networks, hosts, inputs
    name = types.strMatching "[a-z][a-z0-9-]{0,39}";
    prefix = types.strMatching "[a-z]{1,4}";
    hex32 = types.strMatching "[0-9a-f]{32}";
    cidr4 = types.strMatching "([0-9]{1,3}\\.){3}[0-9]{1,3}/[0-9]{1,2}";
    cidr = types.strMatching "[0-9a-fA-F.:]+(/[0-9]{1,3})?";
    address = types.strMatching "[0-9a-fA-F.:]+";
    directory = types.strMatching "(/[A-Za-z0-9._+-]+)+";
    # A file that is there at run time, never in the store, where everybody could read it.
    secret = types.addCheck (types.strMatching "(/[A-Za-z0-9._+-]+)+") (
      path: builtins.match "${builtins.storeDir}/.*" path == null
    );
    mib = between 0 kMostMib;
    mibAtLeast = least: between least kMostMib;
    seconds = between 1 kMostSeconds;
    secondsOrNone = between 0 kMostSeconds;
    inherit between;
  };

  option =
    type: default: example: description:
    mkOption {
      inherit
        type
        default
        example
        description
        ;
    };
}
