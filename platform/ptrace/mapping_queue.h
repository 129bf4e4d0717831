// MappingQueue: the mapping changes of one address space that the host has not seen yet, coalesced, and which files are mapped where.
//
// Changes that later ones make needless disappear: a Map over a queued Unmap, neighbours with consecutive offsets, a Protect of a range
// that was queued whole. Protect is cut to what is mapped, because mprotect(2) stops at the first hole.
//
// Files: a range holds a reference to its file from Map until it is replaced or unmapped *and* that change was taken. Dropped
// references are handed out, for the caller to release where no lock is held.
// Thread safety: none; the owner locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/btree_map.h"
#include "base/ref.h"
#include "platform/backing_file.h"
#include "platform/platform.h"

namespace rampart::platform::ptrace {

struct MappingChange {
  enum class Kind : uint8_t { kMap, kUnmap, kProtect };
  Kind kind;
  Prot prot = Prot::kNone;
  Populate populate = Populate::kOnFault;
  uint64_t address = 0;
  uint64_t length = 0;
  uint64_t offset = 0;         // kMap
  RefPtr<BackingFile> file{};  // kMap
  uint64_t end() const { return address + length; }
};

class MappingQueue {
 public:
  using Dropped = std::vector<RefPtr<BackingFile>>;
  void Map(uint64_t address, uint64_t length, Ref<BackingFile> file, uint64_t offset, Prot prot, Populate populate);
  void Unmap(uint64_t address, uint64_t length);
  void Protect(uint64_t address, uint64_t length, Prot prot);

  bool empty() const { return changes_.empty(); }
  // The changes in order, and the references to files that are mapped nowhere when they have been made.
  struct Batch {
    std::vector<MappingChange> changes;
    Dropped dropped;
  };
  Batch Take();

 private:
  struct Range {
    uint64_t end;
    RefPtr<BackingFile> file;
  };
  using Ranges = absl::btree_map<uint64_t, Range>;

  // Cuts [start, end) out of ranges_; true when something was there.
  bool Cut(uint64_t start, uint64_t end);
  void Insert(uint64_t start, uint64_t end, RefPtr<BackingFile> file);
  // Removes queued changes that a change of all of [start, end) makes needless.
  void DropCovered(uint64_t start, uint64_t end);
  void QueueProtect(uint64_t start, uint64_t end, Prot prot);

  Ranges ranges_;
  std::vector<MappingChange> changes_;
  Dropped dropped_;
};

}  // namespace rampart::platform::ptrace
