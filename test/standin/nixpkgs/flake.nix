{
  description = "Stand-in for nixpkgs: the contracts that Skyflake's guests rely on, a busybox for a system";

  outputs =
    { self }:
    let
      system = "x86_64-linux";
      lib = import ./lib;
    in
    {
      lib = lib // {
        nixosSystem = import ./nixos { inherit lib; };
      };
      legacyPackages.${system} = import ./pkgs { inherit lib system; };
    };
}
