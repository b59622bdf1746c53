// SPDX-License-Identifier: MIT
#include <sky-build/app.hpp>

int main(int argc, char** argv) {
    return sky::run_main(argc, argv, "sky-build",
                         "Builds machines of a tenant's repo in the tenant's cell: revision to "
                         "deployment.",
                         sky::build::run);
}
