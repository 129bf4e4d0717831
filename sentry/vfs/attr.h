// Attributes of an inode as stat(2) and statx(2) tell them, and requests to change them.
#pragma once

#include <cstdint>
#include <optional>

#include "abi/fcntl.h"
#include "abi/types.h"
#include "base/time.h"

namespace rampart::vfs {

enum class FileType : uint32_t {
  kRegular = abi::kIfReg, kDirectory = abi::kIfDir, kSymlink = abi::kIfLnk, kFifo = abi::kIfIfo, kSocket = abi::kIfSock,
  kCharDevice = abi::kIfChr, kBlockDevice = abi::kIfBlk,
};

// Times are nanoseconds since the epoch (CLOCK_REALTIME).
struct Attr {
  FileType type = FileType::kRegular;
  uint32_t permissions = 0;  // the low 12 bits of st_mode
  uint64_t ino = 0;
  uint64_t nlink = 1;
  abi::Uid uid = 0;
  abi::Gid gid = 0;
  uint64_t rdev = 0;         // of device nodes
  uint64_t size = 0;
  uint64_t blocks = 0;       // of 512 bytes
  uint32_t block_size = 4096;
  Nanos atime = 0, mtime = 0, ctime = 0;
  std::optional<Nanos> btime;
  uint64_t attributes = 0;   // STATX_ATTR_…
  uint32_t mode() const { return static_cast<uint32_t>(type) | permissions; }
};

// What SetAttr is asked to change. Permission to do so has been checked by the VFS (operations.h), as has the clearing of set-id bits.
struct AttrChange {
  std::optional<uint32_t> permissions;
  std::optional<abi::Uid> uid;
  std::optional<abi::Gid> gid;
  std::optional<uint64_t> size;
  std::optional<Nanos> atime, mtime;   // "now" has been resolved by the caller
};

// statfs(2).
struct FsStats {
  uint64_t magic = 0, block_size = 4096, blocks = 0, blocks_free = 0, blocks_available = 0, files = 0, files_free = 0, fsid = 0, name_max = 255, flags = 0;
};

}  // namespace rampart::vfs
