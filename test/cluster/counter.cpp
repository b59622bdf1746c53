// SPDX-License-Identifier: MIT
// One writer: what a guest does to its volume, and what is seen of that from outside.
// usage: counter write DEVICE              in a guest: counts, in a generation of its own
//        counter watch VOLUME HISTORY      on the host: what it reads there, as it comes, until it
//        is killed
//        counter list VOLUME               the same once, of a copy, on stdout
// Each generation has a region of the volume for itself, in which it writes a block per count and
// syncs it, every 100 ms. Nothing is written twice, so nothing that a second writer does is covered
// up by the first. A history has lines
//   GENERATION COUNT      that block is there now
//   GENERATION gone COUNT a block that was there is there no more
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <time.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr off_t kBlock = 4096;
constexpr off_t kRegion = 8192; ///< blocks of a generation: a quarter of an hour
constexpr unsigned kMagic = 0x736b7931;

struct Block {
    unsigned magic;
    unsigned generation;
    unsigned count;
};

off_t place(unsigned generation, unsigned count) {
    return (static_cast<off_t>(generation) * kRegion + count % kRegion) * kBlock;
}

alignas(kBlock) char buffer[kBlock];

/// Around the page cache where that goes: what it has may be older than the disk.
bool there(int fd, unsigned generation, unsigned count) {
    if (::pread(fd, buffer, kBlock, place(generation, count)) != kBlock) {
        return false;
    }
    Block block;
    std::memcpy(&block, buffer, sizeof block);
    return block.magic == kMagic && block.generation == generation && block.count == count;
}

void nap(long ms) {
    const timespec time{0, ms * 1000000};
    ::nanosleep(&time, nullptr);
}

int write_to(const char* device) {
    const int fd = ::open(device, O_RDWR | O_DIRECT | O_SYNC);
    if (fd < 0) {
        std::perror(device);
        return 1;
    }
    unsigned generation = 0;
    while (there(fd, generation, 0)) {
        ++generation;
    }
    for (unsigned count = 0; count < kRegion; ++count) {
        std::memset(buffer, 0, kBlock);
        const Block block{kMagic, generation, count};
        std::memcpy(buffer, &block, sizeof block);
        if (::pwrite(fd, buffer, kBlock, place(generation, count)) != kBlock) {
            std::perror(device);
            return 1;
        }
        nap(100);
    }
    return 0;
}

/// How far each generation has come. A volume is not there before its machine.
int watch(const char* volume, const char* history) {
    std::FILE* out = std::fopen(history, "a");
    std::vector<unsigned> next{0};
    for (unsigned round = 0;; ++round, nap(10)) {
        const int fd = ::open(volume, O_RDONLY);
        if (fd < 0) {
            continue;
        }
        for (unsigned generation = 0; generation < next.size(); ++generation) {
            while (there(fd, generation, next[generation])) {
                std::fprintf(out, "%u %u\n", generation, next[generation]++);
            }
            const unsigned before = next[generation];
            if (round % 100 == 0 && before > 0 && !there(fd, generation, before - 1)) {
                std::fprintf(out, "%u gone %u\n", generation, before - 1);
            }
        }
        while (next.back() > 0) {
            next.push_back(0);
            const auto generation = static_cast<unsigned>(next.size() - 1);
            while (there(fd, generation, next[generation])) {
                std::fprintf(out, "%u %u\n", generation, next[generation]++);
            }
        }
        std::fflush(out);
        ::close(fd);
    }
}

int list(const char* volume) {
    const int fd = ::open(volume, O_RDONLY);
    if (fd < 0) {
        std::perror(volume);
        return 1;
    }
    for (unsigned generation = 0; there(fd, generation, 0); ++generation) {
        for (unsigned count = 0; there(fd, generation, count); ++count) {
            std::printf("%u %u\n", generation, count);
        }
    }
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    const std::string verb = argc > 1 ? argv[1] : "";
    if (verb == "write" && argc == 3) {
        return write_to(argv[2]);
    }
    if (verb == "watch" && argc == 4) {
        return watch(argv[2], argv[3]);
    }
    if (verb == "list" && argc == 3) {
        return list(argv[2]);
    }
    std::fputs("usage: counter write DEVICE | watch VOLUME HISTORY | list VOLUME\n", stderr);
    return 64;
}
