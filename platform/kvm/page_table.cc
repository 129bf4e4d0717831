#include "platform/kvm/page_table.h"

#include <algorithm>
#include <utility>

namespace rampart::platform::kvm {
namespace {

constexpr int kTopLevel = 3;  // the root; 0 holds the leaves
constexpr uint64_t kEntries = 512;
constexpr uint64_t kTableRights = pte::kPresent | pte::kWrite | pte::kUser | pte::kAccessed;

uint64_t Span(int level) { return kPageSize << (9 * level); }  // bytes that one entry covers
uint64_t Index(uint64_t address, int level) { return (address / Span(level)) % kEntries; }

uint64_t Load(const uint64_t& entry) { return __atomic_load_n(&entry, __ATOMIC_RELAXED); }
void Store(uint64_t& entry, uint64_t value) { __atomic_store_n(&entry, value, __ATOMIC_RELEASE); }

// Calls f(table, entry) for each leaf table that exists under [start, end); f gets the part of the range that it covers.
template <class F>
void ForEachLeafTable(const PagePool& pool, GuestPage table, int level, uint64_t start, uint64_t end, const F& f) {
  if (level == 0) return f(table, start, end);
  while (start < end) {
    const uint64_t next = std::min(end, (start / Span(level) + 1) * Span(level));
    const uint64_t entry = Load(pool.Table(table)[Index(start, level)]);
    if (entry != 0) ForEachLeafTable(pool, entry & pte::kAddress, level - 1, start, next, f);
    start = next;
  }
}

}  // namespace

uint64_t pte::Rights(Prot prot) {
  if (!Any(prot)) return 0;
  uint64_t bits = kPresent | kUser | kAccessed | kDirty;
  if (Allows(prot, Prot::kWrite)) bits |= kWrite;
  if (!Allows(prot, Prot::kExec)) bits |= kNoExecute;
  return bits;
}

Result<std::unique_ptr<PageTable>> PageTable::Create(PagePool& pool, uint64_t kernel_entry) {
  const GuestPage root = TRY(pool.Allocate());
  pool.Table(root)[kEntries - 1] = kernel_entry;
  return std::unique_ptr<PageTable>(new PageTable(pool, root));
}

PageTable::~PageTable() {
  uint64_t* const root = pool_.Table(root_->page);
  for (uint64_t i = 0; i < kEntries - 1; ++i) {
    const uint64_t entry = std::exchange(root[i], 0);
    if (entry == 0) continue;
    FreeBelow(entry & pte::kAddress, kTopLevel - 1);
    pool_.Free(entry & pte::kAddress);
  }
}

void PageTable::FreeBelow(GuestPage table, int level) {
  if (level == 0) return;
  for (uint64_t i = 0; i < kEntries; ++i) {
    const uint64_t entry = pool_.Table(table)[i];
    if (entry == 0) continue;
    FreeBelow(entry & pte::kAddress, level - 1);
    pool_.Free(entry & pte::kAddress);
  }
}

uint64_t* PageTable::Leaf(uint64_t address) const {
  GuestPage table = root_->page;
  for (int level = kTopLevel; level > 0; --level) {
    const uint64_t entry = Load(pool_.Table(table)[Index(address, level)]);
    if (entry == 0) return nullptr;
    table = entry & pte::kAddress;
  }
  return &pool_.Table(table)[Index(address, 0)];
}

uint64_t PageTable::Get(uint64_t address) const {
  const uint64_t* leaf = Leaf(address);
  return leaf == nullptr ? 0 : Load(*leaf);
}

Result<PageTable::Change> PageTable::Set(uint64_t address, GuestPage page, Prot prot) {
  GuestPage table = root_->page;
  for (int level = kTopLevel; level > 0; --level) {
    uint64_t& entry = pool_.Table(table)[Index(address, level)];
    if (Load(entry) == 0) {
      Store(entry, TRY(pool_.Allocate()) | kTableRights);
      ++pool_.live(table);
    }
    table = Load(entry) & pte::kAddress;
  }
  uint64_t& leaf = pool_.Table(table)[Index(address, 0)];
  const uint64_t before = Load(leaf);
  const uint64_t after = page | pte::Rights(prot);
  if (before == after) return Change::kSame;
  Store(leaf, after);
  if (before == 0) {
    ++pool_.live(table);
    return Change::kAdded;
  }
  // More rights to the same page: a processor that does not know yet faults, and finds kSame.
  const bool more = (before & pte::kAddress) == page && (before & pte::kWrite) <= (after & pte::kWrite) &&
                    (before & pte::kNoExecute) >= (after & pte::kNoExecute);
  return more ? Change::kAdded : Change::kReplaced;
}

bool PageTable::ClearIn(GuestPage table, int level, uint64_t start, uint64_t end, std::vector<GuestPage>& emptied) {
  bool any = false;
  while (start < end) {
    const uint64_t next = std::min(end, (start / Span(level) + 1) * Span(level));
    uint64_t& entry = pool_.Table(table)[Index(start, level)];
    const uint64_t value = Load(entry);
    if (value != 0 && level > 0) {
      const GuestPage below = value & pte::kAddress;
      any = ClearIn(below, level - 1, start, next, emptied) || any;
      if (pool_.live(below) == 0) {
        Store(entry, 0);
        --pool_.live(table);
        emptied.push_back(below);
        any = true;  // processors cache table entries, too
      }
    } else if (value != 0) {
      Store(entry, 0);
      --pool_.live(table);
      any = true;
    }
    start = next;
  }
  return any;
}

bool PageTable::Clear(uint64_t start, uint64_t end, std::vector<GuestPage>& emptied) {
  return ClearIn(root_->page, kTopLevel, start, end, emptied);
}

bool PageTable::Protect(uint64_t start, uint64_t end, Prot prot) {
  const uint64_t rights = pte::Rights(prot);
  bool less = false;
  ForEachLeafTable(pool_, root_->page, kTopLevel, start, end, [&](GuestPage table, uint64_t from, uint64_t to) {
    for (uint64_t address = from; address < to; address += kPageSize) {
      uint64_t& leaf = pool_.Table(table)[Index(address, 0)];
      const uint64_t before = Load(leaf);
      if (before == 0) continue;
      const uint64_t after = (before & pte::kAddress) | rights;
      if (after == before) continue;
      Store(leaf, after);
      if ((before & pte::kWrite) > (after & pte::kWrite) || (before & pte::kNoExecute) < (after & pte::kNoExecute)) less = true;
    }
  });
  return less;
}

}  // namespace rampart::platform::kvm
