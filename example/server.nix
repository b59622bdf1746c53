# A Skyflake host as a MicroVM: `nix run .#example1`, on a bridge virbr0 with DHCP and a way out.
{ instance }:
{ config, lib, ... }:
{
  microvm = {
    vcpu = 2;
    mem = 4096;
    shares = [
      {
        tag = "ro-store";
        source = "/nix/store";
        mountPoint = "/nix/.ro-store";
      }
    ];
    volumes = [
      {
        image = "example${toString instance}-persist.img";
        mountPoint = "/";
        size = 20 * 1024;
      }
    ];
    interfaces = [
      {
        id = "eth0";
        type = "bridge";
        mac = "02:00:00:00:00:0${toString instance}";
        bridge = "virbr0";
      }
    ];
  };

  networking.hostName = "example${toString instance}";
  networking.useNetworkd = true;
  networking.useDHCP = false;
  systemd.network.networks."10-uplink" = {
    matchConfig.MACAddress = (lib.head config.microvm.interfaces).mac;
    networkConfig.DHCP = "yes";
  };

  # For the console of an example only.
  users.users.root.password = "";
  system.stateVersion = "26.05";

  skyflake = {
    enable = true;
    storage.id = "e8a3c0d1f2b44c5d8e9fa0b1c2d3e4f5";
    cells.mem = 3072;
    reserve.mem = 512;
    users.test = {
      uid = 3001;
      sshKeys = [
        # Put your SSH public key here.
      ];
    };
  };

  # Its disk is new, and its own: elsewhere this is done by hand, once.
  systemd.services.skyflake-storage = {
    description = "Skyflake: a new storage for the example";
    requiredBy = [ "skyflake-host.service" ];
    before = [ "skyflake-host.service" ];
    serviceConfig = {
      Type = "oneshot";
      ExecStart = "${config.skyflake.package}/bin/sky-vm-run storage init";
    };
  };
}
