// SPDX-License-Identifier: MIT
#pragma once

#include <sky-build/cell.hpp>
#include <sky/fd.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>

namespace sky::build {

/// Says to every thread that the work is wanted no more. Thread-safe.
class Cancel {
  public:
    Cancel();
    void set() noexcept;
    [[nodiscard]] bool is_set() const noexcept { return set_; }
    /// Readable for poll(2) once it is set.
    [[nodiscard]] int fd() const noexcept { return event_.get(); }

  private:
    Fd event_;
    std::atomic<bool> set_ = false;
};

/// Thrown out of what was going on when Cancel was set.
struct Cancelled {};

struct CellOptions {
    std::function<void(std::string_view)> err; ///< each piece of stderr as it comes
    std::chrono::seconds limit{300};
    std::size_t out_cap = std::size_t{64} << 20;
};

struct CellResult {
    int exit_code = 0;
    std::string out;
    std::string err;   ///< the last 64 KiB
    bool late = false; ///< killed at the limit
};

/// The processes of a tenant's cell.
class Cell {
  public:
    /// `cancel` must outlive it. `pids`: config's cell.pids, for RLIMIT_NPROC.
    Cell(CellPlan plan, long pids, const Cancel& cancel)
        : plan_(std::move(plan)), pids_(pids), cancel_(&cancel) {}

    [[nodiscard]] const CellPlan& plan() const noexcept { return plan_; }

    /// Runs `command` to its end. Nothing of it lives on when this returns or throws, nor when this
    /// process dies. Throws Cancelled, SysError, Error(kData) for too much output.
    [[nodiscard]] CellResult run(const CellCommand& command, const CellOptions& options = {}) const;

  private:
    CellPlan plan_;
    long pids_;
    const Cancel* cancel_;
};

} // namespace sky::build
