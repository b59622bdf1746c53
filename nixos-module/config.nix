# /etc/skyflake/config.json: what the options say, in the words of doc/interfaces.md.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.skyflake;
  inherit (lib) mkOption types mapAttrs;

  # A path of this source goes to the store, one that is there already stays as it is.
  stored = path: if builtins.isPath path then "${path}" else toString path;

  # virtiofsd and the storage process run in views of their own, which hold this, and of a machine its closure or volumes.
  helpers = pkgs.closureInfo {
    rootPaths = [
      pkgs.virtiofsd
    ]
    ++ lib.optionals cfg.storage.shares [
      cfg.storage.daemon
      cfg.package # sky-fusermount
    ];
  };

  # How the tools reach Nomad: the agent of this host, then the servers.
  nomad =
    let
      inherit (cfg.nomad) tls;
      url =
        address:
        "${if tls.enable then "https" else "http"}://${
          if lib.hasInfix ":" address then "[${address}]" else address
        }:4646";
      inherit (cfg.nomad) servers;
      addressOf = name: if name == cfg.host then "127.0.0.1" else cfg.nodes.${name}.address;
      # An agent that is no server has a certificate of another name.
      own = lib.filter (name: name == cfg.host) servers;
    in
    {
      addresses = map (name: url (addressOf name)) (lib.unique (own ++ servers));
      ca = if tls.enable then tls.ca else null;
      cert = if tls.enable then tls.clientCert else null;
      key = if tls.enable then tls.clientKey else null;
      tls_name = if tls.enable then "server.${cfg.nomad.region}.nomad" else null;
      inherit (cfg.nomad) region datacenters;
      node_pool = cfg.nomad.nodePool;
      deploy_token = cfg.nomad.tokens.deploy;
      host_token = cfg.nomad.tokens.host;
      vcpu_mhz = cfg.nomad.vcpuMhz;
      overhead_mib = cfg.nomad.overhead;
      place_s = cfg.nomad.placeTimeout;
      lease_s = cfg.nomad.leaseTime;
      inherit (cfg.nomad) spare;
      placements = mapAttrs (
        _: placement:
        {
          inherit (placement) constraints affinities spreads;
        }
        // lib.optionalAttrs (placement.priority != null) { inherit (placement) priority; }
      ) cfg.nomad.placements;
    };

  # The tools judge the file while the system is built, so a bad one never reaches the host.
  file =
    pkgs.runCommand "skyflake-config.json"
      {
        settings = builtins.toJSON cfg.settings;
        passAsFile = [ "settings" ];
        nativeBuildInputs = [ pkgs.buildPackages.jq ];
        preferLocalBuild = true;
      }
      ''
        jq --rawfile roots ${helpers}/store-paths \
          '.program_roots = ($roots | split("\n") | map(select(. != "")))' "$settingsPath" > "$out"
        ${lib.optionalString (pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform) ''
          ${cfg.package}/bin/sky-vm-run --config "$out" --check-config
        ''}
      '';
in
{
  options.skyflake = {
    settings = mkOption {
      type = types.attrsOf types.anything;
      internal = true;
      readOnly = true;
      description = "config.json as data, but for what virtiofsd needs, which is known when it is built.";
    };

    configFile = mkOption {
      type = types.package;
      internal = true;
      readOnly = true;
      description = "The derivation of config.json.";
    };
  };

  config.skyflake = {
    configFile = file;
    settings = {
      v = 1;
      inherit (cfg) host prefix;
      state = cfg.storage.directory;
      storage = cfg.storage.id;
      bin = "/run/current-system/sw/bin";
      hooks = "${cfg.package}/share/skyflake/hooks";
      programs = {
        git = "${pkgs.gitMinimal}/bin/git";
        sudo = "${config.security.wrapperDir}/sudo";
        bwrap = "${pkgs.bubblewrap}/bin/bwrap";
        pasta = "${pkgs.passt}/bin/pasta";
        virtiofsd = "${pkgs.virtiofsd}/bin/virtiofsd";
        dnsmasq = "${pkgs.dnsmasq}/bin/dnsmasq";
        mkfs_ext4 = "${pkgs.e2fsprogs}/bin/mkfs.ext4";
        systemd_run = "${config.systemd.package}/bin/systemd-run";
      }
      // lib.optionalAttrs cfg.storage.shares {
        qemu_storage_daemon = "${cfg.storage.daemon}/bin/qemu-storage-daemon";
      }
      // lib.optionalAttrs cfg.storage.fenced (
        lib.genAttrs [ "ceph" "rados" "rbd" ] (name: "${cfg.ceph.package}/bin/${name}")
      );
      program_roots = [ ];
      accounts = {
        cache = "skyflake-cache";
        deploy = "skyflake-deploy";
        dns = "skyflake-dns";
        tenants = "skyflake-tenants";
      };
      tenant_uids = {
        inherit (cfg.tenantUids) first count;
      };
      machine_uids = {
        inherit (cfg.machines.uids) first count;
      };
      tenants = mapAttrs (_: user: {
        inherit (user) uid;
        quota = {
          inherit (user.quota) machines vcpu;
          mem_mib = user.quota.mem;
          disk_mib = user.quota.disk;
          cache_mib = user.quota.cache;
        };
      }
      // lib.optionalAttrs (user.placement.placed != [ ] || user.placement.mayAsk != [ ]) {
        placement = {
          inherit (user.placement) placed;
          may_ask = user.placement.mayAsk;
        };
      }) cfg.users;
      machine = {
        vcpu_max = cfg.machines.vcpuMax;
        mem_max_mib = cfg.machines.memMax;
        root_mib = cfg.machines.rootSize;
        ready_s = cfg.machines.readyTimeout;
        stop_s = cfg.machines.stopTimeout;
      };
      inherit (cfg.machines) hypervisors;
      inherit (cfg.deploy) verbs;
      push = {
        max_mib = cfg.deploy.push.maxSize;
        wait_s = cfg.deploy.push.waitTimeout;
        idle_s = cfg.deploy.push.idleTimeout;
      };
      cell = {
        root = "${cfg.cells.root}";
        shell = "/bin/busybox";
        inputs = mapAttrs (_: stored) cfg.cells.inputs;
        guest = stored cfg.cells.guest;
        customization =
          if cfg.deploy.customizationModule == null then null else stored cfg.deploy.customizationModule;
        inherit (cfg.cells)
          substituters
          egress
          jobs
          pids
          ;
        trusted_keys = cfg.cells.trustedKeys;
        eval_s = cfg.cells.evalTimeout;
        build_s = cfg.cells.buildTimeout;
        mem_mib = cfg.cells.mem;
        cgroups = [ ]; # the limits are those of the tenants' slices
      };
      shared = if cfg.storage.shared == null then cfg.storage.directory else cfg.storage.shared;
      cluster = lib.unique cfg.clusterNetworks;
      volumes = {
        default = cfg.storage.defaultClass;
        classes = mapAttrs (
          _: class:
          {
            inherit (class) kind;
          }
          // lib.optionalAttrs (class.kind == "leased") {
            driver = "directory";
            wait_s = class.waitTime;
          }
          // lib.optionalAttrs (class.kind == "fenced") {
            driver = "ceph";
            inherit (class)
              pool
              user
              conf
              keyring
              ;
          }
        ) cfg.storage.classes;
        keep_s = cfg.storage.keepVolumes;
      };
      nodes = mapAttrs (_: node: { inherit (node) address; }) cfg.nodes;
      networks = mapAttrs (
        _: network:
        {
          inherit (network)
            mode
            shared
            tenants
            ipv4
            ipv6
            mtu
            masquerade
            dns
            dhcp
            ;
        }
        // lib.optionalAttrs (!network.shared) { tenant_prefix = network.tenantPrefix; }
        // lib.optionalAttrs (network.uplink != null) { inherit (network) uplink; }
        // lib.optionalAttrs (network.ids != null) { ids = { inherit (network.ids) first last; }; }
        // lib.optionalAttrs (network.mode == "vxlan") { inherit (network) port; }
      ) cfg.networks;
      nomad = if cfg.nomad.enable then nomad else null;
    };
  };

  config.environment = lib.mkIf cfg.enable {
    etc."skyflake/config.json".source = cfg.configFile;
  };
}
