// SPDX-License-Identifier: MIT
// Faults that a real Nomad does not show when asked: a fake that speaks just enough HTTP, does what
// it is told and then loses the answer, or says that it has no leader. What Nomad does with jobs is
// tested with Nomad itself (test/cluster).
#include "catch.hpp"
#include "unit/submit.hpp"

#include <sky-nomad-submit/deployer-job.hpp>
#include <sky-nomad-submit/lost-owner.hpp>
#include <sky-nomad-submit/scheduler.hpp>
#include <sky/nomad/client.hpp>

#include <arpa/inet.h>
#include <array>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

using namespace sky;
using namespace sky::submit;
using namespace sky::submit::test;

namespace {

/// One request after the other, each with an answer of `answer`; an empty one hangs up instead.
class FakeNomad {
  public:
    using Answer = std::function<std::string(const std::string& method, const std::string& path,
                                             const std::string& body)>;
    explicit FakeNomad(Answer answer) : answer_(std::move(answer)) {
        listener_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        auto* raw = reinterpret_cast<sockaddr*>(&address);
        if (::bind(listener_.get(), raw, size) != 0 || ::listen(listener_.get(), 16) != 0 ||
            ::getsockname(listener_.get(), raw, &size) != 0) {
            fail_errno("cannot listen");
        }
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] { serve(); });
    }
    FakeNomad(const FakeNomad&) = delete;
    FakeNomad& operator=(const FakeNomad&) = delete;
    ~FakeNomad() {
        ::shutdown(listener_.get(), SHUT_RDWR);
        thread_.join();
    }
    [[nodiscard]] NomadConfig config() const {
        NomadConfig out;
        out.addresses = {"http://127.0.0.1:" + std::to_string(port_)};
        out.place_s = 1;
        return out;
    }
    std::vector<std::string> seen; ///< "PUT jobs", once the client is done

  private:
    void serve() {
        for (;;) {
            const Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (!client) {
                return;
            }
            const std::string request = whole(client.get());
            const auto space = request.find(' ');
            const auto end = request.find_first_of(" ?", space + 1);
            const std::string method = request.substr(0, space);
            const std::string path = request.substr(space + 5, end - space - 5); // without /v1/
            seen.push_back(method + " " + path);
            const auto answer = answer_(method, path, request.substr(request.find("\r\n\r\n") + 4));
            if (!answer.empty()) {
                write_all(client.get(), answer);
            }
        }
    }
    static std::string whole(int fd) {
        std::string out;
        std::size_t need = std::string::npos;
        std::array<char, 4096> chunk{};
        while (out.size() < need) {
            const auto n = ::read(fd, chunk.data(), chunk.size());
            if (n <= 0) {
                break;
            }
            out.append(chunk.data(), static_cast<std::size_t>(n));
            const auto head = out.find("\r\n\r\n");
            if (head != std::string::npos && need == std::string::npos) {
                const auto at = out.find("Content-Length: ");
                need = head + 4 + (at < head ? std::stoul(out.substr(at + 16)) : 0);
            }
        }
        return out;
    }

    Answer answer_;
    Fd listener_;
    std::uint16_t port_ = 0;
    std::thread thread_;
};

std::string say(const std::string& status, const std::string& body) {
    return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\nConnection: close\r\n\r\n" + body;
}

Config config_for(const FakeNomad& fake, const Scratch& scratch) {
    Config out = test::config(scratch.path);
    out.nomad = fake.config();
    out.nomad->deploy_token = scratch.path / "token";
    atomic_write(out.nomad->deploy_token, "token\n", {.mode = 0400});
    return out;
}

Spec spec_of_www() {
    return {.path = path("alice", "infra", "www"),
            .rev = rev('a'),
            .deployment = store_path("skyflake-www"),
            .nar_hash = "sha256:" + std::string(52, '0'),
            .runner = store_path("runner"),
            .hypervisor = "qemu",
            .mem_mib = 512,
            .machine_id = "00000000-0000-4000-8000-000000000000",
            .interfaces = {},
            .volumes = {},
            .ready = {}};
}

/// A Nomad on whose one host a machine runs, which another job shall replace. The job's end and the
/// new one's failure are there at once.
struct Replaced {
    int no_room = 0;             ///< so many dry runs find no place
    std::string status = "down"; ///< of the host, so long
    int mib = 4096;              ///< that it has
    bool ended = false;
    std::string job =
        Json{{"Version", 0}, {"JobModifyIndex", 5}, {"Meta", {{"sky_spec", "old"}}}}.dump();
    bool entered = false;

    std::string answer(const std::string& method, const std::string& path,
                       const std::string& body) {
        if (path.ends_with("/plan")) {
            const bool fits = no_room-- <= 0;
            return say("200 OK", fits ? "{}" : R"({"FailedTGAllocs":{"vm":{}}})");
        }
        if (path == "nodes") {
            return say(
                "200 OK",
                Json::array({{{"ID", "id"},
                              {"Name", "n1"},
                              {"Status", status},
                              {"SchedulingEligibility", "eligible"},
                              {"NodeResources",
                               {{"Cpu", {{"CpuShares", 8000}}}, {"Memory", {{"MemoryMB", mib}}}}}}})
                    .dump());
        }
        if (path == "allocations" || path.starts_with("var/")) {
            return path == "allocations" ? say("200 OK", "[]") : say("404 None", "not found");
        }
        if (path.ends_with("/allocations")) {
            return say("200 OK", allocations().dump());
        }
        if (method == "PUT") {
            Json value = Json::parse(body).at("Job");
            value["Version"] = 1;
            value["JobModifyIndex"] = 6;
            job = value.dump();
            entered = true;
        }
        ended = ended || method == "DELETE";
        return say("200 OK", method == "GET" ? job : "{}");
    }

  private:
    [[nodiscard]] Json allocations() const {
        const auto one = [](const char* id, int version, const char* state) {
            return Json{{"ID", id},
                        {"NodeName", "n1"},
                        {"DesiredStatus", "run"},
                        {"CreateIndex", version + 1},
                        {"JobVersion", version},
                        {"ClientStatus", state}};
        };
        Json out = Json::array({one("old", 0, ended ? "complete" : "running")});
        if (entered) {
            out.push_back(one("new", 1, "failed"));
        }
        return out;
    }
};

} // namespace

TEST_CASE("a write whose answer got lost is told apart, a safe one is done again", "[nomad]") {
    int round = 0;
    FakeNomad fake([&](const auto&, const auto&, const auto&) {
        return ++round == 1 ? "" : say("200 OK", "{}");
    });
    nomad::Client client(fake.config(), "token");
    CHECK_THROWS_AS(client.put("jobs", {}, Json::object(), nomad::Client::Again::kNever),
                    nomad::AnswerLost);
    CHECK(fake.seen.size() == 1);
    round = 0;
    CHECK_NOTHROW(client.put("namespace/x", {}, Json::object(), nomad::Client::Again::kSafe));
    CHECK(fake.seen.size() == 3);
}

TEST_CASE("what was surely not done is tried again, what is final is not", "[nomad]") {
    std::vector<std::string> answers{say("500 Oh", "rpc error: No cluster leader"),
                                     say("429 Slow", ""), say("200 OK", "{}")};
    std::size_t round = 0;
    FakeNomad fake([&](const auto&, const auto&, const auto&) { return answers.at(round++); });
    nomad::Client client(fake.config(), "token");
    CHECK_NOTHROW(client.put("jobs", {}, Json::object(), nomad::Client::Again::kNever));
    CHECK(fake.seen.size() == 3);
    answers = {say("500 Oh", "1 error occurred:\n\t* Missing job datacenters")};
    round = 0;
    CHECK_THROWS_WITH(client.put("jobs", {}, Json::object(), nomad::Client::Again::kNever),
                      ContainsSubstring("Missing job datacenters"));
    CHECK(fake.seen.size() == 4);
    answers = {say("403 No", "Permission denied"), say("200 OK", "[]")};
    round = 0;
    CHECK_NOTHROW(client.get("nodes")); // it had just been started, and did not know the token yet
    CHECK(fake.seen.size() == 6);
    answers = std::vector(100, answers.front());
    round = 0;
    nomad::Client hasty(fake.config(), "token", std::chrono::milliseconds(300));
    CHECK_THROWS_WITH(hasty.get("nodes"), ContainsSubstring("see the token's policy"));
    CHECK(round > 1);
}

TEST_CASE("a compare-and-set whose answer got lost is read again, not lost, not doubled",
          "[nomad]") {
    std::string there;
    bool ours = true;
    FakeNomad fake([&](const std::string& method, const auto&, const std::string& body) {
        if (method == "GET") {
            return say("200 OK", there);
        }
        if (!there.empty()) {
            return say("409 Conflict", there);
        }
        Json value = Json::parse(body);
        value["ModifyIndex"] = 7;
        if (!ours) {
            value["Items"]["json"] = "another's";
        }
        there = value.dump();
        return std::string();
    });
    nomad::Client client(fake.config(), "token");
    CHECK(client.set_variable("sky/x", R"({"a":1})", 0) == 7);
    there.clear();
    ours = false;
    CHECK_FALSE(client.set_variable("sky/x", R"({"a":1})", 0));
}

TEST_CASE("a job whose registration was not answered is looked at, and registered once",
          "[nomad]") {
    std::string job;
    FakeNomad fake([&](const std::string& method, const std::string& path,
                       const std::string& body) -> std::string {
        if (method == "PUT") {
            Json value = Json::parse(body).at("Job");
            value["Version"] = 0;
            value["JobModifyIndex"] = 5;
            job = value.dump();
            return ""; // done, and nobody hears of it
        }
        if (path.ends_with("/allocations") || path == "allocations" || path == "nodes") {
            return say("200 OK", "[]");
        }
        return path.starts_with("job/") && !job.empty() ? say("200 OK", job)
                                                        : say("404 None", "not found");
    });
    const Scratch scratch;
    const Config config = config_for(fake, scratch);
    const auto scheduler = make_scheduler(config);
    const auto outcome = scheduler->start(spec_of_www(), {}, [](const MachineState&) {});
    CHECK(outcome.exit_code == 69);
    CHECK(outcome.said == "no host has room: there is no host");
    CHECK(std::count(fake.seen.begin(), fake.seen.end(), "PUT jobs") == 1);
}

TEST_CASE("hosts that Nomad has lost sight of are waited for before what runs makes way",
          "[nomad]") {
    Replaced nomad{.no_room = 2};
    FakeNomad fake([&](const std::string& method, const std::string& path,
                       const std::string& body) { return nomad.answer(method, path, body); });
    const Scratch scratch;
    Config config = config_for(fake, scratch);
    config.nomad->place_s = 60;
    const auto start = [&] {
        return ask([&] {
            return make_scheduler(config)->start(spec_of_www(), {}, [](const MachineState&) {});
        });
    };
    const auto plans = [&] {
        return std::count_if(fake.seen.begin(), fake.seen.end(),
                             [](const auto& each) { return each.ends_with("/plan"); });
    };
    CHECK(start().exit_code == 69); // it was placed, and its task ended as the fake has it
    CHECK(nomad.entered);
    CHECK(plans() == 3);

    // Not for ever.
    nomad = {.no_room = 1000};
    config.nomad->place_s = 1;
    CHECK(start().reason() == "no host has room: n1 is down");
    CHECK_FALSE(nomad.ended);

    // No room on a host that is there: waiting would not make any.
    nomad = {.no_room = 1000, .status = "ready", .mib = 512};
    config.nomad->place_s = 60;
    fake.seen.clear();
    CHECK_THAT(start().reason(), ContainsSubstring("no host has room: n1 lacks "));
    CHECK(plans() == 1);
    CHECK_FALSE(nomad.ended);
}

TEST_CASE("from a host that burnt down a machine is taken away, and released in its place",
          "[nomad][lease]") {
    const auto variable = [](const std::string& json) {
        return Json{{"Items", {{"json", json}}}, {"ModifyIndex", 1}}.dump();
    };
    std::string lease = variable(
        LeaseRecord{.host = "n2", .incarnation = std::string(32, 'a'), .lease_s = 1}.dump());
    std::string owner = variable(dump_json({{"v", 1},
                                            {"generation", 7},
                                            {"host", "n2"},
                                            {"incarnation", std::string(32, 'a')},
                                            {"alloc", "gone"},
                                            {"create_index", 5},
                                            {"storage", Json::array()},
                                            {"leased", true},
                                            {"opened", true},
                                            {"released", false},
                                            {"at", "2026-11-22T10:00:00Z"}}));
    FakeNomad fake([&](const std::string& method, const std::string& path,
                       const std::string& body) -> std::string {
        if (path == "nodes") {
            return say("200 OK", R"([{"Name":"n2","Status":"down"}])");
        }
        std::string& at = path == "var/sky/lease/n2" ? lease : owner;
        if (method == "PUT") {
            Json value = Json::parse(body);
            value["ModifyIndex"] = 2;
            at = value.dump();
        }
        return say("200 OK", at);
    });
    const Scratch scratch;
    const Config config = config_for(fake, scratch);
    const auto www = path("alice", "infra", "www");
    nomad::Client client(*config.nomad, "token");
    LostOwner lost(client, config, www);
    CHECK_FALSE(lost.gone(*Owner::of(client, www)));
    CHECK(LeaseRecord::parse(client.variable("sky/lease/n2")->json).revoked);
    CHECK_FALSE(lost.gone(*Owner::of(client, www)));
    CHECK_FALSE(Owner::of(client, www)->released); // its guards may still have time
    int looks = 0;
    while (!lost.gone(*Owner::of(client, www)) && ++looks < 100) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    const auto after = Owner::of(client, www);
    CHECK(after->released);
    CHECK(after->holder.generation == 7);
}
