// statmount(2), listmount(2).
#include <algorithm>
#include <cstring>

#include "sentry/kernel/namespace_file.h"
#include "sentry/syscalls/mount.h"
#include "sentry/syscalls/mount_common.h"

namespace rampart::syscalls {

using kernel::Task;

namespace {

Result<abi::MountIdRequest> CopyInRequest(Task& task, UserAddr from) {
  abi::MountIdRequest request{};
  const uint32_t size = TRY(task.CopyIn(UserIn<uint32_t>(from)));
  if (size > kPageSize) return Errno::kE2BIG;
  if (size < abi::kMountIdRequestSize0) return Errno::kEINVAL;
  std::vector<std::byte> bytes(std::max<size_t>(size, sizeof(request)));
  TRY(task.mm().CopyInBytes(from, std::span(bytes).first(size)));
  if (std::any_of(bytes.begin() + sizeof(request), bytes.end(), [](std::byte b) { return b != std::byte{0}; })) return Errno::kE2BIG;
  std::memcpy(&request, bytes.data(), sizeof(request));
  if (request.spare != 0) return Errno::kEINVAL;
  return request;
}

uint64_t NamespaceNumber(Task& task) {
  const Result<vfs::Path> file = kernel::NamespaceFile(task, kernel::NamespaceKind::kMnt);
  return file.ok() ? file->dentry->inode()->ino() : 0;
}

// The namespace asked for: the caller's own alone can be named.
Result<void> CheckNamespace(Task& task, const abi::MountIdRequest& request) {
  if (request.namespace_id == 0 || request.namespace_id == NamespaceNumber(task)) return Ok();
  return Errno::kENOENT;
}

class Answer {
 public:
  abi::Statmount s{};
  std::string text;
  // A string of the answer: its offset.
  uint32_t Put(const std::string& value) {
    const auto at = static_cast<uint32_t>(text.size());
    text += value;
    text += '\0';
    return at;
  }
};

uint64_t PropagationOf(const vfs::MountInfo& info) {
  const uint64_t bits = (info.shared != 0 ? abi::kMsShared : 0) | (info.master != 0 ? abi::kMsSlave : 0) | (info.unbindable ? abi::kMsUnbindable : 0);
  return bits != 0 ? bits : abi::kMsPrivate;
}

Result<void> Fill(Task& task, const vfs::MountInfo& info, uint64_t wanted, Answer& answer) {
  const vfs::Mount& mount = *info.mount;
  abi::Statmount& s = answer.s;
  if ((wanted & abi::kStatmountSbBasic) != 0) {
    const vfs::FsStats stats = TRY(mount.fs().StatFs(task));
    s.sb_major = abi::DevMajor(mount.fs().device());
    s.sb_minor = abi::DevMinor(mount.fs().device());
    s.sb_magic = stats.magic;
    s.sb_flags = mount.fs().flags() & static_cast<uint32_t>(abi::kMsRdonly | abi::kMsSynchronous | abi::kMsDirsync | abi::kMsLazytime);
    s.mask |= abi::kStatmountSbBasic;
  }
  if ((wanted & abi::kStatmountMntBasic) != 0) {
    s.mount_id = mount.unique_id();
    s.parent_id = info.parent_id + vfs::Mount::kUniqueOffset;
    s.old_mount_id = static_cast<uint32_t>(mount.id());
    s.old_parent_id = static_cast<uint32_t>(info.parent_id);
    s.attributes = AttributesOf(mount.flags());
    s.propagation = PropagationOf(info);
    s.peer_group = static_cast<uint64_t>(info.shared);
    s.master = static_cast<uint64_t>(info.master);
    s.mask |= abi::kStatmountMntBasic;
  }
  if ((wanted & abi::kStatmountPropagateFrom) != 0) {
    s.propagate_from = static_cast<uint64_t>(info.propagate_from);
    s.mask |= abi::kStatmountPropagateFrom;
  }
  if ((wanted & abi::kStatmountNamespace) != 0) {
    s.namespace_id = NamespaceNumber(task);
    s.mask |= abi::kStatmountNamespace;
  }
  const auto text = [&](uint64_t bit, uint32_t& field, const std::string& value) {
    if ((wanted & bit) == 0) return;
    field = answer.Put(value);
    s.mask |= bit;
  };
  text(abi::kStatmountType, s.type, mount.fs().type());
  text(abi::kStatmountRoot, s.root, info.root);
  text(abi::kStatmountPoint, s.point, info.mountpoint);
  text(abi::kStatmountOptions, s.options, mount.fs().Options());
  return Ok();
}

}  // namespace

Result<Word> SysStatmount(Task& task, UserAddr user_request, UserAddr buffer, uint64_t size, uint32_t flags) {
  if (flags != 0) return Errno::kEINVAL;
  const abi::MountIdRequest request = TRY(CopyInRequest(task, user_request));
  if (request.mount_id <= vfs::Mount::kUniqueOffset) return Errno::kEINVAL;
  TRY(CheckNamespace(task, request));
  const vfs::FsContext::View view = task.fs().view();
  const vfs::MountInfo info = TRY(view.mounts->Find(request.mount_id, view.root));
  Answer answer;
  TRY(Fill(task, info, request.parameter, answer));
  constexpr uint64_t kTexts = abi::kStatmountRoot | abi::kStatmountPoint | abi::kStatmountType | abi::kStatmountOptions;
  const size_t fixed = std::min<size_t>(size, sizeof(abi::Statmount));
  if ((request.parameter & kTexts) != 0 && answer.text.size() > size - fixed) return Errno::kEOVERFLOW;
  answer.s.size = static_cast<uint32_t>(fixed + answer.text.size());
  TRY(task.mm().CopyOutBytes(buffer, std::as_bytes(std::span(&answer.s, 1)).first(fixed)));
  TRY(task.mm().CopyOutBytes(buffer + fixed, std::as_bytes(std::span(answer.text))));
  return Word{0};
}

Result<Word> SysListmount(Task& task, UserAddr user_request, UserAddr ids, uint64_t count, uint32_t flags) {
  constexpr uint32_t kReverse = 1;
  constexpr uint64_t kMostIds = 1'000'000;
  if ((flags & ~kReverse) != 0) return Errno::kEINVAL;
  if (count > kMostIds) return Errno::kEOVERFLOW;
  const abi::MountIdRequest request = TRY(CopyInRequest(task, user_request));
  if (request.parameter != 0 && request.parameter <= vfs::Mount::kUniqueOffset) return Errno::kEINVAL;
  if (request.mount_id != abi::kListRoot && request.mount_id <= vfs::Mount::kUniqueOffset) return Errno::kEINVAL;
  TRY(CheckNamespace(task, request));
  const vfs::FsContext::View view = task.fs().view();
  vfs::Path below = view.root;
  if (request.mount_id != abi::kListRoot) {
    const vfs::MountInfo info = TRY(view.mounts->Find(request.mount_id, view.root));
    below = vfs::Path{info.mount, info.mount->root()};
  }
  std::vector<uint64_t> found;
  for (const vfs::MountInfo& info : view.mounts->List(below)) {
    if (info.mount->unique_id() != request.mount_id) found.push_back(info.mount->unique_id());
  }
  const bool reverse = (flags & kReverse) != 0;
  if (reverse) std::reverse(found.begin(), found.end());
  if (request.parameter != 0) {
    std::erase_if(found, [&](uint64_t id) { return reverse ? id >= request.parameter : id <= request.parameter; });
  }
  found.resize(std::min<size_t>(found.size(), count));
  TRY(task.mm().CopyOutBytes(ids, std::as_bytes(std::span(found))));
  return Word{found.size()};
}

}  // namespace rampart::syscalls
