// PtraceAddressSpace: the queue of mapping changes of one application address space, and the stub process that shows it.
//
// The process comes with the first Switch; until then changes only queue up. Any Context that runs in the space applies the queue, on
// its own stub thread, before application code continues.
//
// Lock order: flush_mu_ → mu_ → (StubProcess::mu_). flush_mu_ is held while the stub runs a batch; that waits for our own code in the
// stub only, never for the application. mu_ is held for moments, also by Map/Unmap/Protect of other threads during a batch.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/ref.h"
#include "platform/platform.h"
#include "platform/ptrace/mapping_queue.h"
#include "platform/ptrace/stub_process.h"

namespace rampart::platform::ptrace {

class PtraceContext;

class PtraceAddressSpace final : public AddressSpace {
 public:
  PtraceAddressSpace() = default;

  void Map(uint64_t address, uint64_t length, Ref<BackingFile> file, uint64_t offset, Prot prot, Populate populate) override;
  void Unmap(uint64_t address, uint64_t length) override;
  void Protect(uint64_t address, uint64_t length, Prot prot) override;
  uint64_t queued() const override { return queued_.load(std::memory_order_acquire); }
  // Without a process no code can reach a page, so everything counts as applied.
  uint64_t applied() const override;
  void Kick() override;

  // For contexts.
  // True when changes wait (or an earlier one failed): Flush() before running code. Ordered after the caller's store of "running".
  bool NeedsFlush() const { return needs_flush_.load(std::memory_order_seq_cst); }
  // Runs the queue on `thread`, a thread of process(). Errors: the host's; they stick: the space can never run again.
  // Adds the injected calls to `injected`.
  Result<void> Flush(StubThread& thread, uint64_t& injected);
  RefPtr<StubProcess> process() const;
  // Binds a process. False when another thread was quicker.
  bool SetProcess(Ref<StubProcess> process);
  void AddContext(PtraceContext* context);
  void RemoveContext(PtraceContext* context);

 private:
  ~PtraceAddressSpace() override;
  void QueuedLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> RunChanges(StubThread& thread, const std::vector<MappingChange>& changes, uint64_t& injected)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(flush_mu_);

  std::atomic<uint64_t> queued_{0};
  std::atomic<uint64_t> applied_{0};
  std::atomic<bool> needs_flush_{false};
  absl::Mutex flush_mu_ ABSL_ACQUIRED_BEFORE(mu_);
  Errno failed_ ABSL_GUARDED_BY(flush_mu_){};  // 0, or what the host said to a change
  mutable absl::Mutex mu_;
  MappingQueue queue_ ABSL_GUARDED_BY(mu_);
  RefPtr<StubProcess> process_ ABSL_GUARDED_BY(mu_);
  std::vector<PtraceContext*> contexts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace rampart::platform::ptrace
