// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sky::submit {

// The messages of Nomad's exec (api.ExecStreamingInput and ExecStreamingOutput): a JSON object
// each, bytes in base64. Pure.

[[nodiscard]] std::string exec_input(std::string_view bytes);
[[nodiscard]] std::string exec_input_end();

struct ExecOutput {
    std::string out;
    std::string err;
    std::optional<int> exit_code; ///< the command has ended
};
/// Error(kUnavailable) for what is no such message.
[[nodiscard]] ExecOutput exec_output(std::string_view message);

} // namespace sky::submit
