# A NixOS server as a Skyflake host. One file per concern, its options beside what they make.
{
  imports = [
    ./host.nix
    ./config.nix
    ./accounts.nix
    ./tenants.nix
    ./ssh.nix
    ./sudo.nix
    ./nodes.nix
    ./secrets.nix
    ./nomad.nix
    ./placement.nix
    ./storage.nix
    ./ceph.nix
    ./machines.nix
    ./deploy.nix
    ./cells.nix
    ./networks.nix
    ./resources.nix
    ./firewall.nix
    ./metrics.nix
    ./units.nix
    ./gc.nix
    ./backup.nix
  ];
}
