// SharedMemory: pages that several mappings share and no file system knows: shared anonymous mmap, System V segments.
// Thread safety: all functions from any thread. Ownership: counted by its mappings. Lock: mu_, below a MemoryManager's.
#pragma once

#include <map>

#include "absl/synchronization/mutex.h"
#include "sentry/mm/mappable.h"
#include "sentry/mm/memory_file.h"
#include "sentry/mm/punchable.h"

namespace rampart::mm {

class SharedMemory final : public Mappable, public MappingIdentity, public Punchable {
 public:
  // `length` is rounded up to pages. Pages come into being when touched. `name` is what /proc/PID/maps shows.
  static Ref<SharedMemory> Create(Ref<MemoryFile> memory_file, uint64_t length, std::string name = "/dev/zero (deleted)");

  Result<Translation> Translate(FileRange required, FileRange optional, bool write) override;
  Result<void> AddMapping(MappingSpace&, FileRange, bool, bool) override { return Ok(); }
  void RemoveMapping(MappingSpace&, FileRange, bool, bool) override {}
  Result<void> Msync(FileRange) override { return Ok(); }
  // Nobody knows who maps it, so the pages stay, with zeros in them.
  Result<void> PunchPages(FileRange range) override;

  std::string MappedName() const override { return name_; }
  uint64_t device() const override { return 1; }  // as Linux's internal shmem mount: 00:01
  uint64_t inode_number() const override { return inode_; }

  uint64_t length() const { return length_; }
  // Bytes that exist.
  uint64_t resident() const;

 private:
  SharedMemory(Ref<MemoryFile> memory_file, uint64_t length, std::string name);
  ~SharedMemory() override;
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);

  const Ref<MemoryFile> memory_file_;
  const uint64_t length_;
  const std::string name_;
  const uint64_t inode_;
  mutable absl::Mutex mu_;
  // Start in the object → range of the memory file; each holds one reference per page.
  std::map<uint64_t, FileRange> runs_ ABSL_GUARDED_BY(mu_);
};

}  // namespace rampart::mm
