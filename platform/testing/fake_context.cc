#include <algorithm>
#include <utility>

#include "platform/testing/fake_platform.h"

namespace rampart::platform::testing {

FakeContext::FakeContext(FakePlatform& platform) : platform_(platform), xstate_(FakePlatform::kXstateSize) { platform_.Add(this); }

FakeContext::~FakeContext() { platform_.Remove(this); }

FakeContext::Program FakeContext::NextLocked() {
  if (script_.empty()) return nullptr;
  Program next = std::move(script_.front());
  script_.pop_front();
  return next;
}

Result<Exit> FakeContext::Switch(AddressSpace& space, Step step) {
  auto& fake = static_cast<FakeAddressSpace&>(space);
  TRY(fake.Apply());
  fake.Enter(this);
  const Program everybodys = platform_.program();
  Program program;
  bool interrupted = false;
  {
    absl::MutexLock lock(&mu_);
    ++switches_;
    program = interrupted_ ? nullptr : NextLocked();
    if (program == nullptr && !interrupted_) {
      program = everybodys;
      if (program == nullptr) {
        mu_.Await(absl::Condition(
            +[](FakeContext* c) ABSL_NO_THREAD_SAFETY_ANALYSIS { return c->interrupted_ || !c->script_.empty(); }, this));
        if (!interrupted_) program = NextLocked();
      }
    }
    if (program == nullptr) interrupted = std::exchange(interrupted_, false);
  }
  Result<Exit> result = interrupted ? Result<Exit>(Exit{.reason = ExitReason::kInterrupted}) : program(*this, fake, step);
  fake.Exit(this);
  return result;
}

Result<void> FakeContext::Commit(AddressSpace& space) { return static_cast<FakeAddressSpace&>(space).Apply(); }

void FakeContext::Interrupt() {
  absl::MutexLock lock(&mu_);
  interrupted_ = true;
}

Result<void> FakeContext::GetExtendedState(std::span<std::byte> out) {
  if (out.size() != xstate_.size()) return Errno::kEINVAL;
  std::copy(xstate_.begin(), xstate_.end(), out.begin());
  return Ok();
}

Result<void> FakeContext::SetExtendedState(std::span<const std::byte> in) {
  if (in.size() != xstate_.size()) return Errno::kEINVAL;
  xstate_.assign(in.begin(), in.end());
  return Ok();
}

Result<void> FakeContext::PrepareSibling(AddressSpace&) {
  absl::MutexLock lock(&mu_);
  ++siblings_;
  return Ok();
}

void FakeContext::Leave(AddressSpace&) {
  std::fill(xstate_.begin(), xstate_.end(), std::byte{});
  absl::MutexLock lock(&mu_);
  ++leaves_;
}

void FakeContext::Push(platform::Exit exit) {
  Push([exit](FakeContext&, FakeAddressSpace&, Step) -> Result<platform::Exit> { return exit; });
}

void FakeContext::Push(Program step) {
  absl::MutexLock lock(&mu_);
  script_.push_back(std::move(step));
}

size_t FakeContext::switches() const {
  absl::MutexLock lock(&mu_);
  return switches_;
}
size_t FakeContext::siblings_prepared() const {
  absl::MutexLock lock(&mu_);
  return siblings_;
}
size_t FakeContext::leaves() const {
  absl::MutexLock lock(&mu_);
  return leaves_;
}
bool FakeContext::interrupt_pending() const {
  absl::MutexLock lock(&mu_);
  return interrupted_;
}

}  // namespace rampart::platform::testing
