// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/crew.hpp"
#include "sky-nomad-submit/deployer.hpp"
#include "sky-nomad-submit/verbs.hpp"

#include <sky/json.hpp>

#include <atomic>
#include <string>

namespace sky::submit {

/// A crew that carries out orders and tells how they ended: a verdict for people on stderr, the
/// object with "result" or "error" on stdout.
class Orders {
  public:
    explicit Orders(const Desk& desk);

    /// Queues an order; `object` is what the answer is added to.
    void add(const Order& order, const Json& object);
    /// A machine that is wrong without an order.
    void report(const Machine& machine, const Json& object, const Verdict& verdict);
    /// Passes an object on as it is.
    void pass(const Json& object) { crew_.answer(object); }
    /// A request that could not be read.
    void bad(int code, const std::string& text);
    /// Works until stdin (`in`, -1: none) has ended and all is done; `line` gets each line.
    /// kSomeFailed if a machine failed, `own_code`: the failed machine's own code when there was
    /// one order.
    int run(int in, const std::function<void(const std::string&)>& line, bool own_code);

  private:
    void tell(const Machine& machine, Json object, const Verdict& verdict);

    const Desk& desk_;
    Deployer deployer_;
    int count_ = 0;
    int requests_ = 0;
    std::atomic<int> failed_{0}; ///< code of the last failure
    std::atomic<int> bad_{0};
    Crew crew_; ///< last: its threads use all the others until it has gone
};

/// "error: db: ..." broken into lines under 72 columns.
[[nodiscard]] std::vector<std::string> wrapped(const std::string& first, const std::string& text);

} // namespace sky::submit
