// FakePlatform: the platform interfaces without any application code, for unit tests of the memory manager and the kernel.
//
//   FakeAddressSpace  records what is mapped; tests ask what backs an address, with which rights.
//   FakeContext       Switch() performs what a test scripted: exits in order, or a function that plays the program. With nothing
//                     scripted it waits, as a program that computes, until Interrupt(), Kick() or a script comes.
//   FakePlatform      makes them, and knows all contexts, so that a test finds those that the kernel made.
//
//   FakePlatform platform;
//   platform.SetProgram([](FakeContext& c, FakeAddressSpace&, Step) { c.regs().rax = SYS_getpid; return Exit{.reason = ExitReason::kSyscall}; });
//
// Thread safety: as the interfaces; the additional functions may be called from any thread, scripts run on the context's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "platform/platform.h"

namespace rampart::platform::testing {

class FakeContext;

class FakeAddressSpace final : public AddressSpace {
 public:
  struct Mapping {
    uint64_t address;
    uint64_t length;
    RefPtr<BackingFile> file;
    uint64_t offset;
    Prot prot;
    Populate populate;
  };

  void Map(uint64_t address, uint64_t length, Ref<BackingFile> file, uint64_t offset, Prot prot, Populate populate) override;
  void Unmap(uint64_t address, uint64_t length) override;
  void Protect(uint64_t address, uint64_t length, Prot prot) override;
  uint64_t queued() const override;
  uint64_t applied() const override;
  void Kick() override;

  // The mapping that covers the page of `address`, cut to that page; nothing when it is a hole. Queued changes count.
  std::optional<Mapping> Find(uint64_t address) const;
  // Everything, by address; neighbours that continue each other are merged.
  std::vector<Mapping> Mappings() const;

  // When held, applied() stays behind until a context runs or commits in this space; otherwise changes apply at once (the default).
  void HoldChanges(bool hold);
  void ApplyNow();
  // The next Commit or Switch fails with this.
  void FailNextApply(Errno error);
  Result<void> Apply();  // what contexts call

  size_t map_calls() const;
  size_t unmap_calls() const;
  size_t protect_calls() const;
  uint64_t protected_bytes() const;  // over all calls, with what gaps they span
  size_t kicks() const;

  void Enter(FakeContext* context);
  void Exit(FakeContext* context);

 private:
  void CutLocked(uint64_t start, uint64_t end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ChangedLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  std::map<uint64_t, Mapping> mappings_ ABSL_GUARDED_BY(mu_);
  uint64_t queued_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t applied_ ABSL_GUARDED_BY(mu_) = 0;
  bool hold_ ABSL_GUARDED_BY(mu_) = false;
  Errno fail_next_ ABSL_GUARDED_BY(mu_){};
  size_t map_calls_ ABSL_GUARDED_BY(mu_) = 0;
  size_t unmap_calls_ ABSL_GUARDED_BY(mu_) = 0;
  size_t protect_calls_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t protected_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  size_t kicks_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<FakeContext*> inside_ ABSL_GUARDED_BY(mu_);
};

class FakePlatform;

class FakeContext final : public Context {
 public:
  using Program = std::function<Result<Exit>(FakeContext&, FakeAddressSpace&, Step)>;

  explicit FakeContext(FakePlatform& platform);
  ~FakeContext() override;

  abi::UserRegs& regs() override { return regs_; }
  Result<Exit> Switch(AddressSpace& space, Step step) override;
  Result<void> Commit(AddressSpace& space) override;
  void Interrupt() override;
  Result<void> GetExtendedState(std::span<std::byte> out) override;
  Result<void> SetExtendedState(std::span<const std::byte> in) override;
  Result<void> PrepareSibling(AddressSpace& space) override;
  void Leave(AddressSpace& space) override;
  void SetAnswers(std::span<const KnownAnswer>) override {}

  // Appends one Switch's result or behaviour.
  void Push(platform::Exit exit);
  void Push(Program step);

  size_t switches() const;
  size_t siblings_prepared() const;
  size_t leaves() const;
  bool interrupt_pending() const;

 private:
  Program NextLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  FakePlatform& platform_;
  abi::UserRegs regs_{};
  std::vector<std::byte> xstate_;  // context thread only
  mutable absl::Mutex mu_;
  std::deque<Program> script_ ABSL_GUARDED_BY(mu_);
  bool interrupted_ ABSL_GUARDED_BY(mu_) = false;
  size_t switches_ ABSL_GUARDED_BY(mu_) = 0;
  size_t siblings_ ABSL_GUARDED_BY(mu_) = 0;
  size_t leaves_ ABSL_GUARDED_BY(mu_) = 0;
};

class FakePlatform final : public Platform {
 public:
  FakePlatform();

  const Capabilities& capabilities() const override { return capabilities_; }
  Result<Ref<AddressSpace>> NewAddressSpace() override;
  Result<std::unique_ptr<Context>> NewContext() override;
  size_t xstate_size() const override { return kXstateSize; }
  uint64_t xstate_features() const override { return 3; }
  PlatformStats stats() const override;

  // What every context without a script of its own does at each Switch.
  void SetProgram(FakeContext::Program program);
  FakeContext::Program program() const;
  // Those that exist, oldest first.
  std::vector<FakeContext*> contexts() const;
  // To try other values; set before use.
  Capabilities& mutable_capabilities() { return capabilities_; }

  // For FakeContext.
  void Add(FakeContext* context);
  void Remove(FakeContext* context);

  static constexpr size_t kXstateSize = 576;  // the legacy area and the header

 private:
  Capabilities capabilities_;
  mutable absl::Mutex mu_;
  FakeContext::Program program_ ABSL_GUARDED_BY(mu_);
  std::vector<FakeContext*> contexts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace rampart::platform::testing
