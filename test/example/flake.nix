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
                  serviceConfig.StateDirectory = "site";
                  # The page is the flake's, the list of starts is the machine's own.
                  script = ''
                    cat ${pkgs.writeText "index.html" (text + "\n")} > /var/lib/site/index.html
                    echo "started with '${text}'" >> /var/lib/site/starts
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
