#include "platform/testing/fake_platform.h"

#include <utility>

namespace rampart::platform::testing {

FakePlatform::FakePlatform()
    : capabilities_{.name = "fake",
                    .min_user_address = 0x10000,
                    .max_user_address = 0x7fffffff0000,
                    .fault_access_known = true,
                    .context_thread_is_costly = false,
                    .max_contexts = 4096} {}

Result<Ref<AddressSpace>> FakePlatform::NewAddressSpace() { return Ref<AddressSpace>(MakeRef<FakeAddressSpace>()); }

Result<std::unique_ptr<Context>> FakePlatform::NewContext() { return std::unique_ptr<Context>(std::make_unique<FakeContext>(*this)); }

PlatformStats FakePlatform::stats() const {
  PlatformStats stats;
  absl::MutexLock lock(&mu_);
  for (const FakeContext* context : contexts_) stats.switches += context->switches();
  return stats;
}

void FakePlatform::SetProgram(FakeContext::Program program) {
  absl::MutexLock lock(&mu_);
  program_ = std::move(program);
}

FakeContext::Program FakePlatform::program() const {
  absl::MutexLock lock(&mu_);
  return program_;
}

std::vector<FakeContext*> FakePlatform::contexts() const {
  absl::MutexLock lock(&mu_);
  return contexts_;
}

void FakePlatform::Add(FakeContext* context) {
  absl::MutexLock lock(&mu_);
  contexts_.push_back(context);
}

void FakePlatform::Remove(FakeContext* context) {
  absl::MutexLock lock(&mu_);
  std::erase(contexts_, context);
}

}  // namespace rampart::platform::testing
