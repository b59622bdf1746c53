# The flake in the README of the original Skyflake, as it stands there: it knows nothing of this one.
{
  outputs = { self, nixpkgs }: {
    nixosConfigurations =
      let
        mkHost = hostName:
          nixpkgs.lib.nixosSystem {
            modules = [ {
              system.stateVersion = "22.11";
              networking = { inherit hostName; };
              services.openssh = {
                enable = true;
                permitRootLogin = "yes";
              };
              users.users.root.password = "";
            } ];
            system = "x86_64-linux";
          };
      in {
        skytest1 = mkHost "skytest1";
        skytest2 = mkHost "skytest2";
        skytest3 = mkHost "skytest3";
        skytest4 = mkHost "skytest4";
      };
  };
}
