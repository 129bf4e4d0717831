// Open files and directories of a GoferFilesystem.
// Thread safety: any thread.
#pragma once

#include "sentry/fs/gofer/gofer_inode.h"
#include "sentry/vfs/file_description.h"

namespace rampart::fs {

class GoferFile final : public vfs::FileDescription {
 public:
  GoferFile(vfs::Path path, uint32_t flags, Ref<GoferInode> inode, Ref<HostBacking> backing);
  ~GoferFile() override;

  Result<size_t> PRead(Caller& caller, mm::IoDst& dst, uint64_t offset, uint32_t flags) override;
  Result<size_t> PWrite(Caller& caller, mm::IoSrc& src, uint64_t offset, uint32_t flags, uint64_t* end) override;
  Result<uint64_t> Seek(Caller& caller, int64_t offset, int whence) override;
  Result<void> ConfigureMMap(const Caller& caller, mm::MMapArgs& args) override;
  Result<void> Sync(bool data_only) override;
  Result<void> Allocate(const Caller& caller, uint32_t mode, uint64_t offset, uint64_t length) override;

 private:
  const Ref<GoferInode> file_;
  const Ref<HostBacking> backing_;
};

// Entries come from a listing made when reading begins: names that come and go meanwhile are or are not seen, as POSIX allows.
class GoferDirectoryFile final : public vfs::FileDescription {
 public:
  GoferDirectoryFile(vfs::Path path, uint32_t flags, Ref<GoferInode> inode) : FileDescription(std::move(path), flags), directory_(std::move(inode)) {}

  Result<void> Iterate(Caller& caller, vfs::DirentSink& sink) override;
  Result<size_t> PRead(Caller&, mm::IoDst&, uint64_t, uint32_t) override { return Errno::kEISDIR; }
  Result<uint64_t> Seek(Caller& caller, int64_t offset, int whence) override;
  Result<void> Sync(bool data_only) override;

 private:
  const Ref<GoferInode> directory_;
  RefPtr<Listing> listing_ ABSL_GUARDED_BY(position_mu_);
};

}  // namespace rampart::fs
