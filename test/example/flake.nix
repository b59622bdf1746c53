{
  description = "Machines for Skyflake: push a branch named like a machine, and it runs";

  inputs.nixpkgs.url = "nixpkgs";

  outputs =
    { self, nixpkgs }:
    let
      # A machine that serves a page, and beside it the history of all pages that it ever served.
      site =
        hostName: page: more:
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
                  description = "A page over HTTP";
                  wantedBy = [ "multi-user.target" ];
                  after = [ "network.target" ];
                  script = ''
                    mkdir -p /var/lib/site
                    cat ${pkgs.writeText "index.html" (page + "\n")} > /var/lib/site/index.html
                    cat /var/lib/site/index.html >> /var/lib/site/history.txt
                    exec ${pkgs.busybox}/bin/httpd -f -p 80 -h /var/lib/site
                  '';
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

        # The pages on a disk of their own, beside the persistent root.
        db = site "db" "Hello from db." {
          deployment.volumes.data = {
            size = 256;
            mountPoint = "/var/lib/site";
          };
        };

        # Two CPUs, more memory.
        big = site "big" "Hello from big." {
          deployment.vcpu = 2;
          deployment.mem = 768;
        };

        # Nothing that Skyflake adds to NixOS.
        plain = site "plain" "Hello from plain." { };
      };
    };
}
