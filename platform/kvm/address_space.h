// KvmAddressSpace: what is mapped where, the page tables that show it, and who runs in it.
//
// Model. Map, Unmap and Protect change the tables at once; "queued" is only what processors that are in the guest now may still have in their
// TLBs. Each change has a number. generation() is the last change that took something away (or moved it); a Context that enters the guest
// reloads CR3 when it has seen less (seen()). Before a Context runs, Shootdown() makes the others that are in the guest leave and flush, and waits. What a
// change took away (tables, chunks, files) is released when no processor can reach it any longer.
// Entries are filled in when touched (Resolve), a leaf table's worth at a time, or at once for Populate::kNow.
//
// Thread safety: any thread. Lock order: mu_ → (GuestMemory, PagePool); contexts_mu_ is a leaf. Nothing is released under either.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/synchronization/mutex.h"
#include "platform/kvm/guest_memory.h"
#include "platform/kvm/page_table.h"
#include "platform/platform.h"

namespace rampart::platform::kvm {

class KvmContext;
class Machine;

class KvmAddressSpace final : public AddressSpace {
 public:
  // Errors: ENOMEM.
  static Result<Ref<KvmAddressSpace>> Create(std::shared_ptr<Machine> machine);

  void Map(uint64_t address, uint64_t length, Ref<BackingFile> file, uint64_t offset, Prot prot, Populate populate) override;
  void Unmap(uint64_t address, uint64_t length) override;
  void Protect(uint64_t address, uint64_t length, Prot prot) override;
  uint64_t queued() const override { return queued_.load(std::memory_order_seq_cst); }
  uint64_t applied() const override;
  void Kick() override;

  // For contexts.
  const std::shared_ptr<const RootPage>& root() const { return root_; }
  uint64_t generation() const { return generation_.load(std::memory_order_seq_cst); }
  bool NeedsShootdown() const { return shot_.load(std::memory_order_seq_cst) < generation(); }
  // Returns when no other Context in the guest can have anything from before generation() in its TLB. Not while marked as running. Returns the
  // number of host calls.
  uint64_t Shootdown(const KvmContext& self);
  // A Context is no longer marked as running: whoever waits in Shootdown looks again.
  void SomebodyLeft() {
    if (waiting_.load(std::memory_order_seq_cst) == 0) [[likely]] return;
    left_.fetch_add(1, std::memory_order_seq_cst);
    left_.notify_all();
  }
  void ReleaseWhatIsDue() {
    if (has_pending_.load(std::memory_order_acquire)) ReleasePending();
  }

  enum class Outcome : uint8_t {
    kResolved,    // go on
    kStale,       // the entry was there: flush, go on
    kFault,       // not mapped, or not with that right
    kBeyondFile,  // SIGBUS
  };
  struct Resolution {
    Outcome outcome;
    bool was_mapped = false;  // kFault
  };
  // A page fault of `access`. Errors: ENOMEM; what the file's Window said.
  Result<Resolution> Resolve(uint64_t address, Prot access);
  // The host refused a page of some chunk: nothing of files that others may truncate is shown any longer, so that the next touch says which.
  void DropUnstable();

  void AddContext(KvmContext* context);
  void RemoveContext(KvmContext* context);

 private:
  struct Mapping {
    uint64_t end;
    RefPtr<BackingFile> file;
    uint64_t offset;  // in the file, of the mapping's start
    Prot prot;
    Chunk* chunk = nullptr;  // one user of it is this mapping; null until touched
  };
  using Mappings = absl::btree_map<uint64_t, Mapping>;
  // What changes up to `number` took away.
  struct Pending {
    uint64_t number;
    std::vector<GuestPage> tables;
    std::vector<Chunk*> chunks;
    std::vector<RefPtr<BackingFile>> files;
    bool empty() const { return tables.empty() && chunks.empty() && files.empty(); }
  };

  KvmAddressSpace(std::shared_ptr<Machine> machine, std::unique_ptr<PageTable> table);
  ~KvmAddressSpace() override;
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);

  Mappings::iterator At(uint64_t address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Mappings::iterator AtOrAfter(uint64_t address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SplitAt(uint64_t address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Cut(uint64_t start, uint64_t end, Pending& gone) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The part of the mapping at `address` that lies in one chunk, with that chunk.
  Result<Mappings::iterator> Piece(uint64_t address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void PopulateNow(uint64_t start, uint64_t end, bool& flush) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ForgetChunk(Mapping& mapping, Pending& gone) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Changed(bool flush, Pending gone) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReleasePending();
  void Release(Pending& pending);

  const std::shared_ptr<Machine> machine_;
  const std::shared_ptr<const RootPage> root_;
  std::atomic<uint64_t> queued_{0};
  std::atomic<uint64_t> generation_{0};
  std::atomic<uint64_t> shot_{0};
  std::atomic<bool> has_pending_{false};
  std::atomic<int> waiting_{0};  // threads in Shootdown
  std::atomic<int> left_{0};     // changes while there are some; int, because that is what the host's futexes wait for
  mutable absl::Mutex mu_;
  const std::unique_ptr<PageTable> table_ ABSL_PT_GUARDED_BY(mu_);
  Mappings mappings_ ABSL_GUARDED_BY(mu_);
  std::deque<Pending> pending_ ABSL_GUARDED_BY(mu_);
  mutable absl::Mutex contexts_mu_;
  std::vector<KvmContext*> contexts_ ABSL_GUARDED_BY(contexts_mu_);
};

}  // namespace rampart::platform::kvm
