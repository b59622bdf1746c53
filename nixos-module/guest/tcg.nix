# A customization for hosts without KVM: QEMU emulates the CPU. Much slower; for trying things out and for tests.
{
  # An emulated timer can be late by more than the kernel lets pass when it checks it, and it panics.
  boot.kernelParams = [ "no_timer_check" ];
  microvm = {
    cpu = "max";
    qemu.machine = "q35";
    # Without "kvm", which a host may offer and not have.
    qemu.machineOpts = {
      accel = "tcg";
      acpi = "on";
      mem-merge = "on";
    };
  };
}
