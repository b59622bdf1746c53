// SPDX-License-Identifier: MIT
#pragma once

#include <linux/filter.h>
#include <sys/types.h>
#include <vector>

namespace sky::vm {

/// Who a process becomes.
struct Identity {
    uid_t uid = 0; ///< gid is the same number
    std::vector<gid_t> groups;
};

/// The system call filter of everything that runs for a machine, as classic BPF: no new user
/// namespace (clone, unshare; clone3 is answered by ENOSYS, since its flags can not be read), no
/// setns, no other architecture; no socket but Unix, IP and netlink ones, since what no network
/// namespace bounds (VM sockets) reaches the host; no SIOCSIFHWADDR, by which a tap's descriptor
/// gives the host's port another's hardware address. Pure.
[[nodiscard]] std::vector<sock_filter> call_filter();

/// no_new_privs and the filter above, for this process and all that it starts. Throws SysError.
void filter_calls();

/// New mount, ipc, network, uts, cgroup and (for children) pid namespaces. Throws SysError.
void unshare_all();

/// Becomes `who` for good: groups, gid, uid, no capability in any set, none to be had by exec.
/// Throws SysError.
void become(const Identity& who);

/// Becomes `who`, but keeps what it takes to start a child under another uid (CAP_SETUID,
/// CAP_SETGID, CAP_SETPCAP, CAP_KILL not among them) until drop_rest(). Throws SysError.
void become_starter(const Identity& who);
/// Gives up what become_starter() kept. Throws SysError.
void drop_rest();

/// Ends this process when its parent dies; at once if that is no longer `parent`. Changing the uid
/// takes this back: call it after become() again. Throws SysError.
void die_with(pid_t parent);

/// Limits of a process that a tenant's code runs in: no core files, `files` descriptors.
void limit_resources(unsigned long files);
/// No file grows over `bytes`; writing more fails with EFBIG and kills nobody.
void limit_file_size(unsigned long bytes);

} // namespace sky::vm
