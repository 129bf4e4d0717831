// mbind, move_pages, remap_file_pages, and what process_mrelease gives back.
#include "sentry/mm/numa.h"

#include "abi/mman.h"
#include "sentry/mm/memory_manager_impl.h"

namespace rampart::mm {

Result<void> MemoryManager::SetPolicy(UserAddr address, uint64_t length, const NumaPolicy& policy) {
  const AddrRange range = TRY(impl_->CheckRange(address, length, Errno::kEINVAL));
  if (range.length() == 0) return Ok();
  Impl& m = *impl_;
  absl::MutexLock lock(&m.mu);
  m.NoteThread();
  const bool covered = m.RangeCovered(range);
  if (!covered && policy != NumaPolicy{}) return Errno::kEFAULT;
  if (m.RangeFree(range)) return Errno::kEFAULT;
  TRY(m.IsolateVmas(range));
  for (auto v = m.VmaAtOrAfter(range.start); v != m.vmas.end() && v->first < range.end; ++v) v->second.policy = policy;
  m.MergeVmas(range);
  m.FinishChange();
  return Ok();
}

// Linux: sys_set_mempolicy_home_node.
Result<void> MemoryManager::SetHomeNode(UserAddr address, uint64_t length, int node) {
  const AddrRange range = TRY(impl_->CheckRange(address, length, Errno::kEINVAL));
  if (range.length() == 0) return Ok();
  Impl& m = *impl_;
  absl::MutexLock lock(&m.mu);
  m.NoteThread();
  TRY(m.IsolateVmas(range));
  Result<void> result = Errno::kENOENT;
  for (auto v = m.VmaAtOrAfter(range.start); v != m.vmas.end() && v->first < range.end; ++v) {
    constexpr uint16_t kBind = 2, kPreferredMany = 5;
    NumaPolicy& policy = v->second.policy;
    if (policy == NumaPolicy{}) continue;
    if (policy.mode != kBind && policy.mode != kPreferredMany) {
      result = Errno::kEOPNOTSUPP;
      break;
    }
    policy.home = node;
    result = Ok();
  }
  m.MergeVmas(range);
  m.FinishChange();
  return result;
}

Result<NumaPolicy> MemoryManager::PolicyAt(UserAddr address) const {
  Impl& m = *impl_;
  absl::ReaderMutexLock lock(&m.mu);
  const auto v = m.FindVma(address);
  if (v == m.vmas.end()) return Errno::kEFAULT;
  return v->second.policy;
}

Result<void> MemoryManager::PageIsPresent(UserAddr address) const {
  Impl& m = *impl_;
  absl::ReaderMutexLock lock(&m.mu);
  if (m.FindVma(address) == m.vmas.end()) return Errno::kEFAULT;
  if (m.FindPma(address) == m.pmas.end()) return Errno::kENOENT;
  return Ok();
}

bool MemoryManager::HasSecrets(AddrRange range) const {
  Impl& m = *impl_;
  absl::ReaderMutexLock lock(&m.mu);
  for (auto v = m.VmaAtOrAfter(range.start); v != m.vmas.end() && v->first < range.end; ++v) {
    if (v->second.file && v->second.file->Secret()) return true;
  }
  return false;
}

// Linux: sys_remap_file_pages, which maps anew. The areas that the range covers are of one file and one kind.
Result<void> MemoryManager::RemapFilePages(const Caller& caller, UserAddr start, uint64_t length, uint64_t first_page, bool populate) {
  start = PageDown(start);
  length = PageDown(length);
  if (length == 0 || start + length <= start) return Errno::kEINVAL;
  const uint64_t pages = length / kPageSize;
  if (first_page + pages < first_page || first_page > static_cast<uint64_t>(INT64_MAX) / kPageSize - pages) return Errno::kEINVAL;
  Impl& m = *impl_;
  absl::MutexLock lock(&m.mu);
  m.NoteThread();
  const auto first = m.FindVma(start);
  if (first == m.vmas.end() || !first->second.shared || !first->second.file) return Errno::kEINVAL;
  for (auto v = first; v->second.end < start + length;) {
    const auto next = std::next(v);
    if (next == m.vmas.end() || next->first != v->second.end) return Errno::kEINVAL;
    if (!(next->second.file == first->second.file) || next->second.prot != first->second.prot || next->second.max_prot != first->second.max_prot) {
      return Errno::kEINVAL;
    }
    v = next;
  }
  Vma vma = first->second;
  vma.offset = first_page * kPageSize;
  vma.policy = NumaPolicy{};
  MMapArgs args;
  args.address = start;
  args.length = length;
  args.prot = vma.prot;
  args.max_prot = vma.max_prot;
  args.shared = true;
  args.fixed = true;
  args.populate = populate;
  args.locked = vma.locked;
  const auto mapped = m.MMapLocked(caller, args, std::move(vma));
  m.FinishChange();
  if (!mapped.ok()) return mapped.error();
  return Ok();
}

void MemoryManager::GiveUpMemory() {
  for (const VmaInfo& vma : Vmas()) {
    if (vma.shared) continue;
    (void)MAdvise(vma.range.start, vma.range.length(), abi::kMadvDontNeed);
  }
}

}  // namespace rampart::mm
