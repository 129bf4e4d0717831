// /proc/PID/pagemap (Linux: pagemap_read): 64 bits for each page of the address space. Frame numbers are always 0, as for those without CAP_SYS_ADMIN.
#include <algorithm>
#include <vector>

#include "sentry/fs/proc/internal.h"

namespace rampart::fs::proc {
namespace {

constexpr uint64_t kPage = 4096, kEntry = sizeof(uint64_t);
constexpr uint64_t kTaskSize = (uint64_t{1} << 47) - kPage;
constexpr uint64_t kMostAtOnce = 512 * 1024;

class PageMapDescription final : public vfs::FileDescription {
 public:
  PageMapDescription(vfs::Path path, uint32_t flags, Ref<mm::MemoryManager> mm) : FileDescription(std::move(path), flags), mm_(std::move(mm)) {}
  Result<size_t> PRead(Caller&, mm::IoDst& dst, uint64_t offset, uint32_t) override {
    if (offset % kEntry != 0 || dst.remaining() % kEntry != 0) return Errno::kEINVAL;
    constexpr uint64_t kEnd = kTaskSize / kPage * kEntry;
    if (offset >= kEnd || dst.remaining() == 0) return size_t{0};
    const uint64_t bytes = std::min({uint64_t{dst.remaining()}, kEnd - offset, kMostAtOnce});
    std::vector<uint64_t> entries(bytes / kEntry);
    mm_->PageMap(offset / kEntry * kPage, entries);
    return dst.Write(std::as_bytes(std::span(entries)));
  }
  Result<uint64_t> Seek(Caller&, int64_t offset, int whence) override {
    absl::MutexLock lock(&position_mu_);
    if (whence != abi::kSeekSet && whence != abi::kSeekCur) return Errno::kEINVAL;
    const uint64_t base = whence == abi::kSeekCur ? position_.load() : 0;
    position_.store(base + static_cast<uint64_t>(offset));  // mem_lseek, as for `mem`
    return position_.load();
  }

 private:
  const Ref<mm::MemoryManager> mm_;
};

class PageMapFile final : public pseudo::PseudoInode {
 public:
  PageMapFile(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, uint64_t ino)
      : PseudoInode(std::move(fs), vfs::FileType::kRegular, 0400, ino), task_(std::move(task)) {}
  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override {
    Ref<mm::MemoryManager> mm = TRY(InspectableMm(caller, *task_));
    return Ref<vfs::FileDescription>(MakeRef<PageMapDescription>(path, flags, std::move(mm)));
  }

 protected:
  std::pair<abi::Uid, abi::Gid> Owner() const override {
    const Ref<const auth::Credentials> creds = task_->GetCreds();
    return {creds->euid, creds->egid};
  }

 private:
  const Ref<kernel::Task> task_;
};

}  // namespace

Ref<vfs::Inode> NewPageMapFile(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, uint64_t ino) {
  return MakeRef<PageMapFile>(std::move(fs), std::move(task), ino);
}

}  // namespace rampart::fs::proc
