// PtracePlatform: makes spaces and contexts; keeps the pristine stub.
// Thread safety: any thread. Lock order: mu_ is a leaf.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "platform/platform.h"
#include "platform/ptrace/placement.h"
#include "platform/ptrace/pristine.h"
#include "platform/ptrace/stub_process.h"

namespace rampart::platform::ptrace {

class PtraceContext;

class PtracePlatform final : public Platform {
 public:
  static Result<std::unique_ptr<Platform>> Create();
  ~PtracePlatform() override;

  const Capabilities& capabilities() const override;
  Result<Ref<AddressSpace>> NewAddressSpace() override;
  Result<std::unique_ptr<Context>> NewContext() override;
  size_t xstate_size() const override;
  uint64_t xstate_features() const override;
  PlatformStats stats() const override;

  // For contexts.
  Result<Ref<StubProcess>> NewProcess();
  Placement& placement() { return placement_; }
  void Add(PtraceContext* context);
  void Remove(PtraceContext* context);
  // Stub threads that all Contexts together keep for later. Keeping: false when there are enough of them.
  bool MayKeepAnother();
  void KeptOneLess() { kept_.fetch_sub(1, std::memory_order_relaxed); }

 private:
  explicit PtracePlatform(std::unique_ptr<Pristine> pristine);

  const std::unique_ptr<Pristine> pristine_;
  Placement placement_;
  std::atomic<size_t> kept_{0};
  mutable absl::Mutex mu_;
  absl::flat_hash_set<PtraceContext*> contexts_ ABSL_GUARDED_BY(mu_);
  PlatformStats gone_ ABSL_GUARDED_BY(mu_);  // sums of contexts that are gone
};

}  // namespace rampart::platform::ptrace
