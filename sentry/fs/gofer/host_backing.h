// HostBacking: a regular file's descriptor that the Gofer donated, as what reads, writes and mappings use.
// Thread safety: any thread. Ownership: counted by the inode, by open files and by mappings; owns the descriptor and its windows.
// Locks: mutex_ (leaf; mmap is called under it).
#pragma once

#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/unique_fd.h"
#include "platform/backing_file.h"

namespace rampart::fs {

class HostBacking final : public platform::BackingFile {
 public:
  HostBacking(UniqueFd fd, bool readable, bool writable) : fd_(std::move(fd)), readable_(readable), writable_(writable) {}
  ~HostBacking() override;

  int fd() const override { return fd_.get(); }
  bool readable() const { return readable_; }
  bool writable() const { return writable_; }
  Result<std::span<std::byte>> Window(uint64_t offset, uint64_t length, bool write) override;
  bool stable() const override { return false; }
  // Has the host note an access to the file, as for a mapping of it.
  void NoteAccess() const;

 private:
  struct Mapped {
    uint64_t start, end;
    std::byte* memory;
    bool writable;
  };
  const UniqueFd fd_;
  const bool readable_, writable_;
  absl::Mutex mutex_;
  std::vector<Mapped> windows_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rampart::fs
