// Linux interrupts the processors that run a thread of the address space. Here each task that may be in application code is recalled from it, and the
// call returns when each has been in the Sentry once since: coming back is a full barrier on every platform (a ptrace stop goes through the host's
// scheduler, a virtual processor's exit is serialising), and the task thread publishes it in Task::rounds. Who was in the Sentry when we looked
// stores Task::running_ sequentially consistently before it goes back in, so it sees what was written before our look.
//
// Not offered, and not in QUERY's answer: SYNC_CORE (returning to the application need not serialise the instruction stream: SYSRET does not) and
// what belongs to restartable sequences.
#include "sentry/syscalls/membarrier.h"

#include <atomic>
#include <vector>

#include "sentry/kernel/kernel.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;

constexpr uint32_t kGlobal = 1, kGlobalExpedited = 2, kRegisterGlobalExpedited = 4, kPrivateExpedited = 8, kRegisterPrivateExpedited = 16,
                   kGetRegistrations = 512;
constexpr uint32_t kOffered =
    kGlobal | kGlobalExpedited | kRegisterGlobalExpedited | kPrivateExpedited | kRegisterPrivateExpedited | kGetRegistrations;
constexpr Nanos kPoll = 20'000;

enum class Whom : uint8_t { kAll, kRegistered, kOwnSpace };

bool Concerns(const Task& task, const Task& other, Whom whom) {
  if (&other == &task) return false;
  const RefPtr<mm::MemoryManager> mm = other.GetMm();
  if (!mm) return false;
  switch (whom) {
    case Whom::kAll: return true;
    case Whom::kRegistered: return (mm->barrier_registrations.load(std::memory_order_seq_cst) & kRegisterGlobalExpedited) != 0;
    case Whom::kOwnSpace: return mm.get() == &task.mm();
  }
  return true;
}

void PassBarrier(Task& task, Whom whom) {
  struct Awaited {
    Ref<Task> task;
    uint64_t rounds;
  };
  std::vector<Awaited> awaited;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (const Ref<kernel::ThreadGroup>& group : task.kernel().Groups()) {
    for (const Ref<Task>& other : group->Tasks()) {
      // In this order: who comes back in between has passed, and its count tells.
      const uint64_t rounds = other->rounds();
      if (!other->InApplication() || !Concerns(task, *other, whom)) continue;
      other->Recall();
      awaited.push_back({other, rounds});
    }
  }
  for (const Awaited& a : awaited) {
    while (a.task->InApplication() && a.task->rounds() == a.rounds) (void)task.sleeper().SleepUninterruptible(Deadline::After(kPoll));
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

}  // namespace

Result<Word> SysMembarrier(Task& task, int command, uint32_t flags, int) {
  if (flags != 0) return Errno::kEINVAL;
  std::atomic<uint32_t>& registered = task.mm().barrier_registrations;
  switch (static_cast<uint32_t>(command)) {
    case 0:
      return Word{kOffered};
    case kGlobal:
      PassBarrier(task, Whom::kAll);
      return Word{0};
    case kGlobalExpedited:
      PassBarrier(task, Whom::kRegistered);
      return Word{0};
    case kPrivateExpedited:
      if ((registered.load(std::memory_order_relaxed) & kRegisterPrivateExpedited) == 0) return Errno::kEPERM;
      PassBarrier(task, Whom::kOwnSpace);
      return Word{0};
    case kRegisterGlobalExpedited:
    case kRegisterPrivateExpedited:
      registered.fetch_or(static_cast<uint32_t>(command), std::memory_order_seq_cst);
      return Word{0};
    case kGetRegistrations:
      return Word{registered.load(std::memory_order_relaxed)};
    default:
      return Errno::kEINVAL;
  }
}

}  // namespace rampart::syscalls
