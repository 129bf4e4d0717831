// MemoryFile: the one memfd that holds all application memory, mapped once in the Sentry; its pages are counted and reused.
//
// Model. Pages are allocated in ranges, each with one reference. A page whose count falls to zero goes to a free list, still committed and
// still holding old bytes; it is zeroed before it is handed out again (or punched out when memory must really go back).
// Thread safety: all functions from any thread. Source: none in Linux; see README.md.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/unique_fd.h"
#include "platform/backing_file.h"
#include "sentry/mm/mappable.h"

namespace rampart::mm {

class MemoryFile final : public platform::BackingFile {
 public:
  // `fd`: an empty memfd. `limit`: bytes that may be in use at once (0: no limit but the host's). Called once at boot.
  static Result<Ref<MemoryFile>> Create(UniqueFd fd, uint64_t limit);

  // Whether the host's pages should be there at once (batched: 2 µs a page instead of 23). kNowUninitialized: the same, with whatever
  // bytes are in them: only for who overwrites every byte before anybody else can see the range.
  enum class Commit : uint8_t { kLazily, kNow, kNowUninitialized };

  // `length` bytes (page multiple, > 0) of zeroed pages, contiguous, with one reference each. ENOMEM: the limit or the host refuses.
  Result<FileRange> Allocate(uint64_t length, Commit commit);
  void IncRef(FileRange range);
  void DecRef(FileRange range);
  using RefCounted::DecRef;  // of the object itself
  using RefCounted::IncRef;
  // Whether the page has exactly one reference: a copy-on-write break may then take it over.
  bool Unshared(uint64_t offset) const;
  // The end of the longest stretch of such pages that begins at range.start, within range; range.start if there is none.
  uint64_t UnsharedUntil(FileRange range) const;

  // The Sentry's view of an offset; valid for the object's life. REQUIRES: within an allocated range.
  std::byte* At(uint64_t offset) const { return base_ + offset; }

  struct Usage {
    uint64_t used_bytes;   // referenced
    uint64_t free_bytes;   // kept for reuse
    uint64_t limit_bytes;  // 0: none
  };
  Usage usage() const;
  // Memory that there is at all: the limit, or the host's. A single private mapping that is larger is refused, as Linux refuses obvious
  // overcommitment (vm.overcommit_memory = 0).
  uint64_t total_bytes() const;
  // Changes the limit (0: none). EBUSY: more than that is in use.
  Result<void> SetLimit(uint64_t limit);
  // Gives unreferenced memory back to the host. Happens by itself when much is kept.
  void Trim();

  // BackingFile.
  int fd() const override { return fd_.get(); }
  Result<std::span<std::byte>> Window(uint64_t offset, uint64_t length, bool write) override;
  bool stable() const override { return true; }

  ~MemoryFile() override;

 private:
  struct State;
  MemoryFile(UniqueFd fd, std::byte* base, uint64_t limit);
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);

  UniqueFd fd_;
  std::byte* base_;
  std::unique_ptr<State> state_;
};

}  // namespace rampart::mm
