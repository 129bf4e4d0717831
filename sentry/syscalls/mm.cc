#include "sentry/syscalls/mm.h"

#include <algorithm>
#include <vector>

#include "abi/mman.h"
#include "base/safe_math.h"
#include "sentry/syscalls/fd.h"
#include "sentry/vfs/file_description.h"
#include "sentry/vfs/fs_context.h"

namespace rampart::syscalls {
namespace {

using platform::Prot;

Prot ProtOf(uint64_t bits) {
  Prot prot = Prot::kNone;
  if ((bits & abi::kProtRead) != 0) prot = prot | Prot::kRead;
  if ((bits & abi::kProtWrite) != 0) prot = prot | Prot::kWrite;
  if ((bits & abi::kProtExec) != 0) prot = prot | Prot::kExec;
  return prot;
}

// The flags that a MAP_SHARED_VALIDATE of a file may have (Linux: LEGACY_MAP_MASK).
constexpr int kLegacyFlags = abi::kMapType | abi::kMapFixed | abi::kMapAnonymous | abi::kMap32Bit | abi::kMapGrowsDown | abi::kMapDenyWrite |
                             abi::kMapExecutable | abi::kMapLocked | abi::kMapNoReserve | abi::kMapPopulate | abi::kMapNonBlock |
                             abi::kMapStack | abi::kMapHugeTlb;

bool IsOccupied(kernel::Task& task, UserAddr start, uint64_t length) {
  for (const mm::VmaInfo& vma : task.mm().Vmas()) {
    if (vma.range.start < start + length && start < vma.range.end) return true;
  }
  return false;
}

Result<void> ConfigureFile(kernel::Task& task, mm::MMapArgs& args, Fd fd) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  if (args.length == 0) return Errno::kEINVAL;
  // Linux looks at the place before it looks at the file, to which a mapping that fails is no access.
  if (args.fixed_noreplace && PageAligned(args.address) && IsOccupied(task, args.address, args.length)) return Errno::kEEXIST;
  if (!file->readable()) return Errno::kEACCES;
  if (args.shared && !file->writable()) {
    if (platform::Allows(args.prot, Prot::kWrite)) return Errno::kEACCES;
    args.max_prot = args.max_prot & ~Prot::kWrite;
  }
  TRY(file->ConfigureMMap(task, args));
  if (!args.identity && args.file) args.identity = file;
  return Ok();
}

}  // namespace

Result<Word> SysMmap(kernel::Task& task, UserAddr address, uint64_t length, int prot, int flags, Fd fd, uint64_t offset) {
  if (!PageAligned(offset)) return Errno::kEINVAL;
  const int type = flags & abi::kMapType;
  const bool anonymous = (flags & abi::kMapAnonymous) != 0;
  if (type != abi::kMapShared && type != abi::kMapPrivate && (type != abi::kMapSharedValidate || anonymous)) return Errno::kEINVAL;
  if (type == abi::kMapSharedValidate && (flags & ~kLegacyFlags) != 0) return Errno::kEOPNOTSUPP;
  mm::MMapArgs args;
  args.address = address;
  args.length = length;
  args.prot = ProtOf(static_cast<uint32_t>(prot));
  args.shared = type != abi::kMapPrivate;
  args.fixed = (flags & abi::kMapFixed) != 0;
  args.fixed_noreplace = (flags & abi::kMapFixedNoReplace) != 0;
  args.grows_down = (flags & abi::kMapGrowsDown) != 0;
  args.locked = (flags & abi::kMapLocked) != 0;
  args.populate = (flags & (abi::kMapPopulate | abi::kMapNonBlock)) == abi::kMapPopulate;
  args.noreserve = (flags & abi::kMapNoReserve) != 0;
  args.stack = (flags & abi::kMapStack) != 0;
  args.low_32bit = (flags & abi::kMap32Bit) != 0;
  if (anonymous) {
    if ((flags & abi::kMapHugeTlb) != 0) return Errno::kENOMEM;  // the pool of huge pages is empty
  } else {
    args.offset = offset;
    TRY(ConfigureFile(task, args, fd));
    if ((flags & abi::kMapHugeTlb) != 0) return Errno::kEINVAL;  // no file here is of a huge-page file system
  }
  return task.mm().MMap(task, std::move(args));
}

Result<Word> SysMunmap(kernel::Task& task, UserAddr address, uint64_t length) {
  TRY(task.mm().MUnmap(address, length));
  return Word{0};
}

Result<Word> SysMprotect(kernel::Task& task, UserAddr address, uint64_t length, uint64_t prot) {
  constexpr uint64_t kKnown = abi::kProtRead | abi::kProtWrite | abi::kProtExec | abi::kProtSem;
  constexpr uint64_t kGrows = abi::kProtGrowsDown | abi::kProtGrowsUp;
  if ((prot & kGrows) == kGrows) return Errno::kEINVAL;
  if (PageAligned(address) && length == 0) return Word{0};
  if ((prot & ~(kKnown | kGrows)) != 0) return Errno::kEINVAL;
  if ((prot & abi::kProtGrowsUp) != 0) return Errno::kEINVAL;  // nothing grows up on x86
  TRY(task.mm().MProtect(address, length, ProtOf(prot), (prot & abi::kProtGrowsDown) != 0));
  return Word{0};
}

Result<Word> SysMremap(kernel::Task& task, UserAddr old_address, uint64_t old_length, uint64_t new_length, uint64_t flags,
                       UserAddr new_address) {
  if (flags > UINT32_MAX) return Errno::kEINVAL;
  return task.mm().MRemap(task, old_address, old_length, new_length, static_cast<uint32_t>(flags), new_address);
}

Result<Word> SysBrk(kernel::Task& task, UserAddr want) { return task.mm().Brk(task, want); }

Result<Word> SysMadvise(kernel::Task& task, UserAddr address, uint64_t length, int advice) {
  TRY(task.mm().MAdvise(address, length, advice));
  return Word{0};
}

Result<Word> SysMsync(kernel::Task& task, UserAddr address, uint64_t length, int flags) {
  TRY(task.mm().MSync(address, length, static_cast<uint32_t>(flags)));
  return Word{0};
}

Result<Word> SysMincore(kernel::Task& task, UserAddr address, uint64_t length, UserOut<uint8_t> residency) {
  // In pieces, so that an enormous range costs no memory here.
  constexpr uint64_t kPiece = uint64_t{1} << 28;
  if (!PageAligned(address)) return Errno::kEINVAL;
  uint64_t rest = TRY(CheckedPageUp(length));
  UserAddr to = residency.address();
  std::vector<uint8_t> bytes;
  while (rest != 0) {
    const uint64_t piece = std::min(rest, kPiece);
    TRY(task.mm().MIncore(address, piece, bytes));
    TRY(task.mm().CopyOutBytes(to, std::as_bytes(std::span(bytes))));
    address += piece;
    to += bytes.size();
    rest -= piece;
  }
  return Word{0};
}

Result<Word> SysMseal(kernel::Task& task, UserAddr address, uint64_t length, uint64_t flags) {
  if (flags != 0) return Errno::kEINVAL;
  TRY(task.mm().MSeal(address, length));
  return Word{0};
}

Result<Word> SysRemapFilePages(kernel::Task& task, UserAddr start, uint64_t length, uint64_t prot, uint64_t first_page, uint64_t flags) {
  if (prot != 0) return Errno::kEINVAL;
  TRY(task.mm().RemapFilePages(task, start, length, first_page, (flags & abi::kMapNonBlock) == 0));
  return Word{0};
}

Result<Word> SysMlock(kernel::Task& task, UserAddr address, uint64_t length) { return SysMlock2(task, address, length, 0); }

Result<Word> SysMlock2(kernel::Task& task, UserAddr address, uint64_t length, int flags) {
  if ((static_cast<uint32_t>(flags) & ~abi::kMlockOnFault) != 0) return Errno::kEINVAL;
  TRY(task.mm().MLock(task, address, length, true, flags != 0));
  return Word{0};
}

Result<Word> SysMunlock(kernel::Task& task, UserAddr address, uint64_t length) {
  TRY(task.mm().MLock(task, address, length, false, false));
  return Word{0};
}

Result<Word> SysMlockall(kernel::Task& task, int flags) {
  TRY(task.mm().MLockAll(task, static_cast<uint32_t>(flags)));
  return Word{0};
}

Result<Word> SysMunlockall(kernel::Task& task) {
  task.mm().MUnlockAll();
  return Word{0};
}

Result<Word> SysPkeyMprotect(kernel::Task& task, UserAddr address, uint64_t length, uint64_t prot, int key) {
  if (key != -1) return Errno::kEINVAL;
  return SysMprotect(task, address, length, prot);
}

Result<Word> SysPkeyAlloc(kernel::Task&, uint64_t flags, uint64_t rights) {
  if (flags != 0 || (rights & ~uint64_t{3}) != 0) return Errno::kEINVAL;
  return Errno::kENOSPC;
}

Result<Word> SysPkeyFree(kernel::Task&, int) { return Errno::kEINVAL; }

}  // namespace rampart::syscalls
