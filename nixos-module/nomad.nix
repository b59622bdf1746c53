# Nomad, which runs the machines of a cluster: its agent on each host, and how the tools reach it.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.skyflake;
  nomad = cfg.nomad;
  sky = import ./lib.nix { inherit lib; };
  inherit (lib) mkOption types;
  inherit (sky) option;

  names = lib.attrNames cfg.nodes;
  self = cfg.nodes.${cfg.host} or { address = "127.0.0.1"; };
  isServer = lib.elem cfg.host nomad.servers;
  isClient = lib.elem cfg.host nomad.clients;
  addressOf = name: cfg.nodes.${name}.address or "unknown";
  # With its port an IPv6 address stands in brackets.
  at =
    port: name:
    let
      address = addressOf name;
    in
    "${if lib.hasInfix ":" address then "[${address}]" else address}:${toString port}";
  seconds = number: "${toString number}s";

  settings = {
    name = cfg.host;
    inherit (nomad) region datacenter;
    data_dir = "/var/lib/nomad";
    bind_addr = self.address;
    # Tools ask the agent of their own host first.
    addresses.http = "127.0.0.1 ${self.address}";
    advertise = {
      http = self.address;
      rpc = self.address;
      serf = self.address;
    };
    log_level = if cfg.debug then "DEBUG" else "INFO";
    disable_update_check = true;
    # An agent that ends is one that comes back: machines run on, a server stays one of its peers.
    leave_on_interrupt = false;
    leave_on_terminate = false;
    consul = {
      auto_advertise = false;
      server_auto_join = false;
      client_auto_join = false;
    };
    # Without it whoever reaches the port is root on every host.
    acl.enabled = true;
  }
  // lib.optionalAttrs nomad.tls.enable {
    tls = {
      http = true;
      rpc = true;
      ca_file = nomad.tls.ca;
      cert_file = nomad.tls.cert;
      key_file = nomad.tls.key;
      verify_server_hostname = true;
      verify_https_client = true;
    };
  }
  // {
    server =
      if isServer then
        {
          enabled = true;
          bootstrap_expect = lib.length nomad.servers;
          heartbeat_grace = seconds nomad.heartbeat.grace;
          min_heartbeat_ttl = seconds nomad.heartbeat.ttl;
          failover_heartbeat_ttl = seconds nomad.heartbeat.failoverTtl;
          server_join = {
            retry_join = map (at 4648) nomad.servers;
            retry_interval = "5s";
          };
        }
      else
        { enabled = false; };
    client =
      if isClient then
        {
          enabled = true;
          servers = map (at 4647) nomad.servers;
          inherit (nomad) meta;
          node_pool = nomad.nodePool;
          # A machine is given stopTimeout and 15 s; Nomad cuts what is above this.
          max_kill_timeout = seconds (cfg.machines.stopTimeout + 30);
          reserved = {
            memory = cfg.reserve.mem + cfg.reserve.nomadMem + cfg.reserve.cephMem + cfg.reserve.buildMem;
          }
          // lib.optionalAttrs (cfg.reserve.cores != null) { inherit (cfg.reserve) cores; };
          options."fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean,consul,vault,cni";
        }
      else
        { enabled = false; };
    plugin = [ { raw_exec = [ { config = [ { enabled = true; } ]; } ]; } ];
  }
  // lib.optionalAttrs cfg.metrics.enable {
    telemetry = {
      collection_interval = "10s";
      prometheus_metrics = true;
      publish_allocation_metrics = true;
      publish_node_metrics = true;
      disable_hostname = true;
    };
  };

  secret =
    name: description:
    mkOption {
      type = sky.types.secret;
      default = "${cfg.secrets}/${name}";
      defaultText = lib.literalExpression ''"''${config.skyflake.secrets}/${name}"'';
      example = "/run/keys/${name}";
      inherit description;
    };
in
{
  options.skyflake.nomad = {
    enable = mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = ''
        Whether the machines are those of a cluster, run by Nomad on the hosts of `skyflake.nodes`. Without it this host runs
        its machines itself.
      '';
    };

    package = mkOption {
      type = types.package;
      default = pkgs.nomad;
      defaultText = lib.literalExpression "pkgs.nomad";
      example = lib.literalExpression "pkgs.nomad_1_11";
      description = ''
        Nomad, 1.10.2 or newer. Its licence (Business Source License 1.1) lets you run it for yourself, and is none that
        nixpkgs calls free: allow it with
        `nixpkgs.config.allowUnfreePredicate = package: lib.getName package == "nomad";`.
      '';
    };

    servers = mkOption {
      type = types.listOf sky.types.name;
      default = lib.take (if lib.length names >= 3 then 3 else 1) names;
      defaultText = lib.literalMD "the first three of `skyflake.nodes`, or one where there are fewer";
      example = [
        "n1"
        "n2"
        "n3"
      ];
      description = ''
        Hosts whose agents are servers: 1, 3 or 5. Three take the loss of one, five of two; one takes none, and two would
        take none either.
      '';
    };

    clients = mkOption {
      type = types.listOf sky.types.name;
      default = names;
      defaultText = lib.literalMD "all of `skyflake.nodes`";
      example = [
        "n2"
        "n3"
        "n4"
      ];
      description = "Hosts that machines run on.";
    };

    region = option sky.types.name "global" "europe" "Nomad's region. Certificates are of `server.REGION.nomad`.";
    datacenter = option sky.types.name "dc1" "rack-3" "Datacenter of this host, in Nomad's words.";
    datacenters = option (types.listOf types.singleLineStr) [ "*" ] [ "dc1" ] ''
      Datacenters that machines may run in.
    '';
    nodePool = option sky.types.name "default" "fast" "Node pool of this host, and of the machines.";
    meta = option (types.attrsOf types.singleLineStr) { } { rack = "a"; } ''
      What this host is, for placement: `''${meta.rack}` in Nomad's words.
    '';

    tls = {
      enable = option types.bool true false "Whether agents, and tools with them, talk by TLS with certificates on both sides.";
      ca = secret "nomad-ca.pem" "The cluster's own certificate authority, its certificate.";
      cert = secret "nomad-agent.pem" "The agent's certificate: `server.REGION.nomad` of a server, else `client.REGION.nomad`; and 127.0.0.1.";
      key = secret "nomad-agent.key" "Its key, root's.";
      clientCert = secret "nomad-cli.pem" "The tools' certificate.";
      clientKey = secret "nomad-cli.key" "Its key, of skyflake-deploy.";
    };

    gossip = mkOption {
      type = types.nullOr sky.types.secret;
      default = if nomad.tls.enable then "${cfg.secrets}/nomad-gossip.hcl" else null;
      defaultText = lib.literalExpression ''"''${config.skyflake.secrets}/nomad-gossip.hcl"'';
      example = "/run/keys/nomad-gossip.hcl";
      description = "A file `server { encrypt = \"...\" }` with the key of what servers tell each other; null: they tell it in clear.";
    };

    tokens = {
      deploy = secret "nomad-deploy.token" "Token of skyflake-deploy: policy `share/skyflake/nomad/deploy.hcl`.";
      host = secret "nomad-host.token" "Token of root's tools on a host: policy `share/skyflake/nomad/host.hcl`.";
    };

    heartbeat = {
      ttl = option (sky.types.between 1 600) 10 5 ''
        Seconds within which a host is heard of, at least; up to twice that.
      '';
      grace = option (sky.types.between 1 600) 10 30 ''
        Seconds after that until it counts as lost. Leave an agent time to be restarted: its machines run on meanwhile.
      '';
      failoverTtl = option (sky.types.between 1 3600) 30 60 ''
        Seconds that every host is given when Nomad has a new leader; Nomad's own 5 minutes would hold up the machines of a
        host that was the leader.
      '';
    };

    leaseTime = option (sky.types.between 3 3600) 30 60 ''
      Seconds that a host may write to shared volumes after it was last heard of (L). A machine of a lost host is up again
      after heartbeat ttl (up to twice), grace, L, the storage's wait time and its boot.
    '';

    placeTimeout = option (sky.types.between 1 3600) 60 300 "Seconds that a push waits for a host with room.";
    vcpuMhz = option (sky.types.between 1 100000) 1000 500 ''
      What a virtual CPU counts in Nomad's accounts, in MHz: fewer than a core has lets machines share cores.
    '';
    overhead = option (sky.types.between 16 1048576) 192 256 ''
      MiB that a machine counts beside its memory, for its hypervisor and virtiofsd.
    '';

    settings = mkOption {
      type = types.attrsOf types.anything;
      internal = true;
      readOnly = true;
      description = "What the agent is told, before anything in `services.nomad.settings`.";
    };
  };

  config = lib.mkMerge [
    { skyflake.nomad = { inherit settings; }; }
    (lib.mkIf (cfg.enable && nomad.enable) {
      assertions = [
        {
          assertion = cfg.nodes != { };
          message = "skyflake.nomad: a cluster needs its hosts in skyflake.nodes";
        }
        {
          assertion = lib.all (name: cfg.nodes ? ${name}) (nomad.servers ++ nomad.clients);
          message = "skyflake.nomad: servers and clients must be among skyflake.nodes";
        }
        {
          assertion = lib.elem (lib.length nomad.servers) [
            1
            3
            5
          ];
          message = "skyflake.nomad.servers: ${toString (lib.length nomad.servers)} servers; use 1, 3 or 5 (an even number takes the loss of no more)";
        }
        {
          assertion = nomad.package.meta.available or true;
          message = ''
            skyflake.nomad.package: Nomad's licence (BUSL 1.1) is none that nixpkgs calls free. If you may run it, say so:
              nixpkgs.config.allowUnfreePredicate = package: lib.getName package == "nomad";
          '';
        }
        {
          assertion = lib.versionAtLeast (lib.getVersion nomad.package) "1.10.2";
          message = "skyflake.nomad.package: Nomad must be 1.10.2 or newer";
        }
        {
          assertion = nomad.heartbeat.failoverTtl >= 2 * nomad.heartbeat.ttl;
          message = "skyflake.nomad.heartbeat: failoverTtl must be twice ttl at least, or hosts are lost with each new leader";
        }
      ];

      # A connection to a host that is gone is given up after 100 s, the least that RFC 1122 allows, and not after a quarter of
      # an hour: Nomad waits for a TLS handshake without a limit of its own.
      boot.kernel.sysctl."net.ipv4.tcp_retries2" = lib.mkDefault 8;

      services.nomad = {
        enable = true;
        package = nomad.package;
        dropPrivileges = false; # tasks are root's tools, which drop what they have themselves
        enableDocker = false;
        inherit settings;
        credentials = lib.mkIf (nomad.gossip != null && isServer) { "gossip.hcl" = nomad.gossip; };
      };

      systemd.services.nomad = {
        requires = [ "skyflake-secrets.service" ];
        # A host whose lease does not hold is given nothing with shared volumes; an agent would only fail at it.
        wants = [ "skyflake-lease.service" ];
        after = [
          "skyflake-secrets.service"
          "skyflake-host.service"
          "skyflake-lease.service"
        ];
        unitConfig.StartLimitIntervalSec = lib.mkForce 0;
        serviceConfig = {
          Restart = lib.mkForce "always";
          Slice = "system-nomad.slice";
        };
      };

      systemd.services.skyflake-lease = lib.mkIf isClient {
        description = "Skyflake: this host's lease of the shared storage";
        wantedBy = [ "multi-user.target" ];
        requires = [ "skyflake-secrets.service" ];
        wants = [ "network-online.target" ];
        after = [
          "skyflake-secrets.service"
          "skyflake-host.service"
          "network-online.target"
        ];
        unitConfig = {
          StartLimitIntervalSec = 0;
          RequiresMountsFor = [ cfg.storage.directory ];
        };
        serviceConfig = {
          ExecStart = "${cfg.package}/bin/sky-vm-run ${lib.optionalString cfg.debug "-v "}--config /etc/skyflake/config.json lease";
          # Whatever ends it: machines live on until the deadline of the last renewal.
          Restart = "always";
          RestartSec = 1;
          OOMScoreAdjust = -1000;
          CPUWeight = 10000;
          MemoryMin = "64M";
          IOSchedulingClass = "realtime";
        };
      };

      skyflake.clusterNetworks = map (
        address: "${address}/${if lib.hasInfix ":" address then "128" else "32"}"
      ) (lib.mapAttrsToList (_: node: node.address) cfg.nodes);
    })
  ];
}
