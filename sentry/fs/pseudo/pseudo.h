// The base of filesystems whose content is generated: directories of fixed or computed entries, files whose text is made when read,
// symbolic links. proc and sysfs are made of these.
//
// Model: Linux's kernfs and seq_file. A file's text is made when a description is read from offset 0 and kept for that description, so that a
// reader in small pieces sees one consistent text. Sizes are 0 in stat, as Linux shows them.
// Thread safety: any thread; entries of a directory are fixed before it is published. Errors: as the generators return.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/vfs/file_description.h"
#include "sentry/vfs/inode.h"

namespace rampart::fs::pseudo {

// Attributes that do not change by themselves; chmod and chown of pseudo files are refused with EPERM as on Linux's proc.
class PseudoInode : public vfs::Inode {
 public:
  PseudoInode(Ref<vfs::Filesystem> fs, vfs::FileType type, uint32_t permissions, uint64_t ino = vfs::NextInodeNumber());
  Result<vfs::Attr> GetAttr(const Caller& caller) override;
  // Links take owner and times, without effect; the rest nothing.
  Result<void> SetAttr(const Caller& caller, const vfs::AttrChange& change) override;

 protected:
  // Who owns it now (a process's directory follows its credentials). Default root.
  virtual std::pair<abi::Uid, abi::Gid> Owner() const { return {0, 0}; }
  virtual uint64_t LinkCount() const { return 1; }
  virtual uint64_t Size() const { return 0; }

 private:
  const uint32_t permissions_;
  const Nanos created_;
};

struct PseudoEntry {
  std::string name;
  vfs::FileType type;
  uint64_t ino;
};

class PseudoDirectory : public PseudoInode {
 public:
  explicit PseudoDirectory(Ref<vfs::Filesystem> fs, uint32_t permissions = 0555, uint64_t ino = vfs::NextInodeNumber());
  // REQUIRES: not yet published; the name is new.
  void Add(std::string name, Ref<vfs::Inode> child);

  Result<RefPtr<vfs::Inode>> Lookup(const Caller& caller, std::string_view name, std::string_view rest) override;
  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override;

  // Everything it holds now: fixed entries in order, then the computed ones.
  Result<std::vector<PseudoEntry>> List(const Caller& caller);

 protected:
  // Computed entries. Null: no such name. A directory with any must override cache_policy() and Revalidate() if names can vanish.
  virtual Result<RefPtr<vfs::Inode>> FindComputed(const Caller& /*caller*/, std::string_view /*name*/) { return RefPtr<vfs::Inode>(nullptr); }
  virtual Result<void> ListComputed(const Caller& /*caller*/, std::vector<PseudoEntry>& /*out*/) { return Ok(); }
  uint64_t LinkCount() const override { return 2; }

 private:
  std::vector<std::pair<std::string, Ref<vfs::Inode>>> fixed_;  // immutable once published
};

class PseudoFile : public PseudoInode {
 public:
  PseudoFile(Ref<vfs::Filesystem> fs, uint32_t permissions, uint64_t ino = vfs::NextInodeNumber())
      : PseudoInode(std::move(fs), vfs::FileType::kRegular, permissions, ino) {}
  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override;
  // O_TRUNC and truncate(2) are accepted and mean nothing; other changes are refused.
  Result<void> SetAttr(const Caller& caller, const vfs::AttrChange& change) override;

  // The text now.
  virtual Result<std::string> Generate(Caller& caller) = 0;
  // What was written (at most a page). Default: EACCES… the mode bits normally prevent getting here.
  virtual Result<void> Store(Caller& /*caller*/, std::string_view /*text*/) { return Errno::kEINVAL; }
  virtual Result<uint64_t> Ioctl(Caller& /*caller*/, mm::UserMemory& /*memory*/, uint32_t /*command*/, uint64_t /*argument*/) { return Errno::kENOTTY; }
};

// A file whose text a function makes.
class FunctionFile final : public PseudoFile {
 public:
  using Generator = std::function<Result<std::string>(Caller&)>;
  using Storer = std::function<Result<void>(Caller&, std::string_view)>;
  FunctionFile(Ref<vfs::Filesystem> fs, uint32_t permissions, Generator generate, Storer store = nullptr)
      : PseudoFile(std::move(fs), permissions), generate_(std::move(generate)), store_(std::move(store)) {}
  Result<std::string> Generate(Caller& caller) override { return generate_(caller); }
  Result<void> Store(Caller& caller, std::string_view text) override {
    if (!store_) return Errno::kEINVAL;
    return store_(caller, text);
  }

 private:
  const Generator generate_;
  const Storer store_;
};

class PseudoSymlink : public PseudoInode {
 public:
  using Generator = std::function<Result<std::string>(const Caller&)>;
  PseudoSymlink(Ref<vfs::Filesystem> fs, Generator target, uint64_t ino = vfs::NextInodeNumber())
      : PseudoInode(std::move(fs), vfs::FileType::kSymlink, 0777, ino), target_(std::move(target)) {}
  Result<std::string> ReadLink(const Caller& caller) override { return target_(caller); }

 private:
  const Generator target_;
};

}  // namespace rampart::fs::pseudo
