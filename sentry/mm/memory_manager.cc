// Life of an address space, and what /proc shows of it.
#include "sentry/mm/memory_manager.h"

#include <algorithm>

#include "base/heap_meter.h"
#include "sentry/mm/memory_manager_impl.h"
#include "sentry/mm/safe_copy.h"
#include "sentry/mm/shared_memory.h"

namespace rampart::mm {
namespace {

// What the host spends on an address space beside its pages (page tables, the stub's process): measured, of a small one.
constexpr int64_t kHostSpace = int64_t{88} << 10;

}  // namespace

MemoryManager::MemoryManager(platform::Platform& platform, Ref<MemoryFile> memory_file, Ref<platform::AddressSpace> space)
    : impl_(std::make_unique<Impl>(this, platform, std::move(memory_file), std::move(space))) {
  CountBeside(kHostSpace);
}

MemoryManager::~MemoryManager() {
  Clear();
  CountBeside(-kHostSpace);
}

Result<Ref<MemoryManager>> MemoryManager::Create(platform::Platform& platform, Ref<MemoryFile> memory_file) {
  InstallSafeCopy();
  Ref<platform::AddressSpace> space = TRY(platform.NewAddressSpace());
  return MakeRef<MemoryManager>(platform, std::move(memory_file), std::move(space));
}

void MemoryManager::Clear() {
  Impl& m = *impl_;
  RefPtr<SpaceCompanion> companion;
  {
    absl::MutexLock lock(&m.mu);
    m.gone = true;
    companion = std::exchange(m.companion, nullptr);
  }
  if (companion) companion->SpaceGone();
  absl::MutexLock lock(&m.mu);
  if (!m.vmas.empty()) m.RemoveVmas(AddrRange{0, m.max_address}, Impl::Unmap::kNo);
  // Nobody runs in the space: nothing to wait for, except an operation that still holds pins.
  for (Impl::Drop& d : m.fresh_drops) d.sequence = 0;
  for (Impl::Drop& d : m.deferred_drops) d.sequence = 0;
  for (Impl::Drop& d : m.fresh_drops) m.deferred_drops.push_back(std::move(d));
  m.fresh_drops.clear();
  m.Reap();
  m.executable = nullptr;
}

RefPtr<SpaceCompanion> MemoryManager::companion() const {
  absl::ReaderMutexLock lock(&impl_->mu);
  return impl_->companion;
}

RefPtr<SpaceCompanion> MemoryManager::EnsureCompanion(absl::FunctionRef<Ref<SpaceCompanion>()> make) {
  absl::MutexLock lock(&impl_->mu);
  if (!impl_->companion && !impl_->gone) impl_->companion = make();
  return impl_->companion;
}

platform::AddressSpace& MemoryManager::space() { return *impl_->space; }

void MemoryManager::SetBrkStart(UserAddr start) {
  absl::MutexLock lock(&impl_->mu);
  impl_->brk_start = impl_->brk = start;
  impl_->layout.start_brk = start;
}

void MemoryManager::SetMmapBase(UserAddr base) {
  absl::MutexLock lock(&impl_->mu);
  impl_->mmap_base = base;
  impl_->gap_hint = 0;
}

void MemoryManager::SetGrowthLimits(uint64_t stack, uint64_t address_space) {
  absl::MutexLock lock(&impl_->mu);
  impl_->stack_limit = stack;
  impl_->as_limit = address_space;
}

ImageLayout MemoryManager::layout() const {
  absl::ReaderMutexLock lock(&impl_->mu);
  return impl_->layout;
}

void MemoryManager::SetLayout(ImageLayout layout) {
  absl::MutexLock lock(&impl_->mu);
  impl_->layout = std::move(layout);
}

RefPtr<MappingIdentity> MemoryManager::executable() const {
  absl::ReaderMutexLock lock(&impl_->mu);
  return impl_->executable;
}

void MemoryManager::SetExecutable(RefPtr<MappingIdentity> identity) {
  absl::MutexLock lock(&impl_->mu);
  std::swap(impl_->executable, identity);
}

namespace {

VmaInfo Describe(MemoryManager::Impl& m, VmaMap::const_iterator v) ABSL_SHARED_LOCKS_REQUIRED(m.mu) {
  const Vma& vma = v->second;
  VmaInfo info{};
  info.range = AddrRange{v->first, vma.end};
  info.prot = vma.prot;
  info.shared = vma.shared;
  info.grows_down = vma.grows_down;
  info.offset = vma.file ? vma.offset : 0;
  if (vma.special_name != nullptr) info.name = vma.special_name;
  info.policy = vma.policy;
  info.dont_dump = vma.dont_dump;
  info.secret = vma.file && vma.file->Secret();
  for (auto p = m.PmaAtOrAfter(v->first); p != m.pmas.end() && p->first < vma.end; ++p) {
    const uint64_t bytes = Intersect(info.range, AddrRange{p->first, p->second.end}).length();
    info.rss_bytes += bytes;
    if (p->second.owned) info.anon_bytes += bytes;
  }
  if (vma.locked) info.locked_bytes = info.rss_bytes;
  return info;
}

void DescribeFile(VmaInfo& info, const RefPtr<MappingIdentity>& identity) {
  if (!identity) return;
  info.device = identity->device();
  info.inode = identity->inode_number();
  if (info.name.empty()) info.name = identity->MappedName();
}

}  // namespace

std::vector<VmaInfo> MemoryManager::Vmas() const {
  std::vector<VmaInfo> infos;
  std::vector<RefPtr<MappingIdentity>> identities;
  {
    absl::ReaderMutexLock lock(&impl_->mu);
    for (auto v = impl_->vmas.begin(); v != impl_->vmas.end(); ++v) {
      infos.push_back(Describe(*impl_, v));
      identities.push_back(v->second.identity);
    }
  }
  // Names are asked for outside the lock: a file system's locks are behind them.
  for (size_t i = 0; i < infos.size(); ++i) DescribeFile(infos[i], identities[i]);
  return infos;
}

std::optional<VmaInfo> MemoryManager::FindVma(UserAddr address) const {
  VmaInfo info;
  RefPtr<MappingIdentity> identity;
  {
    absl::ReaderMutexLock lock(&impl_->mu);
    const auto v = impl_->FindVma(address);
    if (v == impl_->vmas.end()) return std::nullopt;
    info = Describe(*impl_, v);
    identity = v->second.identity;
  }
  DescribeFile(info, identity);
  return info;
}

MemoryStats MemoryManager::stats() const {
  const Impl& m = *impl_;
  absl::ReaderMutexLock lock(&m.mu);
  MemoryStats s{};
  s.virtual_bytes = m.total_bytes;
  s.resident_bytes = m.resident_bytes;
  s.data_bytes = m.data_bytes;
  s.locked_bytes = m.locked_bytes;
  s.peak_virtual_bytes = m.peak_total;
  s.peak_resident_bytes = m.peak_resident;
  for (const auto& [start, vma] : m.vmas) {
    if (vma.grows_down) s.stack_bytes += vma.end - start;
    if (platform::Allows(vma.prot, Prot::kExec)) s.exec_bytes += vma.end - start;
  }
  for (const auto& [start, pma] : m.pmas) (pma.owned ? s.anon_bytes : s.shared_bytes) += pma.end - start;
  return s;
}

bool MemoryManager::SeenFromOutside(uint64_t device) const {
  const Impl& m = *impl_;
  absl::ReaderMutexLock lock(&m.mu);
  return std::any_of(m.vmas.begin(), m.vmas.end(), [device](const auto& entry) {
    const Vma& vma = entry.second;
    if (!vma.file || !vma.identity) return false;
    return vma.shared ? dynamic_cast<const SharedMemory*>(vma.file.get()) == nullptr : vma.identity->device() != device;
  });
}

void MemoryManager::Invalidate(Mappable& file, FileRange range, bool private_too) {
  Impl& m = *impl_;
  bool kick = false;
  {
    absl::MutexLock lock(&m.mu);
    m.NoteThread();
    for (auto& [start, vma] : m.vmas) {
      if (vma.file.get() != &file) continue;
      const FileRange mapped{vma.offset, vma.offset + (vma.end - start)};
      const uint64_t low = std::max(PageDown(range.start), mapped.start);
      const uint64_t high = std::min(range.end > UINT64_MAX - kPageMask ? PageDown(UINT64_MAX) : PageUp(range.end), mapped.end);
      if (low >= high) continue;
      const AddrRange gone{start + (low - mapped.start), start + (high - mapped.start)};
      if (m.DropSome(gone, Impl::Which::kFiles)) kick = true;
      if (private_too && !vma.shared && m.DropSome(gone, Impl::Which::kOwned)) kick = true;
    }
    m.FinishChange();
  }
  if (kick) m.space->Kick();
}

}  // namespace rampart::mm
