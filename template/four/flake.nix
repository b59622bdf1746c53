{
  description = "Four machines";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  # git push test@HOST:example HEAD:skytest1 HEAD:skytest2 HEAD:skytest3 HEAD:skytest4
  outputs =
    { nixpkgs, ... }:
    let
      machine =
        hostName:
        nixpkgs.lib.nixosSystem {
          system = "x86_64-linux";
          modules = [
            {
              networking = { inherit hostName; };
              services.openssh.enable = true;
              users.users.root.openssh.authorizedKeys.keys = [
                # "ssh-ed25519 AAAA... you@laptop"
              ];
              system.stateVersion = "26.05";
            }
          ];
        };
    in
    {
      nixosConfigurations = nixpkgs.lib.genAttrs [ "skytest1" "skytest2" "skytest3" "skytest4" ] machine;
    };
}
