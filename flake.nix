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

      # Hosts to try things out, themselves MicroVMs on the bridge virbr0: one by itself, or three that are a cluster.
      machine =
        module:
        lib.nixosSystem {
          system = "x86_64-linux";
          modules = [
            microvm.nixosModules.microvm
            self.nixosModules.default
            module
          ];
        };
      examples = {
        example = machine (import ./example/server.nix { instance = 9; });
      }
      // lib.listToAttrs (
        map
          (instance: {
            name = "example${toString instance}";
            value = machine (import ./example/cluster.nix { inherit instance; });
          })
          [
            1
            2
            3
          ]
      );
      keys = pkgs: pkgs.callPackage ./nixos-module/scripts { };
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
        documentation = pkgs.callPackage ./doc/package.nix {
          skyflake = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
        };
        inherit (keys pkgs) make-ceph make-nomad;
      });

      nixosConfigurations = examples;

      apps = forSystems (
        pkgs:
        lib.mapAttrs (_: package: {
          type = "app";
          program = lib.getExe package;
          inherit (package) meta;
        }) (lib.getAttrs [ "make-ceph" "make-nomad" ] (keys pkgs))
        // lib.optionalAttrs pkgs.stdenv.hostPlatform.isx86_64 (
          lib.mapAttrs (_: runner) examples // { default = runner examples.example; }
        )
      );

      checks = forSystems (
        pkgs:
        {
          inherit (self.packages.${pkgs.stdenv.hostPlatform.system}) default documentation;
        }
        // lib.optionalAttrs pkgs.stdenv.hostPlatform.isx86_64 {
          example = examples.example.config.system.build.toplevel;
          example1 = examples.example1.config.system.build.toplevel;
        }
        // lib.optionalAttrs pkgs.stdenv.hostPlatform.isx86_64 (
          lib.genAttrs [ "one-host" "three-hosts" "failover" ] (
            name:
            pkgs.testers.runNixOSTest {
              imports = [ (./nixos-module/tests + "/${name}.nix") ];
              defaults.imports = [ self.nixosModules.default ];
              # A test's nodes share one nixpkgs, whose configuration they can not change: Nomad's licence is allowed here.
              node.pkgs = lib.mkForce (
                import nixpkgs {
                  inherit (pkgs.stdenv.hostPlatform) system;
                  config.allowUnfreePredicate = package: lib.getName package == "nomad";
                }
              );
            }
          )
        )
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

      templates = {
        default = {
          path = ./template/one;
          description = "A tenant's flake with one machine, www";
        };
        four = {
          path = ./template/four;
          description = "A tenant's flake with four machines, skytest1 to skytest4";
        };
      };
    };
}
