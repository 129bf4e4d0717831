// MountTree: what the operations on mounts are made of: hanging, copying, propagating. Internal to sentry/vfs.
//
// Model. PeerGroup is a group of shared mounts that receive each other's events; a group's slaves are whole groups, or single mounts that are not
// shared. When the last member leaves a group its slaves become its master's. Every function here works under the mount lock.
// Thread safety: under MountTree::mu(). What is let go of is put into a Drop, which is declared before the lock and so ends after it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/vfs/mount.h"

namespace rampart::vfs {

// References whose end must wait for the end of the lock.
struct Drop {
  std::vector<RefPtr<Mount>> mounts;
  std::vector<RefPtr<Dentry>> dentries;
};

class PeerGroup final : public RefCounted {
 public:
  PeerGroup();
  ~PeerGroup() override;
  int id() const { return id_; }
  bool Has(const Mount& mount) const { return mount.peers_.get() == this; }

 private:
  friend class MountTree;
  const int id_;
  std::vector<Mount*> members;
  RefPtr<PeerGroup> master;
  std::vector<Mount*> slave_mounts;      // that are not shared themselves
  std::vector<PeerGroup*> slave_groups;
};

class MountTree {
 public:
  static absl::Mutex& mu();
  static constexpr size_t kMaxMounts = 100'000;  // of a namespace: sysctl fs.mount-max

  // --- shape
  static Mount* ChildOn(const Mount& mount, const Dentry& dentry);
  static std::vector<Mount*> ChildrenOf(const Mount& mount);       // in order of mounting
  static std::vector<Mount*> Subtree(Mount& top);                  // parents before children
  static bool IsAncestor(const Mount& ancestor, const Mount& mount);
  static void Hang(Ref<Mount> mount, Mount& parent, const Ref<Dentry>& dentry);
  static void Unhang(Mount& mount, Drop& drop);
  // The namespace of a whole subtree.
  static void SetNamespace(Mount& top, MountNamespace* ns);
  static bool InSight(const Mount& mount, const Dentry& dentry);   // whether the mount shows the dentry
  static bool IsReachable(const Mount& mount, const Dentry& dentry, const Path& root);
  static Path Topmost(const Path& at);

  // --- copies
  enum class As : uint8_t { kPeer, kSlave };  // what a copy of a shared mount becomes
  static Ref<Mount> CopyOne(const Mount& original, const Ref<Dentry>& root, As as);
  // The subtree at (top, root), with the mounts below if `recursive`. Unbindable ones are left out unless kept.
  // `pairs`, if given: each original with its copy.
  using Pairs = std::vector<std::pair<Mount*, Mount*>>;
  static Ref<Mount> Copy(Mount& top, const Ref<Dentry>& root, bool recursive, bool keep_unbindable, As as = As::kPeer, Pairs* pairs = nullptr);
  // Takes a copy that is not to be used apart.
  static void Discard(Mount& top, Drop& drop);

  // --- propagation
  static void Join(PeerGroup& group, Mount& mount);
  static void LeaveGroup(Mount& mount);
  static void Enslave(Mount& mount, PeerGroup& master);
  static void MakeShared(Mount& mount);
  static void SetPropagation(Mount& mount, Propagation to);
  // Every mount that receives what happens on `mount`: its peers, and the slaves below them.
  static std::vector<Mount*> Receivers(const Mount& mount);
  // Attaches a tree that hangs nowhere, in all places where it must appear. ENOSPC: nothing has happened.
  static Result<void> AttachTree(Ref<Mount> top, const Path& at, Drop& drop);
  // Unmounts a subtree, and what its receivers have in its places.
  static void DetachTree(Mount& top, Drop& drop);
  // Whether `mount`, with the copies that would go with it, is in use; `references` of `mount` itself are known about.
  static bool IsBusy(Mount& mount, uint32_t references);

  static int SharedId(const Mount& mount) { return mount.peers_ == nullptr ? 0 : mount.peers_->id(); }
  static PeerGroup* MasterOf(const Mount& mount);
  // The nearest group above mount's master that has a member which can be seen from `root`; 0: none, or the master itself.
  static int PropagateFrom(const Mount& mount, const Path& root);

 private:
  struct Place {
    Ref<Mount> tree;
    Mount* parent;
  };
  static void CopyTo(PeerGroup& group, Mount& source, As as, const Path& at, const Mount* except, std::vector<Place>& places);
  static void CopyToSlaves(PeerGroup& group, Mount& source, const Path& at, std::vector<Place>& places);
  static bool Receives(const Mount& mount, const Path& at);
  static void HangUnder(Ref<Mount> tree, Mount& parent, const Ref<Dentry>& dentry, Drop& drop);
  static void Collect(const PeerGroup& group, const Mount* except, std::vector<Mount*>& out);
  static std::vector<Mount*> WithReceivers(Mount& top);
  static void TakeOut(Mount& mount, Drop& drop);
};

}  // namespace rampart::vfs
