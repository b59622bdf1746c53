// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/record-scan.hpp"

#include <algorithm>
#include <array>
#include <bitset>
#include <nlohmann/json.hpp>

namespace sky::submit {
namespace {

using Json = nlohmann::json;

enum Key : std::size_t {
    kV,
    kRev,
    kWant,
    kPin,
    kPinRev,
    kPinWhy,
    kDid,
    kDidState,
    kDidRev,
    kDidJob,
    kDidSpec,
    kDidAt,
    kDidSession,
    kDidWhy,
    kDidUncached,
    kGood,
    kGranted,
    kVcpu,
    kMem,
    kDisk,
    kKeys
};

struct Name {
    Key parent; ///< kKeys: the record itself
    std::string_view name;
};
constexpr std::array<Name, kKeys> kNames{
    {{kKeys, "v"},       {kKeys, "rev"},     {kKeys, "want"},       {kKeys, "pin"},
     {kPin, "rev"},      {kPin, "why"},      {kKeys, "did"},        {kDid, "state"},
     {kDid, "rev"},      {kDid, "job"},      {kDid, "spec"},        {kDid, "at"},
     {kDid, "session"},  {kDid, "why"},      {kDid, "uncached"},    {kKeys, "good"},
     {kKeys, "granted"}, {kGranted, "vcpu"}, {kGranted, "mem_mib"}, {kGranted, "disk_mib"}}};
constexpr std::array kNeeded{kV,    kWant,    kDid,  kDidState, kDidAt,
                             kGood, kGranted, kVcpu, kMem,      kDisk};

/// False anywhere ends the scan.
class Scan : public nlohmann::json_sax<Json> {
  public:
    std::optional<MachineRecord> take() {
        const bool whole =
            std::all_of(kNeeded.begin(), kNeeded.end(), [&](Key key) { return seen_[key]; });
        if (!whole || (pinned_ && !(pin_rev_ && seen_[kPinWhy]))) {
            return std::nullopt;
        }
        if (pin_rev_) {
            out_.pin = MachineRecord::Pin{.rev = *pin_rev_, .why = std::move(pin_why_)};
        }
        return std::move(out_);
    }

    bool key(string_t& name) override {
        const auto at = std::find_if(kNames.begin(), kNames.end(), [&](const Name& each) {
            return each.parent == parent_ && each.name == name;
        });
        if (at == kNames.end()) {
            return false;
        }
        key_ = static_cast<Key>(at - kNames.begin());
        const bool twice = seen_[key_];
        seen_[key_] = true;
        return !twice;
    }
    bool null() override {
        return !list_ && (key_ == kRev || key_ == kPin || key_ == kDidRev || key_ == kDidJob ||
                          key_ == kDidSpec || key_ == kDidSession || key_ == kDidWhy);
    }
    bool boolean(bool value) override {
        out_.did.uncached = value;
        return key_ == kDidUncached;
    }
    bool number_unsigned(number_unsigned_t value) override {
        if (list_ || value > std::uint64_t{1} << 50U) {
            return false;
        }
        switch (key_) {
        case kV:
            return value == 1;
        case kVcpu:
            out_.granted.vcpu = value;
            return true;
        case kMem:
            out_.granted.mem_mib = value;
            return true;
        case kDisk:
            out_.granted.disk_mib = value;
            return true;
        default:
            return false;
        }
    }
    bool string(string_t& value) override {
        if (list_ != (key_ == kGood)) {
            return false;
        }
        switch (key_) {
        case kRev:
            return name(out_.rev, value);
        case kWant:
            out_.want_running = value == "running";
            return out_.want_running || value == "stopped";
        case kPinRev:
            return name(pin_rev_, value);
        case kPinWhy:
            pin_why_ = std::move(value);
            return true;
        case kGood: {
            std::optional<Revision> one;
            const bool fine = out_.good.size() < kGoodMost && name(one, value);
            if (fine) {
                out_.good.push_back(std::move(*one));
            }
            return fine;
        }
        default:
            return did(value);
        }
    }
    bool start_object(std::size_t /*size*/) override {
        if (!begun_) {
            begun_ = true;
            return true;
        }
        parent_ = key_;
        pinned_ = pinned_ || parent_ == kPin;
        return parent_ == kPin || parent_ == kDid || parent_ == kGranted;
    }
    bool end_object() override {
        key_ = parent_;
        parent_ = kKeys;
        return true;
    }
    bool start_array(std::size_t /*size*/) override {
        const bool fine = begun_ && !list_ && key_ == kGood;
        list_ = true;
        return fine;
    }
    bool end_array() override {
        list_ = false;
        return true;
    }
    bool number_integer(number_integer_t /*value*/) override { return false; }
    bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return false; }
    bool binary(binary_t& /*value*/) override { return false; }
    bool parse_error(std::size_t /*at*/, const std::string& /*token*/,
                     const nlohmann::detail::exception& /*error*/) override {
        return false;
    }

  private:
    template <typename N>
    static bool name(std::optional<N>& slot, const std::string& value) {
        const bool fine = N::valid(value);
        if (fine) {
            slot = N::parse(value);
        }
        return fine;
    }
    bool did(std::string& value) {
        auto& did = out_.did;
        switch (key_) {
        case kDidState:
            did.state = value == "running"  ? MachineRecord::State::kRunning
                        : value == "failed" ? MachineRecord::State::kFailed
                                            : MachineRecord::State::kStopped;
            return did.state != MachineRecord::State::kStopped || value == "stopped";
        case kDidRev:
            return name(did.rev, value);
        case kDidJob:
            return name(did.job, value);
        case kDidSession:
            return name(did.session, value);
        case kDidSpec:
            did.spec = std::move(value);
            return true;
        case kDidAt:
            did.at = std::move(value);
            return true;
        case kDidWhy:
            did.why = std::move(value);
            return true;
        default:
            return false;
        }
    }

    MachineRecord out_;
    std::optional<Revision> pin_rev_;
    std::string pin_why_;
    std::bitset<kKeys> seen_;
    Key parent_ = kKeys;
    Key key_ = kKeys;
    bool begun_ = false;
    bool pinned_ = false;
    bool list_ = false; ///< in an array
};

} // namespace

std::optional<MachineRecord> scan_record(std::string_view json) {
    Scan scan;
    return Json::sax_parse(json.begin(), json.end(), &scan) ? scan.take() : std::nullopt;
}

} // namespace sky::submit
