// BackingFile: a host file whose pages can back application memory: the memory file, or a descriptor that the Gofer donated.
//
// Thread safety: all functions may be called from any thread. Ownership: reference counted; a mapping queued in an AddressSpace keeps
// a reference for as long as it is in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/ref.h"
#include "base/result.h"

namespace rampart::platform {

class BackingFile : public RefCounted {
 public:
  // The host descriptor, valid for the object's life. Its number is the same in the platform's helper processes (they share the table).
  virtual int fd() const = 0;

  // Host memory of this process that shows [offset, offset+length) of the file, mapped on demand and valid for the object's life.
  // Writable if `write`. Errors: EINVAL (outside the file's possible range), ENOMEM, EACCES.
  // Touching it past the file's end raises SIGBUS: use SafeCopy (sentry/mm/safe_copy.h) where the file may shrink.
  virtual Result<std::span<std::byte>> Window(uint64_t offset, uint64_t length, bool write) = 0;

  // True when nobody outside this sandbox can truncate it (the memory file): plain memcpy is then safe.
  virtual bool stable() const = 0;
};

}  // namespace rampart::platform
