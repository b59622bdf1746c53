// SPDX-License-Identifier: MIT
#pragma once

#include <sky/nar.hpp>

#include <memory>
#include <string_view>

namespace sky {

/// Compresses a stream into one zstd frame with a checksum.
class ZstdWriter {
  public:
    explicit ZstdWriter(Sink out);
    ~ZstdWriter();
    ZstdWriter(const ZstdWriter&) = delete;
    ZstdWriter& operator=(const ZstdWriter&) = delete;
    void write(std::string_view data);
    /// Ends the frame; nothing may follow.
    void finish();

  private:
    void run(std::string_view data, bool end);
    struct State;
    std::unique_ptr<State> state_;
};

/// Decompresses `in`: whole zstd frames, nothing else; window at most 128 MiB. Error(kData) for
/// anything corrupt or cut.
[[nodiscard]] Source zstd_source(Source in);

} // namespace sky
