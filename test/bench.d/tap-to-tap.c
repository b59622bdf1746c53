// SPDX-License-Identifier: MIT
// Frames from one tap to another, written and read by one process as two hypervisors would.
// usage: tap-to-tap FROM TO MAC-FROM MAC-TO IPV4-FROM IPV4-TO FRAMES
// Prints frames that arrived, seconds, and seconds of processor time (the kernel's way from tap to tap is in it).
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { kHeader = 10, kBurst = 64, kFrame = 60 }; // virtio's header, before each frame

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int open_tap(const char *name) {
    const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq request = {0};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0) {
        fail(name);
    }
    return fd;
}

static double seconds(struct timespec t) {
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return seconds(t);
}

static uint16_t checksum(const uint8_t *bytes, size_t size) {
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i += 2) {
        sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return htons((uint16_t)~sum);
}

// A gratuitous ARP, so that everybody knows who is where.
static void say_hello(int fd, const struct ether_addr *mac, uint32_t address) {
    uint8_t packet[kHeader + kFrame] = {0};
    uint8_t *f = packet + kHeader;
    memset(f, 0xff, 6);
    memcpy(f + 6, mac, 6);
    memcpy(f + 12, "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01", 10);
    memcpy(f + 22, mac, 6);
    memcpy(f + 28, &address, 4);
    address = htonl((ntohl(address) & 0xfffff000U) + 1); // the gateway is asked, for a router to know
    memcpy(f + 38, &address, 4);
    if (write(fd, packet, sizeof packet) < 0) {
        fail("write");
    }
}

static long drain(int fd) {
    uint8_t buffer[2048];
    long count = 0;
    for (;;) {
        const ssize_t size = read(fd, buffer, sizeof buffer);
        if (size <= 0) {
            return count;
        }
        count += size >= kHeader + 42 && memcmp(buffer + size - 8, "sky:pace", 8) == 0;
    }
}

int main(int argc, char **argv) {
    if (argc != 8) {
        return 64;
    }
    const int from = open_tap(argv[1]);
    const int to = open_tap(argv[2]);
    struct ether_addr mac_from = *ether_aton(argv[3]);
    const struct ether_addr mac_to = *ether_aton(argv[4]);
    const uint32_t address_from = inet_addr(argv[5]);
    const uint32_t address_to = inet_addr(argv[6]);
    const long frames = atol(argv[7]);
    uint8_t packet[kHeader + kFrame] = {0};
    uint8_t *f = packet + kHeader;
    memcpy(f, &mac_to, 6);
    memcpy(f + 6, &mac_from, 6);
    memcpy(f + 12, "\x08\x00\x45\x00\x00\x2e\x00\x00\x00\x00\x40\x11\x00\x00", 14);
    memcpy(f + 26, &address_from, 4);
    memcpy(f + 30, &address_to, 4);
    const uint16_t sum = checksum(f + 14, 20);
    memcpy(f + 24, &sum, 2);
    memcpy(f + 34, "\x0f\xa0\x0f\xa0\x00\x1a\x00\x00", 8);
    memcpy(f + kFrame - 8, "sky:pace", 8);
    const struct ether_addr mac_peer = *ether_aton(getenv("PEER"));
    long arrived = 0;
    for (int tries = 0; tries < 100 && arrived == 0; tries++) { // a new link takes its time
        say_hello(from, &mac_from, address_from);
        say_hello(to, &mac_peer, address_to);
        if (write(from, packet, sizeof packet) < 0) {
            fail("write");
        }
        struct pollfd wait = {to, POLLIN, 0};
        poll(&wait, 1, 100);
        arrived = drain(to);
    }
    drain(from);
    drain(to);
    arrived = 0;
    const double begin = now(CLOCK_MONOTONIC);
    const double cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    for (long sent = 0; sent < frames; sent += kBurst) {
        for (int i = 0; i < kBurst; i++) {
            if (write(from, packet, sizeof packet) < 0) {
                fail("write");
            }
        }
        arrived += drain(to);
    }
    printf("%ld %.6f %.6f\n", arrived, now(CLOCK_MONOTONIC) - begin, now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return 0;
}
