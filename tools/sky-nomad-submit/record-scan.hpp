// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/machine-record.hpp"

#include <optional>
#include <string_view>

namespace sky::submit {

/// As MachineRecord::parse(), without a value in between: for who reads all of them. Nothing where
/// that would refuse the text, or might: then it is for parse() to judge.
[[nodiscard]] std::optional<MachineRecord> scan_record(std::string_view json);

} // namespace sky::submit
