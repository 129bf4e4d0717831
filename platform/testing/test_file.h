// TestFile: a memfd as a BackingFile, mapped whole, for tests. Thread safety: as BackingFile.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/unique_fd.h"
#include "platform/backing_file.h"

namespace rampart::platform::testing {

class TestFile final : public BackingFile {
 public:
  explicit TestFile(uint64_t size, bool stable = true);
  int fd() const override { return fd_.get(); }
  Result<std::span<std::byte>> Window(uint64_t offset, uint64_t length, bool write) override;
  bool stable() const override { return stable_; }

  uint64_t size() const { return size_; }
  std::byte* view() const { return view_; }

  // How many exist, for tests of who keeps references.
  static int live() { return live_.load(std::memory_order_acquire); }

 private:
  ~TestFile() override;

  const uint64_t size_;
  const bool stable_;
  UniqueFd fd_;
  std::byte* view_;
  static std::atomic<int> live_;
};

}  // namespace rampart::platform::testing
