// SPDX-License-Identifier: MIT
// What libfuse in a machine's storage process finds as fusermount3. That process may not mount, and
// need not: its FUSE mounts stand, and it holds their descriptors. This hands over the one that the
// mount point names, /sky/fuse/FD, on the socket that libfuse gives (_FUSE_COMMFD), as fusermount3
// does with one of its own; told to unmount (no socket) it does nothing.
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <sys/socket.h>

namespace {

std::optional<int> number(std::string_view text) {
    int value = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size() && value >= 0
               ? std::optional(value)
               : std::nullopt;
}

bool hand_over(int socket, int fd) {
    char nothing = 0;
    iovec data{&nothing, 1};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fd)> control{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return ::sendmsg(socket, &message, 0) == 1;
}

} // namespace

int main(int argc, char** argv) {
    const char* socket_text = std::getenv("_FUSE_COMMFD");
    if (socket_text == nullptr) {
        return 0;
    }
    const std::string_view mountpoint = argc > 1 ? argv[argc - 1] : "";
    const auto socket = number(socket_text);
    const auto device = number(mountpoint.substr(mountpoint.rfind('/') + 1));
    return socket && device && hand_over(*socket, *device) ? 0 : 1;
}
