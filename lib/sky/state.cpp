// SPDX-License-Identifier: MIT
#include <sky/state.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>

#include <nlohmann/json.hpp>

namespace sky {

void check_storage(const Config& config) {
    const auto marker = State(config).marker();
    const auto text = read_file_if_exists(marker, 4096);
    if (!text) {
        fail(
            ExitCode::kUnavailable,
            "'{}' is not there (is the storage mounted? 'sky-vm-run storage init' makes a new one)",
            marker.string());
    }
    const Json value = parse_json(*text, 4096, marker.string());
    Fields fields(value, marker.string());
    static_cast<void>(fields.integer("v", 1, 1));
    const bool same = fields.string("storage") == config.storage;
    fields.done();
    if (!same) {
        fail(ExitCode::kUnavailable,
             "'{}' holds the id of another storage than the configuration's", marker.string());
    }
}

} // namespace sky
