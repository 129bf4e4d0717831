#include "sentry/syscalls/mm_process.h"

#include <algorithm>
#include <array>
#include <vector>

#include "abi/mman.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/ptrace.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;
using Ranges = std::vector<mm::AddrRange>;

// Linux: PTRACE_MODE_ATTACH_REALCREDS.
bool MayAttach(const Task& task, const Task& target) { return kernel::MayAccess(task, target, kernel::AccessMode::kRealCreds); }

// The areas of an iovec, not checked against any address space; at most kMaxRwCount bytes.
Result<Ranges> ReadRanges(Task& task, UserIn<abi::Iovec> vec, uint64_t count) {
  const std::vector<abi::Iovec> user = TRY(task.mm().CopyInArray(vec, count, abi::kIovMax));
  Ranges ranges;
  uint64_t total = 0;
  for (const abi::Iovec& v : user) {
    if (v.len > static_cast<uint64_t>(INT64_MAX)) return Errno::kEINVAL;
    const uint64_t n = std::min(v.len, abi::kMaxRwCount - total);
    UserAddr end = 0;
    if (__builtin_add_overflow(v.base, n, &end)) return Errno::kEFAULT;
    if (n > 0) ranges.push_back({v.base, end});
    total += n;
  }
  return ranges;
}

struct Transfer {
  mm::MemoryManager& from;
  mm::MemoryManager& to;
  bool to_is_foreign;
  bool reads;  // process_vm_readv
  mm::MemoryManager& remote;
  Ranges& remote_ranges;
};

// How many of `n` bytes lie in areas that may be read: others are told so, though the processor could read what may be written or executed.
size_t Readable(const mm::MemoryManager& from, UserAddr start, size_t n) {
  UserAddr at = start;
  while (at < start + n) {
    const std::optional<mm::VmaInfo> vma = from.FindVma(at);
    if (!vma || !platform::Allows(vma->prot, platform::Prot::kRead)) break;
    at = vma->range.end;
  }
  return std::min<size_t>(n, at - start);
}

// Copies through a buffer of ours; stops at the first byte that cannot be read or written.
Result<size_t> CopyRange(const Transfer& transfer, UserAddr from, UserAddr to, size_t n) {
  std::array<std::byte, 16 << 10> buffer;
  size_t done = 0;
  while (done < n) {
    size_t size = std::min(n - done, buffer.size());
    if (transfer.reads) size = Readable(transfer.from, from + done, size);
    if (size == 0) break;
    const auto piece = std::span(buffer).first(size);
    const Result<size_t> in = transfer.from.CopyInPartial(from + done, piece);
    if (!in.ok()) break;
    const auto bytes = piece.first(*in);
    const Result<size_t> out = transfer.to_is_foreign ? transfer.to.CopyOutFromOutside(to + done, bytes) : transfer.to.CopyOutPartial(to + done, bytes);
    if (!out.ok()) break;
    done += *out;
    if (*out < piece.size()) break;
  }
  if (done == 0) return Errno::kEFAULT;
  return done;
}

Result<Word> CopyRanges(const Transfer& transfer, Ranges& from, Ranges& to) {
  // Secrets are nobody's but the process's own: what lies before them is copied.
  for (size_t i = 0; i < transfer.remote_ranges.size(); ++i) {
    if (!transfer.remote.HasSecrets(transfer.remote_ranges[i])) continue;
    if (i == 0) return Errno::kEFAULT;
    transfer.remote_ranges.resize(i);
  }
  size_t total = 0;
  for (size_t f = 0, t = 0; f < from.size() && t < to.size();) {
    const size_t n = std::min(from[f].length(), to[t].length());
    const Result<size_t> moved = CopyRange(transfer, from[f].start, to[t].start, n);
    if (!moved.ok()) {
      if (total == 0) return moved.error();
      break;
    }
    total += *moved;
    if (*moved < n) break;
    from[f].start += n;
    to[t].start += n;
    if (from[f].length() == 0) ++f;
    if (to[t].length() == 0) ++t;
  }
  return Word{total};
}

struct Request {
  abi::Pid pid;
  UserIn<abi::Iovec> local;
  uint64_t local_count;
  UserIn<abi::Iovec> remote;
  uint64_t remote_count;
  uint64_t flags;
};

Result<Word> ProcessVm(Task& task, const Request& request, bool write) {
  if (request.flags != 0) return Errno::kEINVAL;
  Ranges local = TRY(ReadRanges(task, request.local, request.local_count));
  if (local.empty()) return Word{0};
  Ranges remote = TRY(ReadRanges(task, request.remote, request.remote_count));
  if (remote.empty()) return Word{0};
  const RefPtr<Task> target = task.FindTask(request.pid);
  if (!target) return Errno::kESRCH;
  const RefPtr<mm::MemoryManager> theirs = target->GetMm();
  if (!theirs) return Errno::kESRCH;
  if (!MayAttach(task, *target)) return Errno::kEPERM;
  mm::MemoryManager& mine = task.mm();
  if (write) return CopyRanges({mine, *theirs, theirs.get() != &mine, false, *theirs, remote}, local, remote);
  return CopyRanges({*theirs, mine, false, true, *theirs, remote}, remote, local);
}

// Linux: process_madvise_remote_valid.
bool AdviceForOthers(int advice) {
  return advice == abi::kMadvCold || advice == abi::kMadvPageOut || advice == abi::kMadvWillNeed || advice == abi::kMadvCollapse;
}

}  // namespace

Result<Word> SysProcessVmReadv(Task& task, abi::Pid pid, UserIn<abi::Iovec> local, uint64_t local_count, UserIn<abi::Iovec> remote,
                               uint64_t remote_count, uint64_t flags) {
  return ProcessVm(task, {pid, local, local_count, remote, remote_count, flags}, false);
}

Result<Word> SysProcessVmWritev(Task& task, abi::Pid pid, UserIn<abi::Iovec> local, uint64_t local_count, UserIn<abi::Iovec> remote,
                                uint64_t remote_count, uint64_t flags) {
  return ProcessVm(task, {pid, local, local_count, remote, remote_count, flags}, true);
}

Result<Word> SysProcessMadvise(Task& task, Fd pidfd, UserIn<abi::Iovec> vec, uint64_t count, int advice, uint32_t flags) {
  if (flags != 0) return Errno::kEINVAL;
  const Ranges ranges = TRY(ReadRanges(task, vec, count));
  const Ref<vfs::FileDescription> file = TRY(task.fds().Get(pidfd));
  const Ref<kernel::ThreadGroup> group = TRY(kernel::GroupOfPidfd(*file));
  const RefPtr<Task> target = task.kernel().FindTask(group->pid());
  if (!target || &target->group() != group.get()) return Errno::kESRCH;
  const RefPtr<mm::MemoryManager> theirs = target->GetMm();
  if (!theirs) return Errno::kESRCH;
  if (theirs.get() != &task.mm()) {
    if (!AdviceForOthers(advice)) return Errno::kEINVAL;
    if (!MayAttach(task, *target) || !task.creds().HasCapability(abi::Capability::kSysNice)) return Errno::kEPERM;
  }
  size_t done = 0;
  for (const mm::AddrRange& range : ranges) {
    const Result<void> advised = theirs->MAdvise(range.start, range.length(), advice);
    if (!advised.ok()) {
      if (done == 0) return advised.error();
      break;
    }
    done += range.length();
  }
  return Word{done};
}

// Linux: task_will_free_mem. A process that is being killed, and with it everybody who shares its memory.
Result<Word> SysProcessMrelease(Task& task, Fd pidfd, uint32_t flags) {
  if (flags != 0) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> file = TRY(task.fds().Get(pidfd));
  const Ref<kernel::ThreadGroup> group = TRY(kernel::GroupOfPidfd(*file));
  RefPtr<mm::MemoryManager> theirs;
  for (const Ref<Task>& thread : group->Tasks()) {
    if (!theirs) theirs = thread->GetMm();
  }
  if (!theirs) return Errno::kESRCH;
  if (!group->dying()) return Errno::kEINVAL;
  for (const Ref<kernel::ThreadGroup>& other : task.kernel().Groups()) {
    if (other.get() == group.get() || other->dying()) continue;
    for (const Ref<Task>& thread : other->Tasks()) {
      if (thread->GetMm().get() == theirs.get()) return Errno::kEINVAL;
    }
  }
  theirs->GiveUpMemory();
  return Word{0};
}

}  // namespace rampart::syscalls
