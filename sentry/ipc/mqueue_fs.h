// The mqueue filesystem: queues by name, as mq_open(3) and `mount -t mqueue` show them. A namespace has one; every mount of it shows the same.
//
// Queues are made and removed under the directory's lock; the VFS asks anew about each name (kRevalidate), because mq_open makes queues beside it.
// Thread safety: any thread. Lock order: MqDirectory::mu_ → MqAccounts::mu_.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "sentry/ipc/mqueue.h"
#include "sentry/vfs/operations.h"

namespace rampart::ipc {

class MqFilesystem;

// Attributes that chmod, chown and utimes change.
class MqInodeBase : public vfs::Inode {
 public:
  MqInodeBase(Ref<vfs::Filesystem> fs, vfs::FileType type, uint32_t permissions, abi::Uid uid, abi::Gid gid);
  Result<vfs::Attr> GetAttr(const Caller& caller) override;
  Result<void> SetAttr(const Caller& caller, const vfs::AttrChange& change) override;
  void TouchAccess();          // atime and ctime
  void TouchAll();             // all three

 protected:
  virtual uint64_t Size() const = 0;
  virtual uint64_t Links() const = 0;

 private:
  mutable absl::Mutex attr_mu_;
  vfs::Attr attr_ ABSL_GUARDED_BY(attr_mu_);
};

class MqInode final : public MqInodeBase {
 public:
  MqInode(Ref<vfs::Filesystem> fs, Ref<MqAccounts> accounts, MqQueue::Shape shape, const vfs::CreateArgs& args, abi::Uid user);
  ~MqInode() override;
  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override;
  MqQueue& queue() { return queue_; }
  void Unlinked() { linked_.store(false, std::memory_order_relaxed); }

 protected:
  uint64_t Size() const override { return 80; }  // FILENT_SIZE
  uint64_t Links() const override { return linked_.load(std::memory_order_relaxed) ? 1 : 0; }

 private:
  const Ref<MqAccounts> accounts_;
  const abi::Uid user_;  // who is charged
  std::atomic<bool> linked_{true};
  MqQueue queue_;
};

// An open queue: what a message queue descriptor is.
class MqDescription final : public vfs::FileDescription {
 public:
  MqDescription(vfs::Path path, uint32_t flags, Ref<MqInode> inode) : FileDescription(std::move(path), flags), inode_(std::move(inode)) {}
  MqInode& mq() const { return *inode_; }
  bool has_write() const override { return false; }
  bool pollable() const override { return true; }
  Result<size_t> PRead(Caller& caller, mm::IoDst& dst, uint64_t offset, uint32_t flags) override;
  wait::EventMask Readiness(wait::EventMask mask) override { return inode_->queue().Readiness() & mask; }
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override { inode_->queue().events().Register(entry, mask); }
  void EventUnregister(wait::WaitEntry& entry) override { inode_->queue().events().Unregister(entry); }
  Result<void> Sync(bool) override { return Errno::kEINVAL; }
  // A process that closes any of its descriptors of the queue loses its registration.
  Result<void> OnClose(Caller& caller) override;

 private:
  const Ref<MqInode> inode_;
};

class MqDirectory final : public MqInodeBase {
 public:
  MqDirectory(Ref<MqFilesystem> fs, Ref<MqAccounts> accounts);
  // A new queue; `asked`: mq_open's attributes, or null. EEXIST, EINVAL, EMFILE, ENOSPC.
  Result<Ref<MqInode>> Make(const Caller& caller, std::string_view name, const vfs::CreateArgs& args, const abi::MqAttr* asked);

  vfs::CachePolicy cache_policy() const override { return vfs::CachePolicy::kRevalidate; }
  Result<bool> Revalidate(const Caller& caller, std::string_view name, vfs::Inode* child) override;
  Result<RefPtr<vfs::Inode>> Lookup(const Caller& caller, std::string_view name, std::string_view rest) override;
  Result<Ref<vfs::Inode>> Create(const Caller& caller, std::string_view name, const vfs::CreateArgs& args) override;
  Result<void> Unlink(const Caller& caller, std::string_view name, vfs::Inode& victim) override;
  Result<void> Link(const Caller&, std::string_view, vfs::Inode&) override { return Errno::kEPERM; }
  Result<void> Rename(const Caller&, std::string_view, vfs::Inode&, vfs::Inode&, std::string_view, vfs::Inode*, uint32_t) override {
    return Errno::kEPERM;
  }
  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override;
  // Entries with a place >= position, which it moves.
  void Emit(vfs::DirentSink& sink, uint64_t& position);

 protected:
  uint64_t Size() const override;
  uint64_t Links() const override { return 2; }

 private:
  struct Entry {
    std::string name;
    Ref<MqInode> inode;
  };
  MqInode* FindLocked(std::string_view name) const ABSL_SHARED_LOCKS_REQUIRED(mu_);

  const Ref<MqAccounts> accounts_;
  mutable absl::Mutex mu_;
  std::map<uint64_t, Entry> entries_ ABSL_GUARDED_BY(mu_);  // by place: readers go on where they stopped
  absl::flat_hash_map<std::string_view, uint64_t> places_ ABSL_GUARDED_BY(mu_);  // keys point into entries_
  uint64_t next_place_ ABSL_GUARDED_BY(mu_) = 2;
};

class MqFilesystem final : public vfs::Filesystem {
 public:
  MqFilesystem() : Filesystem("mqueue") {}
  // Once, after construction; whoever has the root keeps the filesystem's content alive (the namespace's own mount).
  Ref<vfs::Inode> MakeRoot(Ref<MqAccounts> accounts);
  Ref<vfs::Inode> root() override;
  Result<vfs::FsStats> StatFs(const Caller& caller) override;

 private:
  absl::Mutex root_mu_;
  vfs::Inode* weak_root_ ABSL_GUARDED_BY(root_mu_) = nullptr;
};

// mq_open(2): `root` is the filesystem's root. ENOENT, EEXIST, EACCES, EINVAL, ENAMETOOLONG, and Make's.
Result<Ref<vfs::FileDescription>> OpenQueue(Caller& caller, vfs::MountNamespace& mounts, const vfs::Path& root, std::string_view name,
                                            uint32_t flags, uint32_t mode, const abi::MqAttr* asked);
// mq_unlink(2). ENOENT, EACCES, EPERM.
Result<void> UnlinkQueue(Caller& caller, vfs::MountNamespace& mounts, const vfs::Path& root, std::string_view name);

}  // namespace rampart::ipc
