// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/app.hpp"

int main(int argc, char** argv) {
    return sky::run_main(argc, argv, "sky-nomad-submit",
                         "Admits machines against policy and quota, and has the host run them.",
                         sky::submit::app);
}
