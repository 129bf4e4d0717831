// /proc/PID/pagemap (Linux: pagemap_read): 64 bits for each page of the address space. Frame numbers are always 0, as for those without CAP_SYS_ADMIN.
#include <algorithm>
#include <vector>

#include "abi/process.h"
#include "sentry/fs/proc/internal.h"

namespace rampart::fs::proc {
namespace {

constexpr uint64_t kPage = 4096, kEntry = sizeof(uint64_t);
constexpr uint64_t kMostAtOnce = 512 * 1024;

class PageMapDescription final : public AddressSpaceDescription {
 public:
  using AddressSpaceDescription::AddressSpaceDescription;
  Result<size_t> PRead(Caller&, mm::IoDst& dst, uint64_t offset, uint32_t) override {
    if (offset % kEntry != 0 || dst.remaining() % kEntry != 0) return Errno::kEINVAL;
    constexpr uint64_t kEnd = abi::kMaxUserAddress / kPage * kEntry;
    if (offset >= kEnd || dst.remaining() == 0) return size_t{0};
    const uint64_t bytes = std::min({uint64_t{dst.remaining()}, kEnd - offset, kMostAtOnce});
    std::vector<uint64_t> entries(bytes / kEntry);
    mm().PageMap(offset / kEntry * kPage, entries);
    return dst.Write(std::as_bytes(std::span(entries)));
  }
};

}  // namespace

Ref<vfs::Inode> NewPageMapFile(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, uint64_t ino) {
  return MakeRef<AddressSpaceFile<PageMapDescription>>(std::move(fs), std::move(task), ino, 0400);
}

}  // namespace rampart::fs::proc
