// Mappable: what a file gives to mmap. It translates file ranges to ranges of BackingFiles, and is told who maps it, so that it can take
// translations back (truncate, eviction).
// Thread safety: all functions from any thread. Lock order: MemoryManager's locks are taken before a Mappable's; a Mappable that
// invalidates (MappingSpace::Invalidate) holds none of its own.
#pragma once

#include <cstdint>
#include <string>

#include "base/ref.h"
#include "base/result.h"
#include "platform/backing_file.h"
#include "platform/platform.h"

namespace rampart::mm {

struct FileRange {
  uint64_t start = 0;
  uint64_t end = 0;
  uint64_t length() const { return end - start; }
};

// Somebody who maps (a MemoryManager).
class MappingSpace {
 public:
  virtual ~MappingSpace() = default;
  // Forgets every translation of `file`'s range, unmapping it from the application; private copies are kept unless
  // `private_too` (truncate). May be called by any thread.
  virtual void Invalidate(class Mappable& file, FileRange range, bool private_too) = 0;
  // A reference that keeps the space alive during Invalidate; null when it is already being destroyed. A Mappable calls it under the lock
  // that its RemoveMapping takes, so that the space cannot have gone yet.
  virtual RefPtr<RefCounted> TryHold() = 0;
};

// The answer of Translate: [file range] is backed by file at offset. `file` holds the pages alive for as long as the mapping's reference
// in the platform lives, except memory-file pages, whose reference counts mm takes (MemoryFile::IncRef) before the Mappable may drop its own:
// Translate returns with one reference per page of the range taken for the caller.
struct Translation {
  FileRange range;                  // page aligned; contains the asked page at least, within the optional window
  Ref<platform::BackingFile> file;
  uint64_t offset;                  // of range.start
  platform::Prot max_prot;          // kWrite only when writing through is allowed (shared) and the file system has been told
};

class Mappable : public virtual RefCounted {
 public:
  // Backs `required` (page aligned, at least one page) and, if cheap, more within `optional` (contains required). `write`: the mapping
  // is shared and about to be written. Errors: EFAULT beyond the end of the file (becomes SIGBUS), ENOSPC/EIO (SIGBUS), ENOMEM.
  virtual Result<Translation> Translate(FileRange required, FileRange optional, bool write) = 0;
  // Bookkeeping of who maps what; called once per vma made, split, copied or removed. EPERM/EACCES/ENODEV refuses (seals).
  virtual Result<void> AddMapping(MappingSpace& space, FileRange range, bool shared, bool writable) = 0;
  virtual void RemoveMapping(MappingSpace& space, FileRange range, bool shared, bool writable) = 0;
  // msync(2): writes dirty pages of the range back where that means anything.
  virtual Result<void> Msync(FileRange range) = 0;
  // Not 0: a System V segment of that many bytes. Areas that map it are attachments: they are never merged, and shmdt(2) finds them.
  virtual uint64_t AttachedBytes() const { return 0; }
  // memfd_secret(2): only those who map it see it.
  virtual bool Secret() const { return false; }
};

// What /proc/PID/maps shows of a mapping, and a way to keep the file alive.
class MappingIdentity : public virtual RefCounted {
 public:
  virtual std::string MappedName() const = 0;  // path as the application would see it
  virtual uint64_t device() const = 0;         // dev_t
  virtual uint64_t inode_number() const = 0;
};

}  // namespace rampart::mm
