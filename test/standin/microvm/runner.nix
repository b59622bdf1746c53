# The runner package: bin/microvm-run with QEMU's command line, and share/microvm for whoever starts it.
{
  lib,
  pkgs,
  microvm,
  volumes,
  hostName,
  toplevel,
}:
let
  inherit (lib) optional optionals optionalString;
  inherit (microvm) qemu;
  requirePci = !lib.hasPrefix "microvm" qemu.machine || microvm.shares != [ ];
  device = if requirePci then "pci" else "device";
  tapMultiQueue = microvm.vcpu > 1;
  taps = lib.filter (interface: interface.type == "tap") microvm.interfaces;

  machineOpts =
    if qemu.machineOpts != null then
      qemu.machineOpts
    else
      {
        accel = "kvm:tcg";
        mem-merge = "on";
        acpi = "on";
      }
      // lib.optionalAttrs (qemu.machine == "microvm") {
        pit = "off";
        pic = "off";
        pcie = if requirePci then "on" else "off";
        rtc = "on";
        usb = "off";
      };
  machine = lib.concatStringsSep "," (
    [ qemu.machine ] ++ lib.mapAttrsToList (name: value: "${name}=${value}") machineOpts
  );

  # The closure of the system as a read-only disk.
  storeDisk =
    pkgs.runCommand "microvm-store-disk.erofs"
      {
        exportReferencesGraph = [
          "graph"
          toplevel
        ];
      }
      ''
        mkdir store
        grep '^/' graph | sort -u | while read -r path; do
          [ ! -e "$path" ] || cp -a "$path" store/
        done
        ${pkgs.erofs-utils}/bin/mkfs.erofs --quiet --all-root -T0 -U 00000000-0000-0000-0000-000000000000 -zlz4 $out store
      '';

  volumeArgs = volume: [
    "-drive"
    "id=vd${volume.letter},format=raw,file=${volume.image},if=none,aio=io_uring,discard=unmap${
      optionalString volume.direct ",cache=none"
    },read-only=${if volume.readOnly then "on" else "off"}"
    "-device"
    "virtio-blk-${device},drive=vd${volume.letter}${
      optionalString (volume.serial != null) ",serial=${volume.serial}"
    }"
  ];

  shareArgs =
    index: share:
    if share.proto != "virtiofs" then
      throw "the stand-in has virtiofs alone"
    else
      [
        "-chardev"
        "socket,id=fs${toString index},path=${share.socket}"
        "-device"
        "vhost-user-fs-${device},chardev=fs${toString index},tag=${share.tag}"
      ];

  interfaceArgs = interface: [
    "-netdev"
    (lib.concatStringsSep "," (
      [
        interface.type
        "id=${interface.id}"
      ]
      ++ optionals (interface.type == "tap") [
        "ifname=${interface.id}"
        "script=no"
        "downscript=no"
      ]
      ++ optional (interface.type == "tap" && interface.tap.vhost) "vhost=on"
      ++ optional (interface.type == "tap" && tapMultiQueue) "queues=${toString microvm.vcpu}"
    ))
    "-device"
    "virtio-net-${device},netdev=${interface.id},mac=${interface.mac}${optionalString requirePci ",romfile="}${
      optionalString (interface.type == "tap" && tapMultiQueue && requirePci) ",mq=on,vectors=${
        toString (2 * microvm.vcpu + 2)
      }"
    }"
  ];

  args = [
    "${qemu.package}/bin/qemu-system-x86_64"
    "-name"
    hostName
    "-M"
    machine
    "-m"
    "${toString microvm.mem}M"
    "-smp"
    (toString microvm.vcpu)
    "-nodefaults"
    "-no-user-config"
    "-no-reboot"
    "-kernel"
    "${microvm.kernel.out}/bzImage"
    "-initrd"
    microvm.initrdPath
    "-chardev"
    "stdio,id=stdio,signal=off"
    "-device"
    "virtio-rng-${device}"
  ]
  ++ optionals (microvm.machineId != null) [
    "-smbios"
    "type=1,uuid=${microvm.machineId}"
  ];

  moreArgs =
    optionals qemu.serialConsole [
      "-serial"
      "chardev:stdio"
    ]
    ++ optional (microvm.cpu == null) "-enable-kvm"
    ++ [
      "-cpu"
      (if microvm.cpu != null then microvm.cpu else "host,+x2apic,-sgx")
      "-device"
      "i8042"
      "-append"
      "${optionalString qemu.serialConsole "earlyprintk=ttyS0 console=ttyS0"} reboot=t panic=-1 ${toString microvm.kernelParams}"
    ]
    ++ optionals microvm.storeOnDisk [
      "-drive"
      "id=store,format=raw,read-only=on,file=${storeDisk},if=none,aio=io_uring"
      "-device"
      "virtio-blk-${device},drive=store${optionalString requirePci ",disable-legacy=on"}"
    ]
    ++ [ "-nographic" ]
    ++ optionals (lib.elem "--enable-seccomp" (qemu.package.configureFlags or [ ])) [
      "-sandbox"
      "on"
    ]
    ++ optionals (microvm.user != null) [
      "-run-with"
      "user=${microvm.user}"
    ]
    ++ optionals (microvm.socket != null) [
      "-qmp"
      "unix:${microvm.socket},server,nowait"
    ]
    ++ lib.concatMap volumeArgs volumes
    ++ optionals (microvm.shares != [ ]) (
      [
        "-numa"
        "node,memdev=mem"
        "-object"
        "memory-backend-memfd,id=mem,size=${toString microvm.mem}M,share=on"
      ]
      ++ lib.concatLists (lib.imap0 shareArgs microvm.shares)
    )
    ++ lib.concatMap interfaceArgs microvm.interfaces
    ++ qemu.extraArgs;

  command = "${lib.escapeShellArgs args}  ${lib.escapeShellArgs moreArgs}";
  createVolumes = lib.concatMapStrings (
    volume: optionalString volume.autoCreate "[ -e '${volume.image}' ] || truncate -s ${toString volume.size}M '${volume.image}'\n"
  ) microvm.volumes;

  binScripts = microvm.binScripts // {
    microvm-run = ''
      set -eou pipefail
      ${microvm.preStart}
      ${createVolumes}

      runtime_args=${optionalString (microvm.extraArgsScript != null) "$(${microvm.extraArgsScript})"}

      exec ${optionalString microvm.prettyProcnames ''-a "microvm@${hostName}"''} ${command} ''${runtime_args:-}
    '';
  };
  scripts = lib.mapAttrs (name: pkgs.writeShellScript "microvm-${hostName}-${name}") binScripts;
in
pkgs.runCommand "microvm-${microvm.hypervisor}-${hostName}"
  {
    meta.mainProgram = "microvm-run";
    passthru = {
      inherit tapMultiQueue;
      canShutdown = microvm.socket != null;
      supportsNotifySocket = false;
      inherit (microvm) hypervisor machineId;
    };
  }
  ''
    mkdir -p $out/bin $out/share/microvm
    ${lib.concatStrings (lib.mapAttrsToList (name: script: "ln -s ${script} $out/bin/${name}\n") scripts)}
    ${optionalString microvm.systemSymlink "ln -s ${toplevel} $out/share/microvm/system"}
    echo vnet_hdr > $out/share/microvm/tap-flags
    ${optionalString tapMultiQueue "echo multi_queue >> $out/share/microvm/tap-flags"}
    ${lib.concatMapStrings (tap: "echo ${tap.id} >> $out/share/microvm/tap-interfaces\n") taps}
    ${lib.concatMapStrings (share: ''
      mkdir -p $out/share/microvm/virtiofs/${share.tag}
      echo "${share.socket}" > $out/share/microvm/virtiofs/${share.tag}/socket
      echo "${share.source}" > $out/share/microvm/virtiofs/${share.tag}/source
    '') microvm.shares}
    echo ${microvm.hypervisor} > $out/share/microvm/hypervisor
  ''
