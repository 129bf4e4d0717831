// Fid: what a client's number stands for: a node, and perhaps a file or directory opened on it, or an extended attribute being moved.
// FidTable: the numbers of one session.
//
// Thread safety: all functions may be called from any thread; a Fid's open state is used under its mutex.
// Locks: FidTable::mutex_ and Fid::mutex are leaves apart from each other: neither is taken under the other. Host calls are made under
// Fid::mutex where a position must not move (directories, attributes); they concern that fid alone.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "gofer/server/node.h"

namespace rampart::gofer {

// An extended attribute on its way: 9P moves values through a fid of its own.
struct XattrTransfer {
  enum class Kind { kNone, kRead, kWrite };
  Kind kind = Kind::kNone;
  std::string name;
  std::string value;    // kRead: all of it; kWrite: what has come so far
  uint64_t expected = 0;  // kWrite: the size promised
  uint32_t flags = 0;
};

// A file opened by a client for Tread, Twrite and Treaddir. Shared, so that a read under way keeps it alive without the fid's mutex.
class OpenFile final : public RefCounted {
 public:
  OpenFile(UniqueFd fd, uint32_t flags, FilePermit permit) : fd_(std::move(fd)), flags_(flags), permit_(std::move(permit)) {}
  int fd() const { return fd_.get(); }
  uint32_t flags() const { return flags_; }

 private:
  const UniqueFd fd_;
  const uint32_t flags_;
  const FilePermit permit_;
};

struct Fid final : public RefCounted {
  Fid(Ref<Node> n, uint32_t attach_uid) : node(std::move(n)), uid(attach_uid) {}

  const Ref<Node> node;
  const uint32_t uid;  // on whose behalf it was attached; Owner::kKeep: nobody's

  absl::Mutex mutex;
  RefPtr<OpenFile> file ABSL_GUARDED_BY(mutex);
  uint64_t dir_position ABSL_GUARDED_BY(mutex) = 0;
  XattrTransfer xattr ABSL_GUARDED_BY(mutex);

  // EBADF when it is not open.
  Result<Ref<OpenFile>> Opened();
};

class FidTable {
 public:
  explicit FidTable(size_t limit) : limit_(limit) {}
  // EBADF.
  Result<Ref<Fid>> Find(FidNum number) const;
  // EBADF when the number is in use or is kNoFid; EMFILE when there are too many.
  Result<void> Insert(FidNum number, Ref<Fid> fid);
  // As Insert, but takes the place of what the number stood for.
  Result<void> Replace(FidNum number, Ref<Fid> fid);
  // Null when there was none.
  RefPtr<Fid> Remove(FidNum number);
  void Clear();
  size_t size() const;

 private:
  const size_t limit_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<FidNum, Ref<Fid>> fids_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rampart::gofer
