#include "sentry/syscalls/filesystems.h"

#include <algorithm>
#include <iterator>

#include "base/safe_math.h"
#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/path_arg.h"
#include "sentry/vfs/file_description.h"
#include "sentry/vfs/filesystem_types.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;

constexpr auto& kTypes = vfs::kFilesystemTypes;

// quotactl(2)'s command: the operation above the type of quota.
constexpr uint32_t kTypeMask = 0xff, kTypes3 = 3, kQSync = 0x800001;

}  // namespace

Result<Word> SysSysfs(Task& task, int option, uint64_t first, UserAddr second) {
  switch (option) {
    case 1: {
      constexpr size_t kPathMax = 4096;
      const std::string name = TRY(task.mm().CopyInString(first, kPathMax, Errno::kENAMETOOLONG));
      const auto* const found = std::find(std::begin(kTypes), std::end(kTypes), name);
      if (found == std::end(kTypes)) return Errno::kEINVAL;
      return static_cast<Word>(found - std::begin(kTypes));
    }
    case 2: {
      const auto index = static_cast<uint32_t>(first);
      if (index >= std::size(kTypes)) return Errno::kEINVAL;
      const std::string_view name = kTypes[index];
      TRY(task.mm().CopyOutBytes(second, std::as_bytes(std::span(name.data(), name.size() + 1))));
      return Word{0};
    }
    case 3:
      return Word{std::size(kTypes)};
    default:
      return Errno::kEINVAL;
  }
}

// Linux: sys_quotactl, quotactl_block. No filesystem here has quotas or lies on a block device.
Result<Word> SysQuotactl(Task& task, uint32_t command, UserPath special, uint32_t, UserAddr) {
  const uint32_t operation = command >> 8;
  if ((command & kTypeMask) >= kTypes3) return Errno::kEINVAL;
  if (special.address() == 0) {
    if (operation == kQSync) return Word{0};
    return Errno::kENODEV;
  }
  const PathArg path = TRY(PathArg::Read(task, kAtFdCwd, special));
  const vfs::Path found = TRY(path.Find(true));
  if (found.dentry->inode()->type() != vfs::FileType::kBlockDevice) return Errno::kENOTBLK;
  return Errno::kENODEV;
}

Result<Word> SysQuotactlFd(Task& task, Fd fd, uint32_t command, uint32_t, UserAddr) {
  const Ref<vfs::FileDescription> file = TRY(task.fds().Get(fd));
  if ((command & kTypeMask) >= kTypes3) return Errno::kEINVAL;
  return Errno::kENOSYS;  // as of a filesystem without quota operations
}

Result<Word> SysCachestat(Task& task, Fd fd, UserIn<CachestatRange> range_in, UserOut<Cachestat> out, uint32_t flags) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  const CachestatRange range = TRY(task.CopyIn(range_in));
  if (flags != 0) return Errno::kEINVAL;
  Cachestat answer{};
  const Ref<vfs::Inode> inode = file->inode();
  if (inode->type() == vfs::FileType::kRegular) {
    const uint64_t first = range.offset / kPageSize;
    uint64_t last = UINT64_MAX / kPageSize;  // a length of 0: to the end
    if (range.length != 0 && range.length <= UINT64_MAX - range.offset) last = (range.offset + range.length - 1) / kPageSize + 1;
    if (const std::optional<uint64_t> known = inode->PagesInMemory(first, last)) {
      answer.cache = *known;
    } else {
      const vfs::Attr attr = TRY(inode->GetAttr(task));
      const uint64_t end = std::min(last, PageUp(attr.size) / kPageSize);
      answer.cache = end > first ? end - first : 0;
    }
  }
  TRY(task.CopyOut(out, answer));
  return Word{0};
}

}  // namespace rampart::syscalls
