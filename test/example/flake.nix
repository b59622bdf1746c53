{
  description = "Machines for Skyflake: push a branch named like a machine, and it runs";

  inputs.nixpkgs.url = "nixpkgs";

  outputs =
    { self, nixpkgs }:
    let
      # A machine that serves one page.
      site =
        hostName: text: more:
        nixpkgs.lib.nixosSystem {
          system = "x86_64-linux";
          modules = [
            (
              { pkgs, ... }:
              {
                networking = {
                  inherit hostName;
                  firewall.allowedTCPPorts = [ 80 ];
                };
                systemd.services.site = {
                  description = "One page over HTTP";
                  wantedBy = [ "multi-user.target" ];
                  after = [ "network.target" ];
                  serviceConfig.ExecStart =
                    "${pkgs.busybox}/bin/httpd -f -p 80 -h ${pkgs.writeTextDir "index.html" (text + "\n")}";
                };
                system.stateVersion = "25.11";
              }
            )
            more
          ];
        };
    in
    {
      nixosConfigurations = {
        # Up once it answers on port 80.
        www = site "www" "Hello from www." { deployment.ready.tcp = 80; };

        # A disk of its own besides the persistent root.
        db = site "db" "Hello from db." {
          deployment.volumes.data = {
            size = 256;
            mountPoint = "/var/lib/data";
          };
        };

        # Two CPUs.
        build = site "build" "Hello from build." { deployment.vcpu = 2; };

        # Nothing that Skyflake adds.
        plain = site "plain" "Hello from plain." { };
      };
    };
}
