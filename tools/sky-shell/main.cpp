// SPDX-License-Identifier: MIT
#include "sky-shell/door.hpp"

int main(int argc, char** argv) {
    return sky::shell::shell_main(argc, argv);
}
