// The objects of an overlay. Internal to sentry/fs/overlay.
#pragma once

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "sentry/fs/overlay/overlay.h"
#include "sentry/vfs/file_description.h"

namespace rampart::fs {

class OverlayInode;

class Overlay final : public vfs::Filesystem {
 public:
  Overlay(Ref<vfs::Filesystem> upper, Ref<vfs::Filesystem> lower);
  Ref<vfs::Inode> root() override;
  Result<vfs::FsStats> StatFs(const Caller& caller) override;
  Result<void> Sync() override { return upper_->Sync(); }

  // The number shown for an object: the lower one's for as long as it lives, also after it was copied up.
  uint64_t NumberOf(const vfs::Inode* upper, const vfs::Inode* lower) const;
  uint64_t NumberOfUpper(uint64_t upper_ino) const;
  // One object for all names of an upper file: enters `made`, unless there is one already, which is returned instead.
  Ref<OverlayInode> Unique(Ref<OverlayInode> made);
  void Enter(OverlayInode& inode, const vfs::Inode& upper);
  void Leave(const OverlayInode& inode, const vfs::Inode& upper);
  void RememberOrigin(const vfs::Inode& upper, const vfs::Inode& lower);
  // What an upper directory merges with (null: nothing); `known` false when it was never noted.
  RefPtr<vfs::Inode> LowerOf(const vfs::Inode& upper_directory, bool& known) const;
  void SetLowerOf(const vfs::Inode& upper_directory, RefPtr<vfs::Inode> lower);
  void Forget(const vfs::Inode& upper);

 private:
  const Ref<vfs::Filesystem> upper_;
  const Ref<vfs::Filesystem> lower_;
  const Ref<vfs::Inode> upper_root_;
  const Ref<vfs::Inode> lower_root_;
  mutable absl::Mutex mu_;
  absl::flat_hash_map<const vfs::Inode*, OverlayInode*> inodes_ ABSL_GUARDED_BY(mu_);  // by upper inode; weak
  absl::flat_hash_map<uint64_t, uint64_t> origins_ ABSL_GUARDED_BY(mu_);             // upper number → lower number
  absl::flat_hash_map<uint64_t, RefPtr<vfs::Inode>> merged_ ABSL_GUARDED_BY(mu_);    // upper directory's number → lower directory
};

class OverlayInode final : public vfs::Inode {
 public:
  // At least one of upper and lower. `parent` null: the root, or an unnamed file.
  OverlayInode(Ref<Overlay> fs, RefPtr<vfs::Inode> upper, RefPtr<vfs::Inode> lower, RefPtr<OverlayInode> parent, std::string name);
  ~OverlayInode() override;

  Result<vfs::Attr> GetAttr(const Caller& caller) override;
  Result<void> SetAttr(const Caller& caller, const vfs::AttrChange& change) override;
  Result<std::string> GetXattr(const Caller& caller, std::string_view name) override { return Real().GetXattr(caller, name); }
  Result<void> SetXattr(const Caller& caller, std::string_view name, std::string_view value, uint32_t flags) override;
  Result<std::vector<std::string>> ListXattr(const Caller& caller) override { return Real().ListXattr(caller); }
  Result<void> RemoveXattr(const Caller& caller, std::string_view name) override;
  Result<std::string> ReadLink(const Caller& caller) override { return Real().ReadLink(caller); }
  bool OpensItself() const override { return Real().OpensItself(); }
  std::optional<uint64_t> PagesInMemory(uint64_t first, uint64_t last) override { return Real().PagesInMemory(first, last); }
  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override;

  Result<RefPtr<vfs::Inode>> Lookup(const Caller& caller, std::string_view name, std::string_view rest) override;
  Result<Ref<vfs::Inode>> Create(const Caller& caller, std::string_view name, const vfs::CreateArgs& args) override;
  Result<Ref<vfs::Inode>> CreateUnnamed(const Caller& caller, const vfs::CreateArgs& args) override;
  Result<void> Link(const Caller& caller, std::string_view name, vfs::Inode& target) override;
  Result<void> Unlink(const Caller& caller, std::string_view name, vfs::Inode& victim) override;
  Result<void> RemoveDirectory(const Caller& caller, std::string_view name, vfs::Inode& victim) override;
  Result<void> Rename(const Caller& caller, std::string_view old_name, vfs::Inode& source, vfs::Inode& new_directory, std::string_view new_name,
                      vfs::Inode* replaced, uint32_t flags) override;

  struct Entry {
    std::string name;
    uint64_t ino;
    vfs::FileType type;
  };
  // The merged directory, without "." and "..".
  Result<std::vector<Entry>> List(const Caller& caller);

 private:
  friend class Overlay;
  enum class Data : uint8_t { kCopy, kSkip };
  vfs::Inode* upper() const { return upper_.load(std::memory_order_acquire); }
  vfs::Inode& Real() const { return upper() != nullptr ? *upper() : *lower_; }
  Overlay& overlay() const { return overlay_; }
  // Makes sure that there is an upper object, and returns it.
  Result<vfs::Inode*> CopyUp(const Caller& caller, Data data = Data::kCopy);
  Result<Ref<vfs::Inode>> MakeCopy(const Caller& caller, vfs::Inode& upper_parent, const std::string& name, Data data);
  // The lower object that a name here would show if nothing were above.
  Result<RefPtr<vfs::Inode>> LowerChild(const Caller& caller, std::string_view name);
  Result<void> HideLower(const Caller& caller, vfs::Inode& upper_directory, std::string_view name);
  // Whether the lower directory has `name`. Asked often, it reads the lower directory once, which then answers without its server.
  Result<bool> LowerHas(const Caller& caller, std::string_view name);
  // Removes a whiteout at `name` if there is one; whether there was.
  Result<bool> ClearWhiteout(const Caller& caller, vfs::Inode& upper_directory, std::string_view name);
  Result<void> EmptyUpper(const Caller& caller);
  void OnLastRef() override;

  Overlay& overlay_;
  std::atomic<vfs::Inode*> upper_;   // set once, owns a reference
  const RefPtr<vfs::Inode> lower_;
  std::atomic<int> lower_questions_{0};
  absl::Mutex copy_mu_;
  absl::Mutex place_mu_;             // a leaf
  RefPtr<OverlayInode> parent_ ABSL_GUARDED_BY(place_mu_);
  std::string name_ ABSL_GUARDED_BY(place_mu_);
};

}  // namespace rampart::fs
