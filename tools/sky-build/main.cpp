// SPDX-License-Identifier: MIT
#include <sky-build/app.hpp>
#include <sky-build/cell-run.hpp>

#include <string_view>

int main(int argc, char** argv) {
    if (argc > 1 && std::string_view(argv[1]) == sky::build::kWithParent) {
        return sky::build::exec_with_parent(argc, argv);
    }
    return sky::run_main(argc, argv, "sky-build",
                         "Builds machines of a tenant's repo in the tenant's cell: revision to "
                         "deployment.",
                         sky::build::run);
}
