// The objects of a tmpfs. Internal to sentry/fs/tmpfs.
#pragma once

#include <atomic>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "sentry/fs/tmpfs/tmpfs.h"

namespace rampart::fs {

class TmpfsInode;

class Tmpfs final : public vfs::Filesystem {
 public:
  Tmpfs(Ref<mm::MemoryFile> memory, const TmpfsOptions& options, const char* type);
  ~Tmpfs() override;
  void MakeRoot();  // once, after construction
  Ref<vfs::Inode> root() override;
  Result<vfs::FsStats> StatFs(const Caller& caller) override;
  std::string Options() const override;

  const Ref<mm::MemoryFile>& memory() const { return memory_; }
  // Accounts for pages of files. ENOSPC.
  Result<void> ChargePages(uint64_t pages);
  void UnchargePages(uint64_t pages) { used_pages_.fetch_sub(pages, std::memory_order_acq_rel); }
  // ENOSPC.
  Result<void> ChargeInode();
  void UnchargeInode() { used_inodes_.fetch_sub(1, std::memory_order_acq_rel); }
  uint64_t NextIno() { return next_ino_.fetch_add(1, std::memory_order_relaxed); }
  Result<Ref<TmpfsInode>> NewInode(const vfs::CreateArgs& args);

  // Guards the names in all directories of this filesystem (their entry maps) and all link counts.
  absl::Mutex& names_mu() ABSL_LOCK_RETURNED(names_mu_) { return names_mu_; }

 private:
  const Ref<mm::MemoryFile> memory_;
  const TmpfsOptions options_;
  std::atomic<uint64_t> used_pages_{0};
  std::atomic<uint64_t> used_inodes_{0};
  std::atomic<uint64_t> next_ino_{1};
  absl::Mutex names_mu_;
  absl::Mutex root_mu_;
  RefPtr<vfs::Inode> first_root_ ABSL_GUARDED_BY(root_mu_);  // until root() is first called; a circle otherwise
  vfs::Inode* weak_root_ ABSL_GUARDED_BY(root_mu_) = nullptr;
};

class TmpfsInode : public vfs::Inode {
 public:
  TmpfsInode(Ref<Tmpfs> fs, uint64_t ino, const vfs::CreateArgs& args);
  ~TmpfsInode() override;

  Result<vfs::Attr> GetAttr(const Caller& caller) override;
  Result<void> SetAttr(const Caller& caller, const vfs::AttrChange& change) override;
  Result<std::string> GetXattr(const Caller& caller, std::string_view name) override;
  Result<void> SetXattr(const Caller& caller, std::string_view name, std::string_view value, uint32_t flags) override;
  Result<std::vector<std::string>> ListXattr(const Caller& caller) override;
  Result<void> RemoveXattr(const Caller& caller, std::string_view name) override;

  Tmpfs& tmpfs() const { return tmpfs_; }
  void AddLinks(int change) { nlink_.fetch_add(change, std::memory_order_acq_rel); }
  int links() const { return nlink_.load(std::memory_order_acquire); }
  void TouchChange(Nanos now) { ctime_.store(now, std::memory_order_relaxed); }
  void TouchModify(Nanos now) {
    mtime_.store(now, std::memory_order_relaxed);
    ctime_.store(now, std::memory_order_relaxed);
  }
  void TouchAccess(const vfs::FileDescription& file);

 protected:
  uint32_t permissions() const { return permissions_.load(std::memory_order_relaxed); }
  // Size and blocks, which the kinds know.
  virtual void FillAttr(vfs::Attr& attr) = 0;
  virtual Result<void> Resize(uint64_t /*size*/) { return Errno::kEINVAL; }

 private:
  void OnLastRef() override;

  Tmpfs& tmpfs_;  // kept alive by Inode
  std::atomic<uint32_t> permissions_;
  std::atomic<abi::Uid> uid_;
  std::atomic<abi::Gid> gid_;
  std::atomic<int> nlink_{1};
  std::atomic<Nanos> atime_, mtime_, ctime_;
  const Nanos btime_;
  const uint64_t rdev_;
  absl::Mutex xattr_mu_;
  std::map<std::string, std::string, std::less<>> xattrs_ ABSL_GUARDED_BY(xattr_mu_);
  size_t xattr_bytes_ ABSL_GUARDED_BY(xattr_mu_) = 0;
};

class TmpfsSymlink final : public TmpfsInode {
 public:
  TmpfsSymlink(Ref<Tmpfs> fs, uint64_t ino, const vfs::CreateArgs& args) : TmpfsInode(std::move(fs), ino, args), target_(args.target) {}
  Result<std::string> ReadLink(const Caller&) override { return target_; }

 protected:
  void FillAttr(vfs::Attr& attr) override { attr.size = target_.size(); }

 private:
  const std::string target_;
};

// FIFOs, sockets, device nodes.
class TmpfsNode final : public TmpfsInode {
 public:
  using TmpfsInode::TmpfsInode;

 protected:
  void FillAttr(vfs::Attr&) override {}
};

class TmpfsDirectory final : public TmpfsInode {
 public:
  TmpfsDirectory(Ref<Tmpfs> fs, uint64_t ino, const vfs::CreateArgs& args);

  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override;
  Result<RefPtr<vfs::Inode>> Lookup(const Caller& caller, std::string_view name, std::string_view rest) override;
  Result<Ref<vfs::Inode>> Create(const Caller& caller, std::string_view name, const vfs::CreateArgs& args) override;
  Result<Ref<vfs::Inode>> CreateUnnamed(const Caller& caller, const vfs::CreateArgs& args) override;
  Result<void> Link(const Caller& caller, std::string_view name, vfs::Inode& target) override;
  Result<void> Unlink(const Caller& caller, std::string_view name, vfs::Inode& victim) override;
  Result<void> RemoveDirectory(const Caller& caller, std::string_view name, vfs::Inode& victim) override;
  Result<void> Rename(const Caller& caller, std::string_view old_name, vfs::Inode& source, vfs::Inode& new_directory, std::string_view new_name,
                      vfs::Inode* replaced, uint32_t flags) override;

  // Entries with offset >= *position into the sink; moves *position.
  void Emit(vfs::DirentSink& sink, uint64_t& position);

 protected:
  void FillAttr(vfs::Attr& attr) override;

 private:
  struct Entry {
    std::string name;
    Ref<TmpfsInode> inode;
  };
  // All under Tmpfs::names_mu().
  TmpfsInode* FindLocked(std::string_view name) const;
  void AddLocked(std::string_view name, Ref<TmpfsInode> inode);
  RefPtr<TmpfsInode> RemoveLocked(std::string_view name);

  // Offsets grow, so that a reader who has stopped somewhere goes on behind it whatever has changed.
  std::map<uint64_t, Entry> entries_;
  absl::flat_hash_map<std::string_view, uint64_t> offsets_;  // keys point into entries_
  uint64_t next_offset_ = 2;
};

}  // namespace rampart::fs
