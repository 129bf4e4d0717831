// Files that mean namespaces: what /proc/PID/ns/* leads to, and what setns(2) takes (namespaces(7), ioctl_ns(2)).
// Thread safety: any thread. Ownership: an inode keeps its namespace.
#pragma once

#include <string>

#include "sentry/kernel/task.h"
#include "sentry/vfs/file_description.h"

namespace rampart::kernel {

enum class NamespaceKind : uint8_t { kCgroup, kIpc, kMnt, kNet, kPid, kTime, kUser, kUts };

class NamespaceInode final : public vfs::Inode {
 public:
  // `object`: the MountNamespace, UtsNamespace, ipc::Namespace or PidNamespace; null for kinds of which there is one alone.
  NamespaceInode(NamespaceKind kind, uint64_t number, RefPtr<RefCounted> object);
  NamespaceKind kind() const { return kind_; }
  const RefPtr<RefCounted>& object() const { return object_; }
  uint64_t clone_flag() const;   // CLONE_NEW…
  Result<vfs::Attr> GetAttr(const Caller& caller) override;
  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override;

 private:
  const NamespaceKind kind_;
  const RefPtr<RefCounted> object_;
};

// The file of one of a task's namespaces; "mnt:[4026531841]" is its name. ENOENT: the task has ended.
Result<vfs::Path> NamespaceFile(const Task& task, NamespaceKind kind);
// pid_for_children: that which children will be born into. ENOENT also while that has not had its process 1.
Result<vfs::Path> ChildrenNamespaceFile(const Task& task);

}  // namespace rampart::kernel
