// SPDX-License-Identifier: MIT
#include <sky-vm-run/ceph.hpp>

#include <sky-vm-run/at-once.hpp>

#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/process.hpp>

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace sky::vm {
namespace {

using std::chrono::seconds;

constexpr seconds kAnswer{15};    ///< for a question
constexpr seconds kChange{60};    ///< for a change of an image's head
constexpr seconds kData{60 * 60}; ///< for what grows with an image's data
/// Of each request to an OSD: where one waits for longer, the program ends with ETIMEDOUT.
constexpr seconds kRequest{30};
constexpr std::size_t kCap = 1U << 20U;
constexpr std::size_t kMapCap = 64U << 20U;         ///< the map of ten thousand OSDs
constexpr const char* kMarker = "skyflake.storage"; ///< the object that is a pool's marker

const Json& member(const Json& value, const char* key, Json::value_t type) {
    const auto at = value.find(key);
    const bool number = type == Json::value_t::number_unsigned;
    if (at == value.end() || (number ? !at->is_number_unsigned() : at->type() != type)) {
        fail(ExitCode::kData, "ceph's answer: {}: not what was expected", key);
    }
    return *at;
}

std::string address_in(const Json& value) {
    auto text = member(value, "address", Json::value_t::string).get<std::string>();
    if (!is_client_address(text)) {
        fail(ExitCode::kData, "ceph's answer: address: not ip:port/nonce");
    }
    return text;
}

/// Whoever has a key of the pool named it, and it becomes an argument of rbd's, never an option.
std::string word_in(const Json& value, const char* key) {
    auto text = member(value, key, Json::value_t::string).get<std::string>();
    const auto plain = [](unsigned char c) { return c >= 0x20 && c < 0x7f; };
    if (text.empty() || text.front() == '-' || !std::all_of(text.begin(), text.end(), plain)) {
        fail(ExitCode::kData, "ceph's answer: {}: '{}' is not a lock's (see rbd lock ls)", key,
             printable(text, 64));
    }
    return text;
}

// No volume's name has a dot.
std::string fresh_name(const std::string& image) {
    return image + ".new"; ///< not whole yet
}
std::string aside_name(const std::string& image) {
    return image + ".old"; ///< whole, until what takes its place is there
}

/// What it said last that says something.
std::string last_line(std::string text) {
    while (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    return text.empty() ? "it said nothing" : printable(text.substr(text.rfind('\n') + 1), 200);
}

} // namespace

std::vector<std::string> parse_watchers(std::string_view json) {
    std::vector<std::string> out;
    const Json value = parse_json(json, kCap, "rbd status");
    for (const auto& each : member(value, "watchers", Json::value_t::array)) {
        out.push_back(address_in(each));
    }
    return out;
}

std::vector<Locker> parse_lockers(std::string_view json) {
    std::vector<Locker> out;
    const Json value = parse_json(json, kCap, "rbd lock ls");
    if (!value.is_array()) {
        fail(ExitCode::kData, "rbd lock ls: expected an array");
    }
    for (const auto& each : value) {
        out.push_back({.id = word_in(each, "id"),
                       .client = word_in(each, "locker"),
                       .address = address_in(each)});
    }
    return out;
}

bool parse_full(std::string_view json, std::string_view pool) {
    const Json value = parse_json(json, kMapCap, "ceph osd dump");
    for (const auto& each : member(value, "pools", Json::value_t::array)) {
        if (member(each, "pool_name", Json::value_t::string).get<std::string>() == pool) {
            const auto flags =
                member(each, "flags_names", Json::value_t::string).get<std::string>();
            const auto all = member(value, "flags", Json::value_t::string).get<std::string>();
            return ("," + flags + ",").find(",full,") != std::string::npos ||
                   ("," + all + ",").find(",full,") != std::string::npos;
        }
    }
    fail(ExitCode::kData, "ceph osd dump: no pool '{}'", pool);
}

Command CephPool::command(const std::filesystem::path& program) const {
    Command made(program);
    made.args({"--conf", of_.conf.string(), "--id", of_.user, "--keyring", of_.keyring.string(),
               fmt::format("--rados_osd_op_timeout={}", kRequest.count())});
    return made;
}

std::string CephPool::in_pool(const std::string& image) const {
    return of_.pool + "/" + image;
}

void CephPool::failed(const char* what, const Captured& said) const {
    if (said.err.find("failed to fetch mon config") != std::string::npos) {
        fail(ExitCode::kUnavailable, "{}, pool '{}': the monitors refuse the key of '{}' in '{}'",
             what, of_.pool, of_.user, of_.keyring.string());
    }
    const bool room = said.exit_code == ENOSPC || said.exit_code == EDQUOT;
    fail(room ? ExitCode::kIo : ExitCode::kUnavailable, "{}, pool '{}': {}", what, of_.pool,
         said.exit_code == ETIMEDOUT
             ? fmt::format("its OSDs did not answer within {} s (are they up, and is there room?)",
                           kRequest.count())
             : last_line(said.err));
}

Captured CephPool::ask(const Command& command, std::string_view input, seconds limit,
                       std::size_t cap) const {
    try {
        return command.capture(input, cap, limit, true);
    } catch (const Error& e) {
        if (e.code() != ExitCode::kBusy) {
            throw;
        }
        fail(ExitCode::kUnavailable,
             "ceph did not answer within {} s, pool '{}' (are its monitors and OSDs up, and is "
             "there room?)",
             limit.count(), of_.pool);
    }
}

Captured CephPool::rbd(const std::vector<std::string>& args, seconds limit) const {
    return ask(command(config_.programs.rbd).args(args), "", limit, kCap);
}

std::string CephPool::rbd_well(const std::vector<std::string>& args, seconds limit) const {
    auto said = rbd(args, limit);
    if (said.exit_code != 0) {
        failed(fmt::format("rbd {} failed", args.front()).c_str(), said);
    }
    return std::move(said.out);
}

std::optional<std::string> CephPool::marker() const {
    for (const auto& file : {of_.conf, of_.keyring}) {
        if (::access(file.c_str(), R_OK) != 0) { // a secret may come later
            fail_errno("cannot read '{}', which pool '{}' needs", file.string(), of_.pool);
        }
    }
    auto said = ask(command(config_.programs.rados).args({"--pool", of_.pool, "get", kMarker, "-"}),
                    "", kAnswer, kCap);
    if (said.exit_code == 0) {
        return std::move(said.out);
    }
    // The pool is there, the object is not: whatever else is wrong must not look like that.
    if (said.err.find(fmt::format("error getting {}/{}: (2)", of_.pool, kMarker)) !=
        std::string::npos) {
        return std::nullopt;
    }
    failed("cannot read the storage's marker", said);
}

void CephPool::set_marker(const std::string& id) const {
    const auto said =
        ask(command(config_.programs.rados).args({"--pool", of_.pool, "put", kMarker, "-"}), id,
            kAnswer, kCap);
    if (said.exit_code != 0) {
        failed("cannot write the storage's marker", said);
    }
}

void CephPool::check_marker() const {
    const auto id = marker();
    if (id != config_.storage) {
        fail(ExitCode::kUnavailable, "pool '{}' {} (sky-vm-run storage init marks a new one)",
             of_.pool, id ? "carries another storage's marker" : "carries no marker");
    }
}

void CephPool::check_room() const {
    const auto said = ask(command(config_.programs.ceph).args({"osd", "dump", "--format", "json"}),
                          "", kAnswer, kMapCap);
    if (said.exit_code != 0) {
        failed("cannot look at the pool", said);
    }
    if (parse_full(said.out, of_.pool)) {
        fail(ExitCode::kIo,
             "pool '{}' is full: nothing in it can be opened or made (give it room: OSDs, or a "
             "larger quota)",
             of_.pool);
    }
}

std::optional<std::uint64_t> CephPool::size(const std::string& image) const {
    const auto said = rbd({"info", "--format", "json", in_pool(image)}, kAnswer);
    if (said.exit_code == ENOENT && said.err.find("error opening image") != std::string::npos) {
        return std::nullopt;
    }
    if (said.exit_code != 0) {
        failed("cannot look at an image", said);
    }
    const Json value = parse_json(said.out, kCap, "rbd info");
    return member(value, "size", Json::value_t::number_unsigned).get<std::uint64_t>();
}

void CephPool::import_file(const std::string& image, const std::filesystem::path& file) const {
    const std::string fresh = fresh_name(image);
    remove_one(fresh);
    // Without an object map every read and write asks the OSDs: who is cut off sees it at once.
    const auto said = rbd({"import", "--no-progress", "--image-feature", "layering",
                           "--image-feature", "exclusive-lock", file.string(), in_pool(fresh)},
                          kData);
    if (said.exit_code != 0) {
        failed("cannot make an image", said);
    }
    rbd_well({"rename", in_pool(fresh), in_pool(image)}, kChange);
}

void CephPool::resize(const std::string& image, std::uint64_t mib) const {
    rbd_well({"resize", "--no-progress", "--size", fmt::format("{}M", mib), in_pool(image)},
             kChange);
}

void CephPool::remove(const std::string& image) const {
    remove_one(aside_name(image)); // it would be put back where there is no image
    remove_one(fresh_name(image));
    if (size(image)) { // cut short, a removal leaves half of it, which no start may take for whole
        rbd_well({"rename", in_pool(image), in_pool(fresh_name(image))}, kChange);
        remove_one(fresh_name(image));
    }
}

void CephPool::remove_one(const std::string& image) const {
    const auto rm = [&] { return rbd({"rm", "--no-progress", in_pool(image)}, kData); };
    auto said = rm(); // also of what a removal that was cut short left, which nothing can open
    if (said.exit_code == ENOTEMPTY) {
        rbd_well({"snap", "purge", "--no-progress", in_pool(image)}, kData);
        said = rm();
    }
    const bool none =
        said.exit_code == ENOENT && said.err.find("error opening pool") == said.err.npos;
    if (said.exit_code != 0 && !none) {
        failed("cannot remove an image", said);
    }
}

void CephPool::snapshot(const std::string& image, const std::string& as) const {
    const auto said = rbd({"snap", "create", "--no-progress", in_pool(image) + "@" + as}, kChange);
    if (said.exit_code == EEXIST) {
        fail(ExitCode::kRefused, "there is a snapshot '{}' already", as);
    }
    if (said.exit_code != 0) {
        failed("cannot make a snapshot", said);
    }
}

void CephPool::restore(const std::string& image, const std::string& from) const {
    const auto said =
        rbd({"snap", "rollback", "--no-progress", in_pool(image) + "@" + from}, kData);
    if (said.exit_code == ENOENT) {
        fail(ExitCode::kRefused, "there is no snapshot '{}'", from);
    }
    if (said.exit_code != 0) {
        failed("cannot go back to a snapshot", said);
    }
}

void CephPool::export_to(const std::string& image, int out) const {
    const int code = command(config_.programs.rbd)
                         .args({"export", "--no-progress", in_pool(image), "-"})
                         .out(out)
                         .run();
    if (code != 0) {
        fail(ExitCode::kIo, "rbd export ended with {}, pool '{}'", code, of_.pool);
    }
}

void CephPool::import_from(const std::string& image, int in) const {
    const std::string fresh = fresh_name(image);
    const std::string aside = aside_name(image);
    remove_one(fresh);
    remove_one(aside);
    const int code = command(config_.programs.rbd)
                         .args({"import", "--no-progress", "--image-feature", "layering",
                                "--image-feature", "exclusive-lock", "-", in_pool(fresh)})
                         .in(in)
                         .run();
    if (code != 0) {
        fail(ExitCode::kIo, "rbd import ended with {}, pool '{}'", code, of_.pool);
    }
    if (size(fresh).value_or(0) == 0) { // a pipe whose first end failed
        remove_one(fresh);
        fail(ExitCode::kData, "nothing came on stdin: image '{}' is as it was", image);
    }
    rbd_well({"rename", in_pool(image), in_pool(aside)}, kChange);
    rbd_well({"rename", in_pool(fresh), in_pool(image)}, kChange);
    remove_one(aside);
}

bool CephPool::put_back(const std::string& image) const {
    if (!size(aside_name(image))) {
        return false;
    }
    rbd_well({"rename", in_pool(aside_name(image)), in_pool(image)}, kChange);
    return true;
}

ImageUse CephPool::use(const std::string& image) const {
    const std::vector<std::vector<std::string>> questions{{"status"}, {"lock", "ls"}};
    const auto said = at_once(questions, [&](std::vector<std::string> args) {
        args.insert(args.end(), {"--format", "json", in_pool(image)});
        return rbd_well(args, kAnswer);
    });
    return {.image = image, .watchers = parse_watchers(said[0]), .lockers = parse_lockers(said[1])};
}

void CephPool::blocklist(const std::string& address, seconds time) const {
    const auto said =
        ask(command(config_.programs.ceph)
                .args({"osd", "blocklist", "add", address, std::to_string(time.count())}),
            "", kAnswer, kCap);
    if (said.exit_code != 0) {
        failed("cannot blocklist a client", said);
    }
}

void CephPool::break_lock(const std::string& image, const Locker& locker) const {
    rbd_well({"--rbd_blocklist_on_break_lock=false", "lock", "rm", in_pool(image), locker.id,
              locker.client},
             kChange);
}

} // namespace sky::vm
