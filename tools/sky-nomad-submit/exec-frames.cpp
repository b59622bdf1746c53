// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/exec-frames.hpp>

#include <sky/base64.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>

#include <nlohmann/json.hpp>
#include <sodium.h>

namespace sky::submit {
namespace {

/// The bytes of one of the command's outputs, empty if the message has none.
std::string decoded(const Json& message, const char* which) {
    const auto part = message.find(which);
    if (part == message.end() || !part->is_object() || !part->contains("data")) {
        return {};
    }
    const auto& text = part->at("data").get_ref<const std::string&>();
    std::string out(text.size(), '\0');
    std::size_t size = 0;
    if (sodium_base642bin(reinterpret_cast<unsigned char*>(out.data()), out.size(), text.data(),
                          text.size(), nullptr, &size, nullptr,
                          sodium_base64_VARIANT_ORIGINAL) != 0) {
        fail(ExitCode::kUnavailable, "nomad sends bytes that are not base64");
    }
    out.resize(size);
    return out;
}

} // namespace

std::string exec_input(std::string_view bytes) {
    return dump_json({{"stdin", {{"data", base64(bytes)}}}});
}

std::string exec_input_end() {
    return dump_json({{"stdin", {{"close", true}}}});
}

ExecOutput exec_output(std::string_view message) {
    try {
        const Json value = Json::parse(message);
        ExecOutput out{
            .out = decoded(value, "stdout"), .err = decoded(value, "stderr"), .exit_code = {}};
        if (value.value("exited", false)) {
            const auto result = value.find("result");
            out.exit_code =
                result != value.end() && result->is_object() ? result->value("exit_code", 0) : 0;
        }
        return out;
    } catch (const Json::exception&) {
        fail(ExitCode::kUnavailable, "nomad sends something that is no output of a command");
    }
}

} // namespace sky::submit
