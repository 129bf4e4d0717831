// TreeDescription: a descriptor of a detached tree of mounts (open_tree(2), fsmount(2)): O_PATH, and the tree goes with it unless it was moved.
// Thread safety: any thread.
#pragma once

#include "sentry/vfs/file_description.h"

namespace rampart::syscalls {

class TreeDescription final : public vfs::FileDescription {
 public:
  explicit TreeDescription(Ref<vfs::MountNamespace> tree) : FileDescription(tree->root(), abi::kOPath), tree_(std::move(tree)) {}
  Result<size_t> PRead(Caller&, mm::IoDst&, uint64_t, uint32_t) override { return Errno::kEBADF; }
  Result<size_t> PWrite(Caller&, mm::IoSrc&, uint64_t, uint32_t, uint64_t*) override { return Errno::kEBADF; }
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return Errno::kEBADF; }
  Result<uint64_t> Ioctl(Caller&, mm::UserMemory&, uint32_t, uint64_t) override { return Errno::kEBADF; }
  Result<void> ConfigureMMap(const Caller&, mm::MMapArgs&) override { return Errno::kEBADF; }
  Result<void> Iterate(Caller&, vfs::DirentSink&) override { return Errno::kEBADF; }

 protected:
  ~TreeDescription() override { tree_->Dissolve(); }

 private:
  const Ref<vfs::MountNamespace> tree_;
};

}  // namespace rampart::syscalls
