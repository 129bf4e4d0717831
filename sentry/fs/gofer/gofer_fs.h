// GoferFilesystem: the files that a Gofer serves, as a filesystem of the Sentry (type "9p").
//
// Model. An inode stands for one host file, known by a fid; the first open of a regular file brings a host descriptor over, and from
// then on reads, writes, truncation and mappings are host calls on that descriptor, without the Gofer. With exclusive access
// (nobody else changes the tree) names, attributes, directory listings and links' texts are believed once known; with shared access names are
// asked for again on each use, and attributes when they are older than kSharedFreshness.
// Host calls of this directory: sendmsg, recvmsg (the channel); fstat, preadv, pwrite, pwritev, ftruncate, fallocate, fsync, fdatasync, lseek, mmap,
// munmap, close (donated descriptors).
//
// Trust: the Gofer is believed about contents, and about nothing that could hurt the Sentry: replies are decoded with bounds, attributes and
// names checked, descriptors must be the regular file that was asked for.
// Thread safety: any thread. Lock order: no lock of this directory is held during a call to the Gofer but GoferInode::mode_mutex_, which comes
// first; locks are leaves, except that one and GoferInode::size_mutex_ (held during host calls on a donated descriptor), under which attr_mutex_ is taken.
#pragma once

#include <list>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "base/unique_fd.h"
#include "gofer/protocol/client.h"
#include "sentry/vfs/inode.h"

namespace rampart::fs {

class GoferInode;
class HostBacking;

// A session with a Gofer, shared by the filesystems that attach through it.
class GoferConnection final : public RefCounted {
 public:
  // EPROTONOSUPPORT when the peer is no Gofer of ours.
  static Result<Ref<GoferConnection>> Create(UniqueFd socket, gofer::SocketKind kind = gofer::SocketKind::kSeqPacket);
  gofer::Client& client() { return *client_; }

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  explicit GoferConnection(std::unique_ptr<gofer::Client> client) : client_(std::move(client)) {}
  const std::unique_ptr<gofer::Client> client_;
};

struct GoferMountOptions {
  std::string attach;     // name of the attach point
  bool exclusive = true;  // nobody but this sandbox changes the tree
};

class GoferFilesystem final : public vfs::Filesystem {
 public:
  // Attaches. Errors: ENOENT (no such attach point), EIO.
  static Result<Ref<GoferFilesystem>> Create(Ref<GoferConnection> connection, const GoferMountOptions& options);
  ~GoferFilesystem() override;

  Ref<vfs::Inode> root() override;
  Result<vfs::FsStats> StatFs(const Caller& caller) override;
  Result<void> Sync() override;
  std::string Options() const override;
  std::string Source() const override { return "none"; }

  // --- for the inodes
  gofer::Client& client() const { return connection_->client(); }
  bool exclusive() const { return exclusive_; }
  bool writable() const { return (attach_flags_ & gofer::kAttachReadOnly) == 0; }
  bool host_sockets() const { return (attach_flags_ & gofer::kAttachHostSockets) != 0; }

  // The inode of a host file; one object for all its names. Takes over `fid` (kNoFid: not known yet; `parent` and `name` tell where to
  // ask for it). EIO for attributes that cannot be.
  Result<Ref<GoferInode>> InodeFor(const gofer::FileAttr& attr, gofer::FidNum fid, GoferInode* parent, std::string_view name);
  // The dying inode leaves the table.
  void Forget(GoferInode& inode);

  // Counts changes of names, so that answers which raced with one are not kept: a reading begun with Changes() is to be kept only if
  // NoChangeSince says so.
  void BeginChange() { changing_.fetch_add(1); }
  void EndChange() {
    changes_.fetch_add(1);
    changing_.fetch_sub(1);
  }
  uint64_t Changes() const { return changes_.load(); }
  bool NoChangeSince(uint64_t changes) const { return changing_.load() == 0 && changes_.load() == changes; }

  // The last description on `inode` was closed: its host descriptors are kept for the next open, as long as not too many others come after.
  void AddIdle(GoferInode& inode);

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  GoferFilesystem(Ref<GoferConnection> connection, bool exclusive, gofer::FidNum root_fid, const gofer::FileAttr& root, uint32_t flags);

  // The device number that the sandbox sees for a host device.
  uint64_t DeviceFor(uint32_t major, uint32_t minor) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  struct Key {
    uint64_t device;
    uint64_t ino;
    bool operator==(const Key&) const = default;
    template <class H>
    friend H AbslHashValue(H h, const Key& key) {
      return H::combine(std::move(h), key.device, key.ino);
    }
  };
  static Key KeyOf(const gofer::FileAttr& attr);

  const Ref<GoferConnection> connection_;
  const bool exclusive_;
  const uint32_t attach_flags_;
  const gofer::FidNum root_fid_;  // never an inode's own: the root inode may come and go
  const gofer::FileAttr root_attr_;
  std::atomic<uint64_t> changes_{0};
  std::atomic<int64_t> changing_{0};

  absl::Mutex mutex_;
  absl::flat_hash_map<Key, GoferInode*> inodes_ ABSL_GUARDED_BY(mutex_);          // weak
  absl::flat_hash_map<uint64_t, uint64_t> devices_ ABSL_GUARDED_BY(mutex_);       // host device → ours
  absl::Mutex idle_mutex_;
  std::list<GoferInode*> idle_ ABSL_GUARDED_BY(idle_mutex_);                      // weak; oldest first

  friend class GoferInode;
};

// How old attributes of a shared filesystem may be: a system call that walks and then stats asks the Gofer once.
inline constexpr Nanos kSharedFreshness = kNanosPerMilli;

}  // namespace rampart::fs
