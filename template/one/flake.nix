{
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  # git push alice@HOST:infra HEAD:www
  outputs =
    { nixpkgs, ... }:
    {
      nixosConfigurations.www = nixpkgs.lib.nixosSystem {
        system = "x86_64-linux";
        modules = [ ./www.nix ];
      };
    };
}
