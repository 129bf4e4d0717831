// GoferInode: one host file as the sandbox sees it. See gofer_fs.h for the model and the lock order.
#pragma once

#include <atomic>
#include <list>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/fs/gofer/gofer_fs.h"
#include "sentry/fs/gofer/host_backing.h"
#include "sentry/fs/gofer/listing.h"
#include "sentry/mm/punchable.h"
#include "sentry/vfs/file_support.h"
#include "sentry/vfs/inode.h"

namespace rampart::fs {

class GoferInode final : public vfs::Inode, public mm::Mappable, public mm::Punchable {
 public:
  ~GoferInode() override;

  uint64_t device() const override { return device_; }

  // --- vfs::Inode: every object (gofer_inode.cc)
  Result<vfs::Attr> GetAttr(const Caller& caller) override;
  Result<void> SetAttr(const Caller& caller, const vfs::AttrChange& change) override;
  Result<std::string> GetXattr(const Caller& caller, std::string_view name) override;
  Result<void> SetXattr(const Caller& caller, std::string_view name, std::string_view value, uint32_t flags) override;
  Result<std::vector<std::string>> ListXattr(const Caller& caller) override;
  Result<void> RemoveXattr(const Caller& caller, std::string_view name) override;
  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override;
  Result<std::string> ReadLink(const Caller& caller) override;

  // --- vfs::Inode: directories (gofer_directory.cc)
  vfs::CachePolicy cache_policy() const override;
  Result<RefPtr<Inode>> Lookup(const Caller& caller, std::string_view name, std::string_view rest) override;
  Result<bool> Revalidate(const Caller& caller, std::string_view name, Inode* child) override;
  Result<Ref<Inode>> Create(const Caller& caller, std::string_view name, const vfs::CreateArgs& args) override;
  Result<Ref<Inode>> CreateUnnamed(const Caller& caller, const vfs::CreateArgs& args) override;
  Result<void> Link(const Caller& caller, std::string_view name, Inode& target) override;
  Result<void> Unlink(const Caller& caller, std::string_view name, Inode& victim) override;
  Result<void> RemoveDirectory(const Caller& caller, std::string_view name, Inode& victim) override;
  Result<void> Rename(const Caller& caller, std::string_view old_name, Inode& source, Inode& new_directory, std::string_view new_name,
                      Inode* replaced, uint32_t flags) override;

  // --- mm::Mappable (gofer_mapping.cc)
  Result<mm::Translation> Translate(mm::FileRange required, mm::FileRange optional, bool write) override;
  Result<void> AddMapping(mm::MappingSpace& space, mm::FileRange range, bool shared, bool writable) override;
  void RemoveMapping(mm::MappingSpace& space, mm::FileRange range, bool shared, bool writable) override;
  Result<void> Msync(mm::FileRange range) override;
  Result<void> PunchPages(mm::FileRange range) override;

  // --- for descriptions
  GoferFilesystem& gofer_fs() const { return gofer_fs_; }
  // The fid, asked for now if the inode came from a directory listing. ENOENT, ESTALE when the name no longer leads here.
  Result<gofer::FidNum> EnsureFid();
  // A host descriptor with at least these rights, opened by the Gofer if there is none yet. REQUIRES: a regular file.
  Result<Ref<HostBacking>> EnsureBacking(bool read, bool write);
  void DescriptionOpened() { descriptions_.fetch_add(1); }
  void DescriptionClosed();
  // Closes host descriptors that no description uses.
  void DropIdleBackings();

  // Moves bytes through `backing`. Write: `offset` nothing appends; returns where the write began in *began.
  Result<size_t> WriteAt(HostBacking& backing, std::span<const iovec> segments, std::optional<uint64_t> offset, uint64_t limit, uint64_t* began);
  Result<void> Allocate(HostBacking& backing, uint32_t mode, uint64_t offset, uint64_t length);
  Result<uint64_t> Size(const Caller& caller);
  // The host takes set-id bits with every change of contents, since neither the Sentry nor the Gofer has CAP_FSETID there. Around such a change:
  // Begin before it, and Settle after it gives the host back those that stay for `caller`. Cheap for files that never had any.
  class SetIdKept {
   public:
    explicit SetIdKept(GoferInode& inode) : inode_(inode) { inode_.changing_.fetch_add(1); }
    ~SetIdKept() { inode_.changing_.fetch_sub(1); }
    SetIdKept(const SetIdKept&) = delete;
    SetIdKept& operator=(const SetIdKept&) = delete;
    Result<void> Settle(const Caller& caller) { return inode_.had_set_id_.load() ? inode_.GiveBackSetId(caller) : Result<void>(Ok()); }

   private:
    GoferInode& inode_;
  };
  // A mapping is an access.
  void TouchAccess(const vfs::FileDescription& file, const HostBacking& backing);
  // What the directory holds now, perhaps without attributes.
  Result<Ref<Listing>> CurrentListing();
  Result<void> SyncThroughGofer(gofer::SyncKind kind);

  bool IsSameFile(const gofer::FileAttr& attr) const;

 private:
  friend class GoferFilesystem;
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  GoferInode(Ref<GoferFilesystem> fs, uint64_t device, const gofer::FileAttr& attr, gofer::FidNum fid, GoferInode* parent, std::string_view name);

  gofer::Client& client() const { return gofer_fs_.client(); }
  // `from`, with what it does not tell taken from what is known.
  vfs::Attr Complete(const gofer::FileAttr& from) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(attr_mutex_);
  Result<void> ChangeOnHost(const vfs::AttrChange& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mode_mutex_) ABSL_LOCKS_EXCLUDED(attr_mutex_);
  Result<void> GiveBackSetId(const Caller& caller) ABSL_LOCKS_EXCLUDED(mode_mutex_, attr_mutex_);
  // Takes over the owner, and the mode if it was changed, from what the Gofer says, whatever else has changed meanwhile.
  void Adopt(const gofer::FileAttr& attr, bool mode) ABSL_LOCKS_EXCLUDED(attr_mutex_);
  // What the Gofer or the host said: kept if nothing changed since `generation` was read. Returns it complete.
  vfs::Attr StoreAttr(const gofer::FileAttr& attr, uint64_t generation) ABSL_LOCKS_EXCLUDED(attr_mutex_);
  uint64_t AttrGeneration() ABSL_LOCKS_EXCLUDED(attr_mutex_);
  void MarkStale() ABSL_LOCKS_EXCLUDED(attr_mutex_);
  void GrowTo(uint64_t size) ABSL_LOCKS_EXCLUDED(attr_mutex_);
  Result<gofer::FileAttr> Fetch();
  // Whether the owner that we remember is still that of what fstat has just told.
  bool KnowsOwner(const gofer::FileAttr& now) const ABSL_SHARED_LOCKS_REQUIRED(attr_mutex_);
  Result<void> SetSize(uint64_t size);
  RefPtr<HostBacking> FindBacking(bool read, bool write) ABSL_LOCKS_EXCLUDED(backing_mutex_);
  Result<Ref<HostBacking>> AdoptDonated(UniqueFd fd, bool read, bool write);
  // Another fid of the same file turned up.
  void OfferFid(gofer::FidNum fid);
  void MovedTo(GoferInode& directory, std::string_view name);
  void NameRemoved();

  struct Walked;
  Result<Walked> Walk(std::string_view name, std::string_view rest);
  void KeepWalked(Walked& walked, uint64_t changes);
  Result<Ref<Listing>> ReadListing(bool with_attributes);
  void PrepareRemoval();
  Result<UniqueFd> OpenOnHost(uint32_t flags);
  bool TakePrefetched(std::string_view name, RefPtr<Inode>& found);
  bool FromListing(std::string_view name, Result<RefPtr<Inode>>& found);
  // After a name in this directory changed.
  void NamesChanged();
  Result<Ref<Inode>> CreateRegular(std::string_view name, const vfs::CreateArgs& args);
  Result<Ref<Inode>> CreateOther(std::string_view name, const vfs::CreateArgs& args);

  GoferFilesystem& gofer_fs_;  // kept alive by Inode
  const uint64_t device_;
  const uint64_t host_device_;
  std::atomic<gofer::FidNum> fid_;
  std::atomic<int> descriptions_{0};

  // One change of the mode or the owner at a time, until the Gofer has answered: else a mode that is given back could undo one that is being set.
  absl::Mutex mode_mutex_ ABSL_ACQUIRED_BEFORE(attr_mutex_);

  absl::Mutex attr_mutex_;
  vfs::Attr attr_ ABSL_GUARDED_BY(attr_mutex_);
  bool attr_valid_ ABSL_GUARDED_BY(attr_mutex_) = true;
  uint32_t set_id_ ABSL_GUARDED_BY(attr_mutex_);           // the bits as the application has left them: the host may have lost them for a moment
  std::atomic<bool> had_set_id_;                           // whether set_id_ has ever been anything, or is about to be
  std::atomic<int> changing_{0};                           // changes that may cost the host's file its bits and are not settled
  Nanos touched_ ABSL_GUARDED_BY(attr_mutex_) = 0;         // when TouchAccess last asked the host
  uint64_t attr_generation_ ABSL_GUARDED_BY(attr_mutex_) = 0;
  Nanos attr_time_ ABSL_GUARDED_BY(attr_mutex_) = 0;       // shared access: when it was fetched (monotonic)
  std::optional<std::string> target_ ABSL_GUARDED_BY(attr_mutex_);
  RefPtr<GoferInode> origin_ ABSL_GUARDED_BY(attr_mutex_);  // without a fid: the directory to find it in, by this name
  std::string origin_name_ ABSL_GUARDED_BY(attr_mutex_);

  // Held for reading during a write to the host file, for writing during a truncation or an append: the size known here and the
  // host's move together.
  absl::Mutex size_mutex_ ABSL_ACQUIRED_BEFORE(attr_mutex_);

  absl::Mutex backing_mutex_;
  RefPtr<HostBacking> read_only_ ABSL_GUARDED_BY(backing_mutex_);
  RefPtr<HostBacking> writable_ ABSL_GUARDED_BY(backing_mutex_);

  // Directories.
  struct Prefetched {
    std::string name;
    RefPtr<GoferInode> inode;  // null: there is no such name
    Nanos when = 0;
  };
  absl::Mutex dir_mutex_;
  std::optional<Prefetched> prefetched_ ABSL_GUARDED_BY(dir_mutex_);
  RefPtr<Listing> listing_ ABSL_GUARDED_BY(dir_mutex_);
  std::atomic<int> listed_lookups_{0};  // of names that a listing without attributes knew
  uint64_t dir_generation_ ABSL_GUARDED_BY(dir_mutex_) = 0;

  vfs::MappingList mappings_;

  // Guarded by GoferFilesystem::idle_mutex_.
  std::list<GoferInode*>::iterator idle_position_;
  bool idle_ = false;
};

}  // namespace rampart::fs
