// Peer groups, and where events of a shared mount arrive (Documentation/filesystems/sharedsubtree.rst).
#include <algorithm>
#include <utility>

#include "sentry/vfs/mount_tree.h"

namespace rampart::vfs {
namespace {

// Group ids are small and used again, as Linux's are.
struct GroupIds {
  absl::Mutex mu;
  std::vector<bool> used ABSL_GUARDED_BY(mu);
};

GroupIds& TheGroupIds() {
  static GroupIds* const ids = new GroupIds;
  return *ids;
}

int TakeGroupId() {
  GroupIds& ids = TheGroupIds();
  absl::MutexLock lock(&ids.mu);
  const auto free = std::find(ids.used.begin(), ids.used.end(), false);
  const auto index = free - ids.used.begin();
  if (free == ids.used.end()) {
    ids.used.push_back(true);
  } else {
    *free = true;
  }
  return static_cast<int>(index) + 1;
}

}  // namespace

PeerGroup::PeerGroup() : id_(TakeGroupId()) {}

PeerGroup::~PeerGroup() {
  GroupIds& ids = TheGroupIds();
  absl::MutexLock lock(&ids.mu);
  ids.used[static_cast<size_t>(id_) - 1] = false;
}

void MountTree::Join(PeerGroup& group, Mount& mount) {
  mount.peers_ = ShareRef(&group);
  group.members.push_back(&mount);
}

void MountTree::Enslave(Mount& mount, PeerGroup& master) {
  mount.master_ = ShareRef(&master);
  master.slave_mounts.push_back(&mount);
}

PeerGroup* MountTree::MasterOf(const Mount& mount) { return mount.peers_ != nullptr ? mount.peers_->master.get() : mount.master_.get(); }

// A group that has lost its last member hands its slaves on to its master.
void MountTree::LeaveGroup(Mount& mount) {
  const RefPtr<PeerGroup> group = std::move(mount.peers_);
  mount.peers_ = nullptr;
  if (group == nullptr) return;
  std::erase(group->members, &mount);
  if (!group->members.empty()) return;
  const RefPtr<PeerGroup> master = std::move(group->master);
  group->master = nullptr;
  if (master != nullptr) std::erase(master->slave_groups, group.get());
  for (Mount* slave : std::exchange(group->slave_mounts, {})) {
    slave->master_ = nullptr;
    if (master != nullptr) Enslave(*slave, *master);
  }
  for (PeerGroup* slave : std::exchange(group->slave_groups, {})) {
    slave->master = master;
    if (master != nullptr) master->slave_groups.push_back(slave);
  }
}

void MountTree::MakeShared(Mount& mount) {
  mount.unbindable_ = false;
  if (mount.peers_ != nullptr) return;
  const Ref<PeerGroup> group = MakeRef<PeerGroup>();
  if (mount.master_ != nullptr) {
    // A slave that is shared from now on: its group is the slave.
    group->master = std::move(mount.master_);
    mount.master_ = nullptr;
    std::erase(group->master->slave_mounts, &mount);
    group->master->slave_groups.push_back(group.get());
  }
  Join(*group, mount);
}

void MountTree::SetPropagation(Mount& mount, Propagation to) {
  if (to == Propagation::kShared) return MakeShared(mount);
  if (mount.peers_ != nullptr) {
    const RefPtr<PeerGroup> group = mount.peers_;
    const RefPtr<PeerGroup> above = group->master;
    LeaveGroup(mount);
    // Its former peers are its masters now; of a group that has ended, the group's master is.
    if (to == Propagation::kSlave && !group->members.empty()) Enslave(mount, *group);
    if (to == Propagation::kSlave && group->members.empty() && above != nullptr) Enslave(mount, *above);
  } else if (to != Propagation::kSlave && mount.master_ != nullptr) {
    std::erase(mount.master_->slave_mounts, &mount);
    mount.master_ = nullptr;
  }
  if (to == Propagation::kUnbindable) mount.unbindable_ = true;
  if (to == Propagation::kPrivate) mount.unbindable_ = false;
}

void MountTree::Collect(const PeerGroup& first, const Mount* except, std::vector<Mount*>& out) {
  std::vector<const PeerGroup*> groups{&first};
  for (size_t i = 0; i < groups.size(); ++i) {
    for (Mount* member : groups[i]->members) {
      if (member != except) out.push_back(member);
    }
    out.insert(out.end(), groups[i]->slave_mounts.begin(), groups[i]->slave_mounts.end());
    groups.insert(groups.end(), groups[i]->slave_groups.begin(), groups[i]->slave_groups.end());
  }
}

std::vector<Mount*> MountTree::Receivers(const Mount& mount) {
  std::vector<Mount*> all;
  if (mount.peers_ != nullptr) Collect(*mount.peers_, &mount, all);
  return all;
}

bool MountTree::Receives(const Mount& mount, const Path& at) {
  return mount.ns_ != nullptr && !mount.ns_->detached() && InSight(mount, *at.dentry);
}

void MountTree::CopyTo(PeerGroup& first, Mount& source, As as, const Path& at, const Mount* except, std::vector<Place>& places) {
  struct Step {
    PeerGroup* group;
    Mount* source;
    As as;
  };
  std::vector<Step> steps{{&first, &source, as}};
  for (size_t i = 0; i < steps.size(); ++i) {
    Step step = steps[i];
    const std::vector<Mount*> members = step.group->members;  // copies may join it meanwhile
    for (Mount* member : members) {
      if (member == except || !Receives(*member, at)) continue;
      Ref<Mount> copy = Copy(*step.source, step.source->root_, /*recursive=*/true, /*keep_unbindable=*/false, step.as);
      if (step.as == As::kSlave) {
        // The first copy below a group that is a slave: the others of that group are its peers.
        for (Mount* mount : Subtree(*copy)) MakeShared(*mount);
        step.source = copy.get();
        step.as = As::kPeer;
      }
      places.push_back({std::move(copy), member});
    }
    const std::vector<Mount*> slaves = step.group->slave_mounts;
    for (Mount* slave : slaves) {
      if (!Receives(*slave, at)) continue;
      places.push_back({Copy(*step.source, step.source->root_, true, false, As::kSlave), slave});
    }
    for (PeerGroup* slave : step.group->slave_groups) steps.push_back({slave, step.source, As::kSlave});
  }
}

int MountTree::PropagateFrom(const Mount& mount, const Path& root) {
  const PeerGroup* const master = MasterOf(mount);
  for (const PeerGroup* group = master; group != nullptr; group = group->master.get()) {
    for (const Mount* member : group->members) {
      if (member->ns_ != mount.ns_ || !IsReachable(*member, *member->root_, root)) continue;
      return group == master ? 0 : group->id();
    }
  }
  return 0;
}

}  // namespace rampart::vfs
