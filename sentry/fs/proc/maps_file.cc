// /proc/PID/maps with its query (PROCMAP_QUERY).
#include <algorithm>
#include <cstring>

#include "sentry/fs/proc/internal.h"

namespace rampart::fs::proc {
namespace {

// struct procmap_query.
struct MapQuery {
  uint64_t size;
  uint64_t flags, address;
  uint64_t start, end, vma_flags, page_size, offset, inode;
  uint32_t device_major, device_minor, name_size, build_id_size;
  uint64_t name_address, build_id_address;
};
static_assert(sizeof(MapQuery) == 104);
constexpr uint32_t kProcmapQuery = 0xC0686611;
constexpr size_t kSmallestQuery = 24;
enum QueryFlags : uint64_t { kReadable = 1, kWritable = 2, kExecutable = 4, kShared = 8, kCoveringOrNext = 16, kFileBacked = 32, kAllFlags = 63 };

uint64_t FlagsOf(const mm::VmaInfo& vma) {
  uint64_t flags = 0;
  if (platform::Allows(vma.prot, platform::Prot::kRead)) flags |= kReadable;
  if (platform::Allows(vma.prot, platform::Prot::kWrite)) flags |= kWritable;
  if (platform::Allows(vma.prot, platform::Prot::kExec)) flags |= kExecutable;
  if (vma.shared) flags |= kShared;
  if (vma.inode != 0) flags |= kFileBacked;
  return flags;
}

// ENOENT.
Result<mm::VmaInfo> FindMatch(mm::MemoryManager& mm, const MapQuery& query) {
  const uint64_t wanted = query.flags & ~uint64_t{kCoveringOrNext};
  const bool or_next = (query.flags & kCoveringOrNext) != 0;
  for (mm::VmaInfo& vma : mm.Vmas()) {
    if (vma.range.end <= query.address) continue;
    if (!or_next && vma.range.start > query.address) break;
    if ((FlagsOf(vma) & wanted) == wanted) return std::move(vma);
    if (!or_next) break;
  }
  return Errno::kENOENT;
}

// Reads what there is of the structure at `address`; what is beyond ours must be 0. EINVAL, E2BIG, EFAULT.
Result<MapQuery> ReadQuery(mm::UserMemory& memory, UserAddr address) {
  const uint64_t size = TRY(memory.CopyIn(UserIn<uint64_t>(address)));
  if (size < kSmallestQuery) return Errno::kEINVAL;
  if (size > kPageSize) return Errno::kE2BIG;
  std::vector<std::byte> bytes(std::max<size_t>(size, sizeof(MapQuery)));
  TRY(memory.CopyInBytes(address, std::span(bytes).first(size)));
  if (std::any_of(bytes.begin() + sizeof(MapQuery), bytes.end(), [](std::byte b) { return b != std::byte{0}; })) return Errno::kE2BIG;
  MapQuery query{};
  std::memcpy(&query, bytes.data(), sizeof(query));
  query.size = size;
  return query;
}

// Linux: do_procmap_query.
Result<uint64_t> AnswerQuery(mm::MemoryManager& mm, mm::UserMemory& memory, UserAddr address) {
  MapQuery query = TRY(ReadQuery(memory, address));
  if ((query.flags & ~uint64_t{kAllFlags}) != 0) return Errno::kEINVAL;
  if ((query.name_size != 0) != (query.name_address != 0) || (query.build_id_size != 0) != (query.build_id_address != 0)) return Errno::kEINVAL;
  const mm::VmaInfo vma = TRY(FindMatch(mm, query));
  query.start = vma.range.start;
  query.end = vma.range.end;
  query.vma_flags = FlagsOf(vma) & ~uint64_t{kFileBacked};
  query.page_size = kPageSize;
  query.offset = vma.inode != 0 ? vma.offset : 0;
  query.inode = vma.inode;
  query.device_major = static_cast<uint32_t>(vma.device >> 8 & 0xfff);
  query.device_minor = static_cast<uint32_t>((vma.device & 0xff) | (vma.device >> 12 & 0xfff00));
  query.build_id_size = 0;
  if (query.name_size != 0) {
    const size_t length = vma.name.empty() ? 0 : vma.name.size() + 1;
    if (length > query.name_size) return Errno::kENAMETOOLONG;
    query.name_size = static_cast<uint32_t>(length);
    TRY(memory.CopyOutBytes(query.name_address, std::as_bytes(std::span(vma.name.c_str(), length))));
  }
  TRY(memory.CopyOutBytes(address, std::as_bytes(std::span(&query, 1)).first(std::min<size_t>(query.size, sizeof(query)))));
  return uint64_t{0};
}

class MapsFile final : public pseudo::PseudoFile {
 public:
  MapsFile(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, uint64_t ino) : PseudoFile(std::move(fs), 0444, ino), task_(std::move(task)) {}
  Result<std::string> Generate(Caller& caller) override { return MapsText(*TRY(InspectableMm(caller, *task_)), false); }
  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) override {
    if (command != kProcmapQuery) return Errno::kENOTTY;
    return AnswerQuery(*TRY(InspectableMm(caller, *task_)), memory, argument);
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

Ref<vfs::Inode> NewMapsFile(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, uint64_t ino) {
  return MakeRef<MapsFile>(std::move(fs), std::move(task), ino);
}

}  // namespace rampart::fs::proc
