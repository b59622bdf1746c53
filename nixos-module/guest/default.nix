# From a tenant's flake to a deployment: a NixOS configuration extended with microvm.nix, and what it asks of a host as
# manifest.json. The tenant controls whatever comes back; nothing here is a check that a host may rely on.
let
  configurations = flake: flake.nixosConfigurations or { };
  machines = flake: builtins.attrNames (configurations flake);

  missing =
    flake: machine:
    let
      known = machines flake;
    in
    throw "no nixosConfigurations.${machine} in this flake (${
      if known == [ ] then "it has none" else "it has: ${builtins.concatStringsSep ", " known}"
    })";

  # A module's path may not carry the context that a fetched tree's string has.
  asPath = file: /. + builtins.unsafeDiscardStringContext (toString file);

  # identity: { index, machineId, macs, rootMib }, given by the cluster's registry.
  deploy =
    {
      flake,
      machine,
      identity,
      microvm,
      customization ? null,
    }:
    let
      base = (configurations flake).${machine} or (missing flake machine);
      extendModules =
        base.extendModules
          or (throw "nixosConfigurations.${machine} has no extendModules (make it with nixpkgs.lib.nixosSystem)");
      # Only the extended configuration is looked at: without it, deployment.* are unknown options.
      guest = extendModules {
        modules = [
          microvm.nixosModules.microvm
          ./options.nix
          ./machine.nix
          ./network.nix
          { _module.args.skyflake = { inherit machine identity; }; }
        ]
        ++ (if customization == null then [ ] else [ (asPath customization) ]);
      };
    in
    guest.pkgs.writeTextFile {
      name = "skyflake-${machine}";
      destination = "/manifest.json";
      text = builtins.toJSON (import ./manifest.nix { inherit (guest) config pkgs; });
    };
in
{
  inherit deploy machines;
}
