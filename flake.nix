{
  description = "Skyflake: git push boots a NixOS microVM";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    microvm.url = "github:microvm-nix/microvm.nix";
    microvm.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    {
      self,
      nixpkgs,
      microvm,
    }:
    let
      inherit (nixpkgs) lib;
      forSystems =
        make:
        lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: make nixpkgs.legacyPackages.${system});

      # A host to try things out, itself a MicroVM on the bridge virbr0.
      example =
        instance:
        lib.nixosSystem {
          system = "x86_64-linux";
          modules = [
            microvm.nixosModules.microvm
            self.nixosModules.default
            (import ./example/server.nix { inherit instance; })
          ];
        };
      runner = host: {
        type = "app";
        program = "${host.config.microvm.declaredRunner}/bin/microvm-run";
        meta.description = "A Skyflake host in a virtual machine";
      };
    in
    {
      nixosModules.default = {
        imports = [ ./nixos-module ];
        # What tenants' flakes do not lock, and what machines are made with.
        skyflake.cells.inputs = lib.mapAttrs (_: lib.mkDefault) {
          nixpkgs = nixpkgs.outPath;
          microvm = microvm.outPath;
        };
      };

      packages = forSystems (pkgs: {
        default = pkgs.callPackage ./package.nix { };
      });

      nixosConfigurations.example1 = example 1;

      apps.x86_64-linux = {
        default = self.apps.x86_64-linux.example1;
        example1 = runner self.nixosConfigurations.example1;
      };

      checks = forSystems (
        pkgs:
        {
          package = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
        }
        // lib.optionalAttrs pkgs.stdenv.hostPlatform.isx86_64 {
          example1 = self.nixosConfigurations.example1.config.system.build.toplevel;
          one-host = pkgs.testers.runNixOSTest {
            imports = [ ./nixos-module/tests/one-host.nix ];
            defaults.imports = [ self.nixosModules.default ];
          };
        }
      );

      devShells = forSystems (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ self.packages.${pkgs.stdenv.hostPlatform.system}.default ];
          packages = with pkgs; [
            bats
            catch2
            ccache
            clang-tools
            jq
            shellcheck
          ];
        };
      });

      templates.default = {
        path = ./template;
        description = "A tenant's flake with one machine, www";
      };
    };
}
