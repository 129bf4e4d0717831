// tmpfs: a filesystem in the sandbox's memory (tmpfs(5)), and memfd_create(2), which is a file of one that has no name.
//
// Model. Pages of files live in the MemoryFile, so that applications map them directly; names, attributes and xattrs live on the Sentry's
// heap, bounded by nr_inodes. The filesystem lives as long as something refers to its root: root() must first be called once and kept.
// POSIX ACLs are stored as the xattrs that they are and not consulted for access.
// Thread safety: all functions from any thread. Lock order: Tmpfs::names_mu_ → an inode's mu_; a file's io_mu_ → mm's locks → its mu_.
#pragma once

#include <string_view>

#include "sentry/mm/memory_file.h"
#include "sentry/vfs/file_description.h"
#include "sentry/vfs/inode.h"

namespace rampart::fs {

struct TmpfsOptions {
  uint64_t size = 0;             // bytes; 0: no limit but the sandbox's own
  uint64_t inodes = 1u << 20;    // 0: no limit
  uint32_t mode = 01777;         // of the root directory
  abi::Uid uid = 0;
  abi::Gid gid = 0;
  bool size_given = false, inodes_given = false, mode_given = false;
};

// "size=64m,nr_inodes=1k,mode=755,uid=0,gid=0" over `defaults`. EINVAL for unknown or malformed options. "size=50%" is of `memory_bytes`.
Result<TmpfsOptions> ParseTmpfsOptions(std::string_view text, TmpfsOptions defaults, uint64_t memory_bytes);

// `type`: what /proc/filesystems calls it ("tmpfs", "devtmpfs"); static storage.
Ref<vfs::Filesystem> NewTmpfs(Ref<mm::MemoryFile> memory, const TmpfsOptions& options, const char* type = "tmpfs");

// memfd_create(2)'s flags.
inline constexpr uint32_t kMfdCloexec = 1, kMfdAllowSealing = 2, kMfdHugetlb = 4, kMfdNoexecSeal = 8, kMfdExec = 16;
// Seals of fcntl(F_ADD_SEALS).
inline constexpr uint32_t kSealSeal = 1, kSealShrink = 2, kSealGrow = 4, kSealWrite = 8, kSealFutureWrite = 16, kSealExec = 32;

// A new memory file, open for reading and writing, shown as "/memfd:NAME (deleted)". Flags and name have been checked.
Result<Ref<vfs::FileDescription>> NewMemfd(Caller& caller, const Ref<mm::MemoryFile>& memory, std::string_view name, uint32_t flags);

// memfd_secret(2): a memory file that can only be mapped, shared.
Result<Ref<vfs::FileDescription>> NewSecretMemory(Caller& caller, const Ref<mm::MemoryFile>& memory);

}  // namespace rampart::fs
