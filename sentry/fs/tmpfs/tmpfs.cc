#include "sentry/fs/tmpfs/tmpfs.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/host.h"
#include "base/safe_math.h"
#include "sentry/fs/tmpfs/tmpfs_file.h"
#include "sentry/fs/tmpfs/tmpfs_inode.h"

namespace rampart::fs {
namespace {

constexpr uint64_t kTmpfsMagic = 0x01021994;

template <class T>
bool ParseNumber(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// "64k", "1g", "4096"; like Linux's memparse.
Result<uint64_t> ParseSize(std::string_view text) {
  if (text.empty()) return Errno::kEINVAL;
  int shift = 0;
  switch (text.back() | 0x20) {
    case 'k': shift = 10; break;
    case 'm': shift = 20; break;
    case 'g': shift = 30; break;
    case 't': shift = 40; break;
    default: break;
  }
  if (shift != 0) text.remove_suffix(1);
  uint64_t value = 0;
  if (!ParseNumber(text, value) || value > (std::numeric_limits<uint64_t>::max() >> shift)) return Errno::kEINVAL;
  return value << shift;
}

Result<void> ParseOne(std::string_view key, std::string_view value, TmpfsOptions& options, uint64_t memory_bytes) {
  if (key == "size") {
    if (!value.empty() && value.back() == '%') {
      const uint64_t percent = TRY(ParseSize(value.substr(0, value.size() - 1)));
      options.size = TRY(CheckedMul(memory_bytes / 100, percent));
    } else {
      options.size = TRY(ParseSize(value));
    }
    options.size = TRY(CheckedPageUp(options.size, Errno::kEINVAL));
    options.size_given = true;
  } else if (key == "nr_blocks") {
    const uint64_t blocks = TRY(ParseSize(value));
    options.size = TRY(CheckedMul(blocks, kPageSize));
    options.size_given = true;
  } else if (key == "nr_inodes") {
    options.inodes = TRY(ParseSize(value));
    options.inodes_given = true;
  } else if (key == "mode") {
    uint32_t mode = 0;
    for (const char c : value) {
      if (c < '0' || c > '7' || mode > 07777) return Errno::kEINVAL;
      mode = mode * 8 + static_cast<uint32_t>(c - '0');
    }
    options.mode = mode & 07777;
    options.mode_given = true;
  } else if (key == "uid" || key == "gid") {
    uint32_t id = 0;
    if (!ParseNumber(value, id) || id == UINT32_MAX) return Errno::kEINVAL;
    (key == "uid" ? options.uid : options.gid) = id;
  } else if (key != "huge" && key != "mpol" && key != "inode32" && key != "inode64" && key != "noswap") {
    return Errno::kEINVAL;
  }
  return Ok();
}

}  // namespace

Result<TmpfsOptions> ParseTmpfsOptions(std::string_view text, TmpfsOptions defaults, uint64_t memory_bytes) {
  TmpfsOptions options = defaults;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const size_t equals = std::min(item.find('='), item.size());
    if (item.empty()) continue;
    TRY(ParseOne(item.substr(0, equals), item.substr(std::min(item.size(), equals + 1)), options, memory_bytes));
  }
  return options;
}

Ref<vfs::Filesystem> NewTmpfs(Ref<mm::MemoryFile> memory, const TmpfsOptions& options, const char* type) {
  Ref<Tmpfs> fs = MakeRef<Tmpfs>(std::move(memory), options, type);
  fs->MakeRoot();
  return fs;
}

namespace {

// As many files as Linux allows by default, one for two pages, since they live on the Sentry's heap: fewer where memory is limited.
TmpfsOptions Bounded(TmpfsOptions options, const mm::MemoryFile& memory) {
  const uint64_t limit = memory.usage().limit_bytes;
  if (limit != 0 && !options.inodes_given && options.inodes != 0) {
    options.inodes = std::min(options.inodes, std::max<uint64_t>(limit / 8192, 16384));
  }
  return options;
}

}  // namespace

Tmpfs::Tmpfs(Ref<mm::MemoryFile> memory, const TmpfsOptions& options, const char* type)
    : Filesystem(type), memory_(std::move(memory)), options_(Bounded(options, *memory_)) {}

Tmpfs::~Tmpfs() = default;

void Tmpfs::MakeRoot() {
  vfs::CreateArgs args;
  args.type = vfs::FileType::kDirectory;
  args.permissions = options_.mode;
  args.uid = options_.uid;
  args.gid = options_.gid;
  Result<Ref<TmpfsInode>> root = NewInode(args);
  CHECK(root.ok());
  absl::MutexLock lock(&root_mu_);
  weak_root_ = root.value().get();
  first_root_ = std::move(root).value();
}

Ref<vfs::Inode> Tmpfs::root() {
  absl::MutexLock lock(&root_mu_);
  if (first_root_ != nullptr) return std::exchange(first_root_, nullptr).ToRef();
  RefPtr<vfs::Inode> again = TryRef(weak_root_);
  CHECK(again != nullptr);
  return std::move(again).ToRef();
}

Result<vfs::FsStats> Tmpfs::StatFs(const Caller&) {
  vfs::FsStats stats;
  stats.magic = kTmpfsMagic;
  stats.fsid = device();
  const uint64_t limit = options_.size / kPageSize, used = used_pages_.load(std::memory_order_acquire);
  if (limit != 0) {
    stats.blocks = limit;
    stats.blocks_free = stats.blocks_available = limit - std::min(used, limit);
  } else {
    const mm::MemoryFile::Usage usage = memory_->usage();
    const uint64_t memory_limit = (usage.limit_bytes != 0 ? usage.limit_bytes : HostMemoryBytes()) / kPageSize;
    stats.blocks = memory_limit;
    stats.blocks_free = stats.blocks_available = memory_limit - std::min(usage.used_bytes / kPageSize, memory_limit);
  }
  if (options_.inodes != 0) {
    stats.files = options_.inodes;
    stats.files_free = options_.inodes - std::min(used_inodes_.load(std::memory_order_acquire), options_.inodes);
  }
  return stats;
}

std::string Tmpfs::Options() const {
  std::string text;
  if (options_.size_given) absl::StrAppend(&text, ",size=", options_.size / 1024, "k");
  if (options_.inodes_given) absl::StrAppend(&text, ",nr_inodes=", options_.inodes);
  if (options_.mode_given && options_.mode != 01777) absl::StrAppend(&text, ",mode=", absl::StrFormat("%o", options_.mode));
  if (options_.uid != 0) absl::StrAppend(&text, ",uid=", options_.uid);
  if (options_.gid != 0) absl::StrAppend(&text, ",gid=", options_.gid);
  return text.empty() ? text : text.substr(1);
}

Result<void> Tmpfs::ChargePages(uint64_t pages) {
  const uint64_t limit = options_.size / kPageSize;
  uint64_t used = used_pages_.load(std::memory_order_acquire);
  do {
    if (options_.size != 0 && (used > limit || pages > limit - used)) return Errno::kENOSPC;
  } while (!used_pages_.compare_exchange_weak(used, used + pages, std::memory_order_acq_rel));
  return Ok();
}

Result<void> Tmpfs::ChargeInode() {
  uint64_t used = used_inodes_.load(std::memory_order_acquire);
  do {
    if (options_.inodes != 0 && used >= options_.inodes) return Errno::kENOSPC;
  } while (!used_inodes_.compare_exchange_weak(used, used + 1, std::memory_order_acq_rel));
  return Ok();
}

Result<Ref<TmpfsInode>> Tmpfs::NewInode(const vfs::CreateArgs& args) {
  TRY(ChargeInode());
  const Ref<Tmpfs> self = ShareRef(this);
  const uint64_t ino = NextIno();
  switch (args.type) {
    case vfs::FileType::kRegular:
      return Ref<TmpfsInode>(MakeRef<TmpfsFile>(self, ino, args));
    case vfs::FileType::kDirectory:
      return Ref<TmpfsInode>(MakeRef<TmpfsDirectory>(self, ino, args));
    case vfs::FileType::kSymlink:
      return Ref<TmpfsInode>(MakeRef<TmpfsSymlink>(self, ino, args));
    default:
      return Ref<TmpfsInode>(MakeRef<TmpfsNode>(self, ino, args));
  }
}

}  // namespace rampart::fs
