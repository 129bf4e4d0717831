// What implementations of files share: who maps a file, mmap's checks, access times, "." and "..".
#pragma once

#include <atomic>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/mm/mappable.h"
#include "sentry/vfs/file_description.h"

namespace rampart::vfs {

// The address spaces that map a file, for Mappable::AddMapping and RemoveMapping, and for taking translations back.
// Thread safety: any thread. Lock order: below mm's locks; Invalidate holds nothing while it calls.
class MappingList {
 public:
  void Add(mm::MappingSpace& space, mm::FileRange range, bool shared, bool writable);
  void Remove(mm::MappingSpace& space, mm::FileRange range, bool shared, bool writable);
  // Takes back every translation of `file`'s range. REQUIRES: no lock of the file is held.
  void Invalidate(mm::Mappable& file, mm::FileRange range, bool private_too);
  // Shared mappings through which the file can be (or become) written.
  int writable_shared() const { return writable_shared_.load(std::memory_order_acquire); }
  bool empty() const { return count_.load(std::memory_order_acquire) == 0; }

 private:
  struct Entry {
    mm::MappingSpace* space;
    int mappings;
  };
  absl::Mutex mu_;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mu_);
  std::atomic<int> writable_shared_{0};
  std::atomic<int> count_{0};
};

// mmap's rules for a regular file that `file` has open (Linux: do_mmap): access mode, noexec; then fills args.file and args.identity.
// EACCES, EPERM.
Result<void> ConfigureFileMMap(FileDescription& file, mm::MMapArgs& args, Ref<mm::Mappable> mappable);

// What is left of a mode after a change of contents or owner: all of it, or what somebody without CAP_FSETID may keep of the set-id bits
// (Linux: setattr_should_drop_suidgid).
uint32_t PermissionsKept(const Caller& caller, uint32_t permissions, abi::Gid gid);

// Whether a read through `file` must move the access time (O_NOATIME, noatime, relatime).
bool AtimeIsStale(const FileDescription& file, Nanos atime, Nanos mtime, Nanos ctime, Nanos now);

// The two first entries of every directory at offsets 0 and 1 (the next is 2). Returns false when the sink is full.
bool EmitDots(const FileDescription& directory, DirentSink& sink, uint64_t& position);

}  // namespace rampart::vfs
