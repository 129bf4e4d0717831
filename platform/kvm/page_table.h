// PageTable: the four-level page tables of one address space. The upper half is the kernel's, one entry shared by all.
//
// The processors walk the tables while they are changed: an entry is stored whole. What a change takes away may live on in TLBs: functions
// say whether a flush is needed, and tables that became empty are handed out, to be freed after that flush.
// Thread safety: none; the owner locks. Memory: PagePool's; the destructor frees what is left but the root, which then shows ring 0 only.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "platform/kvm/page_pool.h"
#include "platform/platform.h"

namespace rampart::platform::kvm {

namespace pte {
inline constexpr uint64_t kPresent = 1, kWrite = 2, kUser = 4, kAccessed = 0x20, kDirty = 0x40, kNoExecute = uint64_t{1} << 63;
inline constexpr uint64_t kAddress = 0x000ffffffffff000;
// Leaf rights; 0 when there are none. What can be written or executed can be read.
uint64_t Rights(Prot prot);
}  // namespace pte

// The root of page tables, kept until no processor has it in CR3.
struct RootPage {
  RootPage(PagePool& p, GuestPage at) : pool(p), page(at) {}
  RootPage(const RootPage&) = delete;
  RootPage& operator=(const RootPage&) = delete;
  ~RootPage() { pool.Free(page); }
  PagePool& pool;
  const GuestPage page;
};

class PageTable {
 public:
  // `kernel_entry`: the root's last entry. Errors: ENOMEM.
  static Result<std::unique_ptr<PageTable>> Create(PagePool& pool, uint64_t kernel_entry);
  ~PageTable();

  const std::shared_ptr<const RootPage>& root() const { return root_; }

  enum class Change : uint8_t { kSame, kAdded, kReplaced };  // kReplaced: a flush is needed
  // Shows guest page `page` at `address` with `prot` (some). Errors: ENOMEM.
  Result<Change> Set(uint64_t address, GuestPage page, Prot prot);
  // True when something was there, so that a flush is needed. Empty tables are appended to `emptied`.
  bool Clear(uint64_t start, uint64_t end, std::vector<GuestPage>& emptied);
  // Changes what is present. True when a right was taken away.
  bool Protect(uint64_t start, uint64_t end, Prot prot);
  // The leaf entry, 0 if there is none.
  uint64_t Get(uint64_t address) const;

 private:
  PageTable(PagePool& pool, GuestPage root) : pool_(pool), root_(std::make_shared<const RootPage>(pool, root)) {}
  uint64_t* Leaf(uint64_t address) const;
  bool ClearIn(GuestPage table, int level, uint64_t start, uint64_t end, std::vector<GuestPage>& emptied);
  void FreeBelow(GuestPage table, int level);

  PagePool& pool_;
  const std::shared_ptr<const RootPage> root_;
};

}  // namespace rampart::platform::kvm
