// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>

#include <string>
#include <sys/types.h>

namespace sky::net {

/// The network namespace of a process. Throws SysError; Error(kRefused) when it is our own.
[[nodiscard]] Fd open_netns(pid_t pid);
[[nodiscard]] Fd own_netns();

/// This thread is in another network namespace while it lives. Sockets and taps opened meanwhile
/// stay there. If the way back fails the process ends: nothing may go on in the wrong place.
class [[nodiscard]] InNetns {
  public:
    explicit InNetns(const Fd& netns);
    InNetns(const InNetns&) = delete;
    InNetns& operator=(const InNetns&) = delete;
    ~InNetns();

  private:
    Fd home_;
};

/// Makes a persistent tap in the namespace we are in, or takes the one that is there: no packet
/// info, VNET_HDR, multi-queue exactly if queues > 1 (TUNSETIFF refuses any other use of it), to be
/// opened by `owner`. One with other flags is made anew; one in use stays as it is.
void ensure_tap(const std::string& name, uid_t owner, unsigned queues);

/// A tap in the namespace we are in that lasts as long as what is returned: frames are written to
/// and read from it, without waiting.
[[nodiscard]] Fd scratch_tap(const std::string& name);

} // namespace sky::net
