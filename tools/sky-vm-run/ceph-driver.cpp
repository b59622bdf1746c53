// SPDX-License-Identifier: MIT
#include <sky-vm-run/ceph-driver.hpp>

#include <sky-vm-run/at-once.hpp>
#include <sky-vm-run/files.hpp>
#include <sky-vm-run/storage.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/log.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>
#include <unistd.h>

namespace sky::vm {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr seconds kWeeks{8 * 7 * 24 * 3600}; ///< for who may come back after a long time
constexpr seconds kEnded{3600}; ///< for who has ended: longer than what it sent is on its way
constexpr seconds kLeave{60};   ///< for who is cut off to be seen no more
constexpr unsigned kOnTheirWay = 8U << 20U; ///< bytes; of the memory that a machine has
constexpr std::chrono::milliseconds kNap{200};

/// An OSD that is away must not let a start hang for Ceph's own five minutes. A lock that it
/// breaks itself is of who came after we looked. Its cache holds writes on their way, no more than
/// so many of each volume, until a flush, and nothing to read: a read asks the OSDs, so that who is
/// cut off sees it. Before the first flush a write waits for the OSDs.
std::string our_conf(const std::string& user, const std::string& storage_class) {
    return fmt::format(
        "\n[client.{}]\nkeyring = /sky/etc/{}.keyring\nclient_mount_timeout = 30\n"
        "rbd_cache_policy = writearound\nrbd_cache_max_dirty = {}\n"
        "rbd_cache_writethrough_until_flush = true\nrbd_blocklist_on_break_lock = true\n"
        "rbd_blocklist_expire_seconds = {}\nlog_file = \nlog_to_stderr = true\n"
        "admin_socket = \n",
        user, storage_class, kOnTheirWay, kWeeks.count());
}

bool knows(const Former& former, const std::string& address) {
    return std::find(former.clients.begin(), former.clients.end(), address) != former.clients.end();
}

} // namespace

CephDriver::CephDriver(const Config& config, std::string storage_class, MachinePath machine)
    : config_(config), class_(std::move(storage_class)), of_(config.volumes.classes.at(class_)),
      machine_(std::move(machine)), pool_(config, of_) {}

std::string CephDriver::image_of(const Volume& name) const {
    return machine_.joined() + "." + name.str();
}

std::string CephDriver::blockdev(const Spec::Disk& disk, const std::string& node,
                                 bool flushes) const {
    const Json cache{{"direct", !flushes}, {"no-flush", false}}; // "direct": without librbd's cache
    return dump_json({{"driver", "rbd"},
                      {"node-name", node},
                      {"pool", of_.pool},
                      {"image", image_of(disk.name)},
                      {"conf", fmt::format("/sky/etc/{}.conf", class_)},
                      {"user", of_.user},
                      {"discard", "unmap"},
                      {"read-only", disk.read_only},
                      {"auto-read-only", false},
                      {"cache", cache}});
}

std::vector<StorageFile> CephDriver::files() const {
    return {{.name = class_ + ".conf", .source = of_.conf, .more = our_conf(of_.user, class_)},
            {.name = class_ + ".keyring", .source = of_.keyring}};
}

void CephDriver::check_marker() const {
    auto answer = marked_; // each thread has its own; whoever comes first asks
    answer.get();
}

void CephDriver::check(std::uint64_t make_mib) const {
    need_storage_process(config_);
    check_marker();
    pool_.check_room();
    if (make_mib > 0) { // it is formatted here, and mostly empty
        need_room(State(config_).root(), (make_mib << 20U) / 32);
    }
}

std::optional<std::uint64_t> CephDriver::size(const Volume& name) const {
    check_marker();
    const auto image = image_of(name);
    const auto bytes = pool_.size(image);
    return bytes || !pool_.put_back(image) ? bytes : pool_.size(image);
}

void CephDriver::make(const Volume& name, std::uint64_t mib) const {
    const fs::path file =
        State(config_).vm(machine_) / fmt::format(".{}.{}.new", name.str(), class_);
    ::unlink(file.c_str()); // what a crash left
    make_image(config_, file, name, mib);
    try {
        pool_.import_file(image_of(name), file);
    } catch (...) {
        ::unlink(file.c_str());
        throw;
    }
    ::unlink(file.c_str());
}

void CephDriver::grow(const Volume& name, std::uint64_t mib) const {
    pool_.check_room();
    pool_.resize(image_of(name), mib);
}

/// Blocklists until nobody is left, and looks again.
std::vector<ImageUse> CephDriver::cut_off(const std::vector<Volume>& names,
                                          const Former& former) const {
    std::set<std::string> done;
    for (const auto end = Clock::now() + kLeave; Clock::now() < end;) {
        auto seen = uses(names);
        const CutStep step = plan_cut(former.clients, former.host, seen, done);
        // At once: the monitors write down together what comes together, and that once a second.
        at_once(step.cut, [&](const Cut& cut) {
            // Whom the record does not know was never proved to have ended.
            const auto time = former.ended && knows(former, cut.address) ? kEnded : kWeeks;
            pool_.blocklist(cut.address, time);
            log::warn("fenced: {} is cut off from pool '{}' for {} h: {}", cut.address, of_.pool,
                      time.count() / 3600, cut.evidence);
            return true;
        });
        for (const auto& cut : step.cut) {
            done.insert(cut.address);
        }
        if (step.done()) {
            return seen;
        }
        if (step.wait) {
            std::this_thread::sleep_for(kNap);
        }
    }
    fail(ExitCode::kUnavailable, "who had the volumes before is cut off, and after {} s still seen",
         kLeave.count());
}

void CephDriver::fence(const std::vector<Volume>& names, const Former& former) const {
    at_once(cut_off(names, former), [&](const ImageUse& use) {
        for (const auto& locker : use.lockers) {
            pool_.break_lock(use.image, locker);
        }
        return true;
    });
}

std::vector<ImageUse> CephDriver::uses(const std::vector<Volume>& names) const {
    return at_once(names, [&](const Volume& name) { return pool_.use(image_of(name)); });
}

std::vector<std::string> CephDriver::clients(const std::vector<Volume>& names) const {
    std::vector<std::string> out;
    for (const auto& use : uses(names)) {
        const auto& all = use.watchers;
        // start_storage() took the lock. Who else has it open came after we looked: of two who
        // come at once, he who finds himself alone may begin.
        if (use.lockers.size() != 1 || all != std::vector{use.lockers[0].address}) {
            fail(ExitCode::kUnavailable, "the storage process does not have {} for itself alone",
                 use.image);
        }
        out.insert(out.end(), all.begin(), all.end());
    }
    return out;
}

void CephDriver::snapshot(const Volume& name, const Volume& as) const {
    pool_.check_room();
    pool_.snapshot(image_of(name), as.str());
}

void CephDriver::restore(const Volume& name, const Volume& from) const {
    pool_.check_room();
    fence({name}, {});
    pool_.restore(image_of(name), from.str());
}

void CephDriver::export_to(const Volume& name, int out) const {
    pool_.export_to(image_of(name), out);
}

std::uint64_t CephDriver::import_from(const Volume& name, int in) const {
    pool_.check_room();
    fence({name}, {});
    pool_.import_from(image_of(name), in);
    return pool_.size(image_of(name)).value_or(0);
}

void CephDriver::remove(const Volume& name) const {
    check_marker();
    if (pool_.size(image_of(name))) {
        fence({name}, {});
    }
    pool_.remove(image_of(name));
}

} // namespace sky::vm
