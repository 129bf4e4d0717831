// fork: sharing pages copy-on-write.
//
// With other threads running in the space, the child must see a moment of it: for each thread, all of its writes up to some one and none after
// (glibc's lists of thread stacks, for instance, are mended in the child on that promise). Taking write permission away range by range
// keeps it: until its page is reached a thread writes to what both will have, and the first write after that waits for `mu`. A copy taken
// before all of them are applied would break it, so then what is copied at once is copied after Commit.
#include <algorithm>
#include <cstring>

#include "sentry/mm/memory_manager_impl.h"

namespace rampart::mm {
namespace {
// Below these sizes doing it at once (a mapping 2 µs, a page 1 µs) is cheaper than the faults (40 µs each) that will come.
constexpr uint64_t kSmallData = 8 * kPageSize;       // of a file's writable mapping
constexpr uint64_t kSmallReadOnly = 32 * kPageSize;  // RELRO
constexpr size_t kEagerRuns = 128;                   // a process with more runs is not small
constexpr UserAddr kRedZone = 128;

// A run as the child gets it: not in its platform space yet.
Pma ForChild(const Pma& pma) {
  Pma copy = pma;
  copy.mapped = false;
  copy.changed_at = 0;
  return copy;
}
}  // namespace

bool MemoryManager::Impl::CopyRun(const Vma& vma, PmaMap::iterator p, Impl& child) {
  const uint64_t length = p->second.end - p->first;
  const auto pages = memory_file->Allocate(length, MemoryFile::Commit::kNowUninitialized);
  if (!pages.ok()) return false;
  std::memcpy(memory_file->At(pages->start), p->second.host, length);
  Pma copy = ForChild(p->second);
  copy.offset = pages->start;
  copy.host = memory_file->At(pages->start);
  copy.cow = false;
  child.SetRights(vma, copy);
  child.MapRun(child.InsertPma(p->first, std::move(copy)), AddrRange{p->first, p->first + length});
  return true;
}

bool MemoryManager::Impl::SharePages(VmaMap::iterator v, const HotPages& hot, Impl& child, std::vector<LateCopy>* late) {
  const Vma& vma = v->second;
  const AddrRange range{v->first, vma.end};
  const bool writable = platform::Allows(vma.prot, Prot::kWrite);
  const bool small_data = writable && vma.file && range.length() <= kSmallData;
  const bool eager = child.pmas.size() < kEagerRuns;
  bool any_owned = false;
  IsolatePmas(range);
  for (const AddrRange& h : hot) {
    if (writable && Overlaps(h, range)) IsolatePmas(Intersect(h, range));
  }
  for (auto p = PmaAtOrAfter(v->first); p != pmas.end() && p->first < vma.end; ++p) {
    Pma& pma = p->second;
    const AddrRange run{p->first, pma.end};
    any_owned |= pma.owned;
    const bool is_hot = writable && std::any_of(hot.begin(), hot.end(), [&](const AddrRange& h) { return Overlaps(h, run); });
    if (pma.owned && (small_data || is_hot)) {
      if (late != nullptr) {
        late->push_back(LateCopy{run, pma.cow});
        pma.cow = true;
        continue;
      }
      if (CopyRun(vma, p, child)) continue;
    }
    if (pma.owned) pma.cow = true;
    if (pma.counted) memory_file->IncRef(FileRange{pma.offset, pma.offset + run.length()});
    Pma copy = ForChild(pma);
    child.SetRights(vma, copy);
    const auto shared = child.InsertPma(run.start, std::move(copy));
    // What costs one operation however long it is, and what is short.
    if (eager && pma.mapped && (!pma.counted || (!writable && run.length() <= kSmallReadOnly))) child.MapRun(shared, run);
  }
  // Takes the write permission away where it was.
  ReprotectPmas(vma, range);
  return any_owned;
}

void MemoryManager::Impl::CopyLate(const LateCopy& late, Impl& child) {
  const Vma& vma = FindVma(late.run.start)->second;
  IsolatePmas(late.run);
  for (auto p = PmaAtOrAfter(late.run.start); p != pmas.end() && p->first < late.run.end; ++p) {
    if (CopyRun(vma, p, child)) {
      p->second.cow = late.was_cow;
      continue;
    }
    memory_file->IncRef(FileRange{p->second.offset, p->second.offset + (p->second.end - p->first)});
    child.InsertPma(p->first, ForChild(p->second));
  }
  ReprotectPmas(vma, late.run);
}

Result<Ref<MemoryManager>> MemoryManager::Fork(platform::Context* context, Writers writers) {
  CHECK(context != nullptr || writers == Writers::kCaller);
  Ref<MemoryManager> child = TRY(Create(impl_->platform, impl_->memory_file));
  Impl& from = *impl_;
  Impl& to = *child->impl_;
  child->barrier_registrations.store(barrier_registrations.load(std::memory_order_relaxed), std::memory_order_relaxed);
  child->exec_gain.store(inherited_exec_gain(), std::memory_order_relaxed);
  absl::MutexLock lock(&from.mu);
  absl::MutexLock child_lock(&to.mu);
  from.NoteThread();
  to.mmap_base = from.mmap_base;
  to.brk_start = from.brk_start;
  to.brk = from.brk;
  to.layout = from.layout;
  to.executable = from.executable;
  to.stack_limit = from.stack_limit;
  to.as_limit = from.as_limit;
  Impl::HotPages hot;
  if (context != nullptr) {
    // The frame that called fork, and the thread's own data.
    const abi::UserRegs& regs = context->regs();
    if (regs.rsp < from.max_address) hot.push_back(AddrRange{PageDown(regs.rsp - kRedZone), PageDown(regs.rsp) + 2 * kPageSize});
    if (regs.fs_base < from.max_address) hot.push_back(AddrRange{PageDown(regs.fs_base), PageDown(regs.fs_base) + kPageSize});
  }
  std::vector<Impl::LateCopy> late;
  uint32_t lineages = 0;
  Result<void> result;
  for (auto v = from.vmas.begin(); v != from.vmas.end(); ++v) {
    if (v->second.dont_fork) continue;
    Vma copy = v->second;
    copy.locked = copy.lock_on_fault = false;
    copy.window = 0;
    const auto inserted = to.InsertVma(v->first, std::move(copy));
    if (!inserted.ok()) {
      result = inserted.error();
      break;
    }
    // A shared mapping finds its pages again through its file.
    const bool has_pages = !v->second.shared && !v->second.wipe_on_fork && from.SharePages(v, hot, to, writers == Writers::kOthers ? &late : nullptr);
    Vma& vma = (*inserted)->second;
    if (v->second.wipe_on_fork) vma.lineage = 0;
    if (has_pages || vma.lineage != 0) vma.lineage = ++lineages;
  }
  if (context != nullptr && result.ok()) result = context->Commit(*from.space);
  if (result.ok()) {
    for (const Impl::LateCopy& l : late) from.CopyLate(l, to);
  }
  from.FinishChange();
  if (!result.ok()) return result.error();
  return child;
}

}  // namespace rampart::mm
