// SPDX-License-Identifier: MIT
#include <sky-vm-run/app.hpp>

int main(int argc, char** argv) {
    return sky::run_main(
        argc, argv, "sky-vm-run",
        "Runs machines on this host: fetch, storage, network, hypervisor, teardown.", sky::vm::app);
}
