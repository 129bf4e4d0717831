// Node: one file of the exported tree, held by an O_PATH descriptor, and every operation on files that the protocol needs.
//
// The descriptor follows the file through renames. No operation follows a symbolic link or leaves the directory it is given: names are
// single components, checked by IsValidName, resolved by openat2 beneath a directory's descriptor or by *at calls that do not follow.
// Thread safety: all functions may be called from any thread. Ownership: reference counted; a node keeps its parent.
// Errors: the host's errno; EROFS for changes through a read-only attach point; ENFILE when the server keeps too many files.
// Locks: Node::mutex_ only (leaf).
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/ref.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "gofer/protocol/types.h"
#include "gofer/server/config.h"

namespace rampart::gofer {

// What all sessions of the process share.
struct Host {
  UniqueFd proc_self_fd;
  uint32_t uid = 0;  // of this process: who owns what it creates
  int64_t max_files = 0;
  std::atomic<int64_t> files{0};
};

// A permit to keep one host descriptor for a client.
class FilePermit {
 public:
  static Result<FilePermit> Take(Host& host);  // ENFILE
  FilePermit() = default;
  FilePermit(FilePermit&& other) noexcept : host_(std::exchange(other.host_, nullptr)) {}
  FilePermit& operator=(FilePermit&& other) noexcept {
    std::swap(host_, other.host_);
    return *this;
  }
  ~FilePermit() {
    if (host_ != nullptr) host_->files.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  explicit FilePermit(Host* host) : host_(host) {}
  Host* host_ = nullptr;
};

class Node final : public RefCounted {
 public:
  struct Found;

  static Result<Found> Root(Host& host, const AttachPoint& attach);
  // The child `name` of this directory. ENOENT, ENOTDIR; EINVAL for what is not a valid name.
  Result<Found> Child(std::string_view name);
  // The file that `path_fd` (O_PATH) holds, which has no name.
  static Result<Found> Unnamed(Node& directory, UniqueFd path_fd);
  // The directory above; the attach point's root is above itself.
  Ref<Node> Parent();

  Result<FileAttr> Stat() const;
  // A new descriptor on the file itself. Regular files and directories only: ELOOP for symbolic links, ENXIO for the others.
  // flags: access mode, O_TRUNC, O_APPEND, O_DIRECT, O_SYNC, O_DSYNC, O_NOATIME are heeded.
  Result<UniqueFd> Open(uint32_t flags);
  // Opens the child `name` without making a node of it: a regular file, with `flags`' access mode. ENXIO for what is none; never follows a link.
  struct Opened {
    UniqueFd fd;
    FileAttr attr;
  };
  // `seen`: its attributes, if they were just looked at.
  Result<Opened> OpenChild(std::string_view name, uint32_t flags, const FileAttr* seen = nullptr);
  Result<std::string> ReadLink() const;
  // Changes what `set.valid` names, in the order size, owner, mode, times.
  Result<void> SetAttributes(const SetAttr& set);

  bool is_dir() const { return type_ == kTypeDir; }
  bool is_symlink() const { return type_ == kTypeLink; }
  bool is_regular() const { return type_ == kTypeRegular; }
  bool is_socket() const { return type_ == kTypeSocket; }
  int fd() const { return fd_.get(); }
  Host& host() const { return host_; }
  const AttachPoint& attach() const { return attach_; }
  // EROFS when nothing may be changed here.
  Result<void> CheckWritable() const;

  // For Trename and Tremove, which name a file by fid: the directory and name where it was found last, if it is still there; ESTALE.
  struct Place {
    Ref<Node> directory;
    std::string name;
  };
  Result<Place> CurrentPlace();
  void MovedTo(const Ref<Node>& directory, std::string_view name);

 private:
  static constexpr uint32_t kTypeDir = 0040000, kTypeLink = 0120000, kTypeRegular = 0100000, kTypeSocket = 0140000;

  Node(Host& host, const AttachPoint& attach, UniqueFd fd, FilePermit permit, const FileAttr& attr, RefPtr<Node> parent, std::string_view name);
  static Result<Found> Make(Host& host, const AttachPoint& attach, UniqueFd fd, FilePermit permit, RefPtr<Node> parent, std::string_view name);
  bool IsSameFile(const FileAttr& attr) const;
  Result<void> SetSize(uint64_t size);
  Result<void> SetMode(uint32_t mode);
  Result<void> SetTimes(const SetAttr& set);

  Host& host_;
  const AttachPoint& attach_;
  const UniqueFd fd_;
  const FilePermit permit_;
  const uint32_t type_;
  const uint32_t dev_major_, dev_minor_;
  const uint64_t ino_;
  absl::Mutex mutex_;
  RefPtr<Node> parent_ ABSL_GUARDED_BY(mutex_);  // null: the attach point's root
  std::string name_ ABSL_GUARDED_BY(mutex_);

  friend struct NodeFactory;
};

struct Node::Found {
  Ref<Node> node;
  FileAttr attr;
};

// Who shall own a new file.
struct Owner {
  static constexpr uint32_t kKeep = 0xffffffff;
  uint32_t uid = kKeep;
  uint32_t gid = kKeep;
};

// New files in directory `dir`; each is EEXIST when the name is taken. If the owner cannot be set the file is removed again.
struct Created {
  Node::Found found;
  UniqueFd file;  // regular files: opened as asked
};
Result<Created> CreateFile(Node& dir, std::string_view name, uint32_t flags, uint32_t mode, Owner owner);
// A regular file without a name, in dir's filesystem. EOPNOTSUPP.
Result<Created> CreateUnnamedFile(Node& dir, uint32_t flags, uint32_t mode, Owner owner);
Result<Node::Found> MakeDirectory(Node& dir, std::string_view name, uint32_t mode, Owner owner);
Result<Node::Found> MakeSymlink(Node& dir, std::string_view name, std::string_view target, Owner owner);
// Regular files, FIFOs and sockets; devices when the attach point allows them (EPERM).
Result<Node::Found> MakeNode(Node& dir, std::string_view name, uint32_t mode, uint32_t major, uint32_t minor, Owner owner);

Result<void> MakeLink(Node& dir, std::string_view name, Node& file);
// flags: RENAME_NOREPLACE or RENAME_EXCHANGE.
Result<void> Rename(Node& old_dir, std::string_view old_name, Node& new_dir, std::string_view new_name, uint32_t flags);
Result<void> Unlink(Node& dir, std::string_view name, bool directory);

// Extended attributes of regular files and directories; the others have none. Names outside
// "user." can be read but not changed (EPERM); access control lists ("system.") are EOPNOTSUPP.
Result<std::string> GetXattr(Node& node, std::string_view name);
Result<void> SetXattr(Node& node, std::string_view name, Bytes value, uint32_t flags);
Result<std::string> ListXattr(Node& node);
Result<void> RemoveXattr(Node& node, std::string_view name);

// The host's view of `name` in the directory `dirfd`, not following it; of `dirfd` itself for "".
Result<FileAttr> StatAt(int dirfd, const char* name);
// The text of the symbolic link `name` in `dirfd`; of the link that `dirfd` is for "".
Result<std::string> ReadLinkAt(int dirfd, const char* name);
Qid QidOf(const FileAttr& attr);

}  // namespace rampart::gofer
