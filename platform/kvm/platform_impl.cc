#include "platform/kvm/platform_impl.h"

#include <fcntl.h>

#include <atomic>
#include <utility>

#include "platform/kvm/address_space.h"
#include "platform/kvm/context.h"
#include "platform/kvm/kvm_platform.h"
#include "platform/kvm/needed.h"

namespace rampart::platform::kvm {
namespace {

// Host threads are what bounds them.
constexpr uint32_t kMaxContexts = 16384;

// Before other threads exist.
UniqueFd g_prepared;
Errno g_refused{};  // why there is none after Prepare()
// SAFETY of the order of destruction: never destroyed.
std::shared_ptr<Machine>& Probed() {
  static auto* const machine = new std::shared_ptr<Machine>;
  return *machine;
}
std::atomic<int> g_vm_fd{-1};          // of the last platform made, for NeededIoctls
std::atomic<int> g_first_vcpu_fd{0};

std::vector<NeededIoctl> Ioctls() { return NeededIoctls(g_vm_fd.load(), g_first_vcpu_fd.load()); }

}  // namespace

const PlatformInfo kKvmPlatform{"kvm", WhyUnavailable, KvmPlatform::Create, NeededSyscalls, Ioctls, Prepare, Discard};

void Prepare() {
  if (g_prepared.valid()) return;
  Result<UniqueFd> device = FdFromHost(open("/dev/kvm", O_RDWR | O_CLOEXEC));
  g_refused = device.ok() ? Errno{} : device.error();
  if (device.ok()) g_prepared = std::move(device).value();
}

void Discard() {
  g_prepared.Reset();
  g_refused = Errno{};
  Probed() = nullptr;
}

std::shared_ptr<Machine> TakeProbed(bool keep) {
  if (keep) return Probed();
  return std::exchange(Probed(), nullptr);
}

void KeepProbed(std::shared_ptr<Machine> machine) { Probed() = std::move(machine); }

Result<UniqueFd> OpenDevice() {
  if (g_prepared.valid()) return g_prepared.Duplicate();
  if (g_refused != Errno{}) return g_refused;  // what the file system showed then; now it may show nothing
  return FdFromHost(open("/dev/kvm", O_RDWR | O_CLOEXEC));
}

KvmPlatform::KvmPlatform(std::shared_ptr<Machine> machine)
    : machine_(std::move(machine)),
      capabilities_{.name = "kvm",
                    .min_user_address = kMinUserAddress,
                    .max_user_address = kMaxUserAddress,
                    .fault_access_known = true,
                    .context_thread_is_costly = true,
                    .max_contexts = kMaxContexts} {}

Result<std::unique_ptr<Platform>> KvmPlatform::Create() {
  std::shared_ptr<Machine> machine = TakeProbed(/*keep=*/false);
  if (machine == nullptr) {
    const char* what = "";
    UniqueFd device = TRY(OpenDevice());
    machine = TRY(Machine::Create(std::move(device), &what));
  }
  TRY(KvmContext::InstallSignal());
  g_vm_fd.store(machine->vm_fd());
  g_first_vcpu_fd.store(machine->first_vcpu_fd());
  Discard();
  return std::unique_ptr<Platform>(new KvmPlatform(std::move(machine)));
}

Result<Ref<AddressSpace>> KvmPlatform::NewAddressSpace() {
  Ref<KvmAddressSpace> space = TRY(KvmAddressSpace::Create(machine_));
  return Ref<AddressSpace>(std::move(space));
}

Result<std::unique_ptr<Context>> KvmPlatform::NewContext() { return std::unique_ptr<Context>(std::make_unique<KvmContext>(machine_)); }

PlatformStats KvmPlatform::stats() const {
  PlatformStats stats = machine_->gone();
  machine_->ForEach([&](const KvmContext& context) { context.AddTo(stats); });
  return stats;
}

}  // namespace rampart::platform::kvm
