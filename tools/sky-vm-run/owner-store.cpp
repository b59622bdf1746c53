// SPDX-License-Identifier: MIT
#include <sky-vm-run/owner-store.hpp>

#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/nomad/client.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace sky::vm {
namespace {

constexpr std::size_t kCap = 1U << 16U;

/// For one writer at a time: the supervisor's lock sees to that. Not synced: after a power cut
/// nothing lives that an older record could be wrong about.
class FileStore final : public OwnerStore {
  public:
    explicit FileStore(std::filesystem::path file) : file_(std::move(file)) {}

    std::optional<Read> read() override {
        const auto text = read_file_if_exists(file_, kCap);
        if (!text) {
            return std::nullopt;
        }
        Owner owner = Owner::parse(*text);
        const std::uint64_t index = 2 * owner.generation + (owner.released ? 1 : 0);
        return Read{std::move(owner), index};
    }

    bool write(const Owner& owner, std::uint64_t index) override {
        const auto there = read();
        if ((there ? there->index : 0) != index) {
            return false;
        }
        atomic_write(file_, owner.dump() + "\n");
        return true;
    }

    std::vector<Allocation> allocations() override { return {}; }

  private:
    std::filesystem::path file_;
};

class NomadStore final : public OwnerStore {
  public:
    NomadStore(const NomadConfig& config, MachinePath machine, std::chrono::milliseconds patience)
        : client_(config, nomad::read_token(config.host_token), patience),
          machine_(std::move(machine)),
          path_(fmt::format("sky/owner/{}/{}/{}", machine_.tenant.str(), machine_.repo.str(),
                            machine_.machine.str())) {}

    std::optional<Read> read() override {
        const auto variable = client_.variable(path_);
        return variable ? std::optional(Read{Owner::parse(variable->json), variable->index})
                        : std::nullopt;
    }

    bool write(const Owner& owner, std::uint64_t index) override {
        return client_.set_variable(path_, owner.dump(), index).has_value();
    }

    std::vector<Allocation> allocations() override {
        std::vector<Allocation> out;
        for (const Json& each :
             client_.get("job/" + machine_.joined() + "/allocations",
                         {{"namespace", nomad::namespace_of(machine_.tenant)}, {"all", "true"}})) {
            const auto status = each.at("ClientStatus").get<std::string>();
            out.push_back(
                {.id = each.at("ID").get<std::string>(),
                 .create_index = each.at("CreateIndex").get<std::uint64_t>(),
                 .shall_run = each.at("DesiredStatus").get<std::string>() == "run",
                 .ended = status == "complete" || status == "failed" || status == "lost"});
        }
        return out;
    }

  private:
    nomad::Client client_;
    MachinePath machine_;
    std::string path_;
};

} // namespace

std::unique_ptr<OwnerStore> owner_store(const Config& config, const MachinePath& machine,
                                        const std::filesystem::path& file,
                                        std::chrono::milliseconds patience) {
    if (config.nomad) {
        return std::make_unique<NomadStore>(*config.nomad, machine, patience);
    }
    return std::make_unique<FileStore>(file);
}

} // namespace sky::vm
