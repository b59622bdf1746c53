// SPDX-License-Identifier: MIT
#include <sky-net-setup/verbs.hpp>
#include <sky/cli.hpp>

int main(int argc, char** argv) {
    return sky::run_main(argc, argv, "sky-net-setup",
                         "One machine's interfaces: taps, bridge, addresses, rules.",
                         sky::net::main_body);
}
