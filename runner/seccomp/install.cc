#include "runner/seccomp/install.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <thread>
#include <utility>

#include "absl/base/internal/sysinfo.h"
#include "absl/synchronization/mutex.h"
#include "runner/seccomp/compile.h"
#include "runner/seccomp/sanitizers.h"

namespace rampart::seccomp {
namespace {

Installer replacement = nullptr;  // set before threads exist, then only read

}  // namespace

void ReplaceInstallerForTesting(Installer installer) { replacement = installer; }

Result<void> Install(const Policy& policy) {
  if (replacement != nullptr) return replacement(policy);
  Program program = Compile(WithSanitizerCalls(policy));
  const sock_fprog prog{static_cast<unsigned short>(program.size()), program.data()};
  const long result = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
  if (result < 0) return ErrnoFromHost(errno);
  if (result > 0) return Errno::kESRCH;
  return Ok();
}

void PrimeAllocator() {
  static bool done = false;  // the process has one thread yet
  if (std::exchange(done, true)) return;
#ifdef RAMPART_SHIPS
  // Debian's Abseil is built with its lock-order checks on: each Lock() then takes a lock of the whole process and walks a graph. The builds that
  // tests use by themselves want that.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
  // A fixed number of arenas keeps malloc from counting processors.
  ::mallopt(M_ARENA_MAX, 4);
  // absl::Mutex counts them too, at the first contention, reads their frequency in /sys, and asks for its thread's priority. All answers are
  // remembered, the last by the thread and by those that it makes from now on.
  absl::base_internal::NumCPUs();
  absl::base_internal::NominalCPUFrequency();  // see cpu_frequency.cc
  int policy = 0;
  sched_param param{};
  ::pthread_getschedparam(::pthread_self(), &policy, &param);
  std::thread([] {
    // Below the mmap threshold and together above the trim threshold: freeing them shrinks this thread's arena.
    constexpr size_t kBlock = 64 << 10;
    std::array<void*, 8> blocks{};
    for (void*& block : blocks) block = std::malloc(kBlock);
    for (size_t i = blocks.size(); i-- > 0;) std::free(blocks[i]);
  }).join();
}

}  // namespace rampart::seccomp
