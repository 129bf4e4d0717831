#include "platform/kvm/address_space.h"

#include <sys/stat.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/safe_math.h"
#include "platform/kvm/context.h"
#include "platform/kvm/kvm_platform.h"
#include "platform/kvm/machine.h"

namespace rampart::platform::kvm {
namespace {

constexpr uint64_t kLeafSpan = 512 * kPageSize;            // what one leaf table covers: filled at one fault
constexpr uint64_t kMostPopulated = 2048 * kPageSize;      // at once, by Map

void CheckRange(uint64_t address, uint64_t length) {
  CHECK(length > 0 && PageAligned(address) && PageAligned(length));
  CHECK(address >= kMinUserAddress && address < kMaxUserAddress && length <= kMaxUserAddress - address);
}

// Where a touch of the file's pages becomes SIGBUS. Somebody may truncate it right after: then KVM_RUN fails (DropUnstable).
uint64_t EndOf(const BackingFile& file) {
  if (file.stable()) return UINT64_MAX;
  struct stat status {};
  if (fstat(file.fd(), &status) != 0) return 0;
  return PageUp(static_cast<uint64_t>(std::max<off_t>(status.st_size, 0)));
}

}  // namespace

Result<Ref<KvmAddressSpace>> KvmAddressSpace::Create(std::shared_ptr<Machine> machine) {
  std::unique_ptr<PageTable> table = TRY(PageTable::Create(machine->pool(), machine->kernel_entry()));
  return MakeRef<KvmAddressSpace>(std::move(machine), std::move(table));
}

KvmAddressSpace::KvmAddressSpace(std::shared_ptr<Machine> machine, std::unique_ptr<PageTable> table)
    : machine_(std::move(machine)), root_(table->root()), table_(std::move(table)) {
  machine_->SpaceMade();
}

KvmAddressSpace::~KvmAddressSpace() {
  Pending rest{};
  {
    absl::MutexLock lock(&mu_);
    for (Pending& pending : pending_) Release(pending);
    for (auto& [start, mapping] : mappings_) {
      if (mapping.chunk != nullptr) rest.chunks.push_back(mapping.chunk);
    }
  }
  Release(rest);
  machine_->SpaceGone();
}

// --- Bookkeeping of mappings.

KvmAddressSpace::Mappings::iterator KvmAddressSpace::AtOrAfter(uint64_t address) {
  auto m = mappings_.upper_bound(address);
  if (m != mappings_.begin()) {
    const auto before = std::prev(m);
    if (before->second.end > address) return before;
  }
  return m;
}

KvmAddressSpace::Mappings::iterator KvmAddressSpace::At(uint64_t address) {
  const auto m = AtOrAfter(address);
  return m != mappings_.end() && m->first <= address ? m : mappings_.end();
}

void KvmAddressSpace::SplitAt(uint64_t address) {
  const auto m = At(address);
  if (m == mappings_.end() || m->first == address) return;
  Mapping high = m->second;
  high.offset += address - m->first;
  m->second.end = address;
  if (high.chunk != nullptr) machine_->memory().AddUser(high.chunk);
  mappings_.emplace(address, std::move(high));
}

void KvmAddressSpace::ForgetChunk(Mapping& mapping, Pending& gone) {
  if (mapping.chunk != nullptr) gone.chunks.push_back(std::exchange(mapping.chunk, nullptr));
}

void KvmAddressSpace::Cut(uint64_t start, uint64_t end, Pending& gone) {
  SplitAt(start);
  SplitAt(end);
  const auto first = AtOrAfter(start);
  auto m = first;
  for (; m != mappings_.end() && m->first < end; ++m) {
    ForgetChunk(m->second, gone);
    gone.files.push_back(std::move(m->second.file));
  }
  mappings_.erase(first, m);
}

void KvmAddressSpace::Changed(bool flush, Pending gone) {
  const uint64_t number = queued_.fetch_add(1, std::memory_order_seq_cst) + 1;
  if (flush) generation_.store(number, std::memory_order_seq_cst);
  if (gone.empty()) return;
  gone.number = number;
  pending_.push_back(std::move(gone));
  has_pending_.store(true, std::memory_order_release);
}

void KvmAddressSpace::Map(uint64_t address, uint64_t length, Ref<BackingFile> file, uint64_t offset, Prot prot, Populate populate) {
  CheckRange(address, length);
  CHECK(PageAligned(offset));
  const uint64_t end = address + length;
  {
    absl::MutexLock lock(&mu_);
    Pending gone{};
    Cut(address, end, gone);
    mappings_.emplace(address, Mapping{.end = end, .file = std::move(file), .offset = offset, .prot = prot});
    bool flush = false;
    if (populate == Populate::kNow && Any(prot) && length <= kMostPopulated) {
      PopulateNow(address, end, flush);
    } else {
      flush = table_->Clear(address, end, gone.tables);
    }
    Changed(flush, std::move(gone));
  }
  ReleaseWhatIsDue();
}

void KvmAddressSpace::PopulateNow(uint64_t start, uint64_t end, bool& flush) {
  std::vector<GuestPage> emptied;
  for (uint64_t at = start; at < end;) {
    const Result<Mappings::iterator> piece = Piece(at);
    const uint64_t stop = piece.ok() ? (*piece)->second.end : end;
    if (!piece.ok() || !(*piece)->second.file->stable()) {
      // Left for the touch. Tables that this empties stay with the space until they are used again, or the space ends.
      std::vector<GuestPage> kept;
      flush = table_->Clear(at, stop, kept) || flush;
      emptied.insert(emptied.end(), kept.begin(), kept.end());
      at = stop;
      continue;
    }
    const Mapping& m = (*piece)->second;
    const uint64_t guest = m.chunk->guest + (m.offset - m.chunk->offset) - (*piece)->first;
    for (; at < stop; at += kPageSize) {
      const auto set = table_->Set(at, guest + at, m.prot);
      if (set.ok()) flush = flush || *set == PageTable::Change::kReplaced;
    }
  }
  if (emptied.empty()) return;
  Pending tables{};
  tables.tables = std::move(emptied);
  Changed(true, std::move(tables));
}

void KvmAddressSpace::Unmap(uint64_t address, uint64_t length) {
  CheckRange(address, length);
  {
    absl::MutexLock lock(&mu_);
    Pending gone{};
    Cut(address, address + length, gone);
    const bool flush = table_->Clear(address, address + length, gone.tables);
    Changed(flush, std::move(gone));
  }
  ReleaseWhatIsDue();
}

void KvmAddressSpace::Protect(uint64_t address, uint64_t length, Prot prot) {
  CheckRange(address, length);
  const uint64_t end = address + length;
  {
    absl::MutexLock lock(&mu_);
    Pending gone{};
    bool flush = false;
    SplitAt(address);
    SplitAt(end);
    for (auto m = AtOrAfter(address); m != mappings_.end() && m->first < end; ++m) {
      m->second.prot = prot;
      const bool read_only_chunk = m->second.chunk != nullptr && !m->second.chunk->writable && Allows(prot, Prot::kWrite);
      if (read_only_chunk) ForgetChunk(m->second, gone);
      if (read_only_chunk || !Any(prot)) flush = table_->Clear(m->first, m->second.end, gone.tables) || flush;
    }
    if (Any(prot)) flush = table_->Protect(address, end, prot) || flush;
    Changed(flush, std::move(gone));
  }
  ReleaseWhatIsDue();
}

// --- Faults.

Result<KvmAddressSpace::Mappings::iterator> KvmAddressSpace::Piece(uint64_t address) {
  auto m = At(address);
  CHECK(m != mappings_.end());
  if (m->second.chunk != nullptr) return m;
  const uint64_t offset = m->second.offset + (address - m->first);
  const bool write = m->second.file->stable() || Allows(m->second.prot, Prot::kWrite);
  Chunk* const chunk = TRY(machine_->memory().Acquire(m->second.file, offset, write));
  // The chunk's part of the mapping.
  const uint64_t from = address - std::min(address - m->first, offset - chunk->offset);
  const uint64_t to = address + std::min(m->second.end - address, chunk->offset + chunk->length - offset);
  SplitAt(from);
  SplitAt(to);
  m = At(address);
  m->second.chunk = chunk;
  return m;
}

Result<KvmAddressSpace::Resolution> KvmAddressSpace::Resolve(uint64_t address, Prot access) {
  if (address < kMinUserAddress || address >= kMaxUserAddress) return Resolution{Outcome::kFault};
  address = PageDown(address);
  absl::MutexLock lock(&mu_);
  const auto m = At(address);
  if (m == mappings_.end()) return Resolution{Outcome::kFault};
  const Prot prot = m->second.prot;
  const bool allowed = access == Prot::kRead ? Any(prot) : Allows(prot, access);
  if (!allowed) return Resolution{Outcome::kFault, true};
  const uint64_t file_end = EndOf(*m->second.file);
  if (m->second.offset + (address - m->first) >= file_end) return Resolution{Outcome::kBeyondFile};
  const Result<Mappings::iterator> found = Piece(address);
  if (!found.ok() && found.error() == Errno::kEINVAL) return Resolution{Outcome::kBeyondFile};  // what the file says of places that it can never have
  const Mappings::iterator piece = TRY(found);
  const Mapping& part = piece->second;
  uint64_t start = std::max(piece->first, address & ~(kLeafSpan - 1));
  uint64_t end = std::min(part.end, (address & ~(kLeafSpan - 1)) + kLeafSpan);
  if (file_end - part.offset < end - piece->first) end = piece->first + (file_end - part.offset);
  const uint64_t guest = part.chunk->guest + (part.offset - part.chunk->offset) - piece->first;
  const PageTable::Change here = TRY(table_->Set(address, guest + address, prot));
  bool flush = here == PageTable::Change::kReplaced;
  for (; start < end; start += kPageSize) {
    const PageTable::Change change = TRY(table_->Set(start, guest + start, prot));
    flush = flush || change == PageTable::Change::kReplaced;
  }
  if (flush) Changed(true, Pending{});
  return Resolution{here == PageTable::Change::kSame ? Outcome::kStale : Outcome::kResolved};
}

void KvmAddressSpace::DropUnstable() {
  absl::MutexLock lock(&mu_);
  Pending gone{};
  for (auto& [start, mapping] : mappings_) {
    if (mapping.chunk == nullptr || mapping.file->stable()) continue;
    (void)table_->Clear(start, mapping.end, gone.tables);
  }
  Changed(true, std::move(gone));
}

// --- Who has seen what.

void KvmAddressSpace::AddContext(KvmContext* context) {
  absl::MutexLock lock(&contexts_mu_);
  contexts_.push_back(context);
}

void KvmAddressSpace::RemoveContext(KvmContext* context) {
  absl::MutexLock lock(&contexts_mu_);
  std::erase(contexts_, context);
}

uint64_t KvmAddressSpace::applied() const {
  // The order matters: a Context that is found outside the guest now will look at generation() before it enters.
  const uint64_t queued = queued_.load(std::memory_order_seq_cst);
  const uint64_t generation = generation_.load(std::memory_order_seq_cst);
  uint64_t oldest = queued;
  absl::MutexLock lock(&contexts_mu_);
  for (const KvmContext* context : contexts_) {
    if (context->SeenWhileRunning() < generation) oldest = std::min(oldest, context->SeenWhileRunning());
  }
  return oldest;
}

uint64_t KvmAddressSpace::Shootdown(const KvmContext& self) {
  const uint64_t wanted = generation();
  uint64_t calls = 0;
  waiting_.fetch_add(1, std::memory_order_seq_cst);
  for (;;) {
    // Read before the look at who runs: whoever is seen running changes it afterwards.
    const int left = left_.load(std::memory_order_seq_cst);
    bool all = true;
    {
      absl::MutexLock lock(&contexts_mu_);
      for (KvmContext* context : contexts_) {
        if (context == &self || context->SeenWhileRunning() >= wanted) continue;
        all = false;
        // Each time: one that has just become marked as running, and has not stored what it sees, must come by as well.
        calls += context->Nudge();
      }
    }
    if (all) break;
    left_.wait(left, std::memory_order_seq_cst);
    ++calls;
  }
  waiting_.fetch_sub(1, std::memory_order_seq_cst);
  uint64_t shot = shot_.load(std::memory_order_relaxed);
  while (shot < wanted && !shot_.compare_exchange_weak(shot, wanted, std::memory_order_seq_cst)) {
  }
  return calls;
}

void KvmAddressSpace::Kick() {
  absl::MutexLock lock(&contexts_mu_);
  for (KvmContext* context : contexts_) context->KickIfRunning();
}

void KvmAddressSpace::Release(Pending& pending) {
  for (const GuestPage page : pending.tables) machine_->pool().Free(page);
  for (Chunk* chunk : pending.chunks) machine_->memory().Release(chunk);
  pending.files.clear();
}

void KvmAddressSpace::ReleasePending() {
  const uint64_t done = applied();
  for (;;) {
    Pending due{};
    {
      absl::MutexLock lock(&mu_);
      if (pending_.empty() || pending_.front().number > done) {
        has_pending_.store(!pending_.empty(), std::memory_order_release);
        return;
      }
      due = std::move(pending_.front());
      pending_.pop_front();
    }
    Release(due);
  }
}

}  // namespace rampart::platform::kvm
