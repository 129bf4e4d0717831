// StubProcess: the host process that holds one application address space, and StubThread: one of its threads, traced by one host
// thread of ours.
//
// Model. The leader of a stub process parks for ever and is never traced. Application code runs in further threads, each seized by the
// host thread of one Context. (If the leader ran code, a SIGKILL from outside would leave its tracer in wait4 until every other tracer
// had reaped its own thread of the process: Linux reports a leader last.)
//
// A process is *bound* to one AddressSpace, or *idle*: kept, with all its traced threads, until a Context that has a thread in it needs
// a process. What the former space left mapped is unmapped by the first batch for the next one. A thread is *parked* when no Context
// has it: it sleeps natively in stub code until one seizes it.
//
// Ownership: reference counted by the AddressSpace and by each StubThread. The last reference kills and reaps the process; it is gone
// from the host when the destructor returns.
// Thread safety: StubProcess: any thread. StubThread: the thread that seized it. Lock order: StubProcess::mu_ is a leaf.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "abi/regs.h"
#include "base/ref.h"
#include "base/result.h"
#include "platform/ptrace/placement.h"
#include "platform/ptrace/pristine.h"

namespace rampart::platform::ptrace {

class StubProcess final : public RefCounted {
 public:
  // A new process, bound, with one parked thread. Errors: Pristine::Spawn().
  static Result<Ref<StubProcess>> Spawn(Pristine& pristine);

  pid_t pid() const { return pid_; }
  Command* commands() const { return pristine_.Commands(slot_); }

  // Bound or idle. Acquire: true when it was idle and now is the caller's. A dead process is never acquired.
  bool Acquire();
  void Release();
  bool idle() const { return state_.load(std::memory_order_acquire) == State::kIdle; }
  // Ends an idle process for good; false when it is bound (or was just acquired).
  bool RetireIfIdle();

  bool dead() const { return state_.load(std::memory_order_acquire) == State::kDead; }
  // SIGKILL; threads that others trace are reaped by them.
  void Kill();

  // The batch that must run before application code: unmaps the control page of a new process, everything of a used one. Taken once.
  // The result is {address, length}; length 0 when nothing is due.
  struct Wipe {
    uint64_t address;
    uint64_t length;
  };
  Wipe TakeWipe();

  // Threads that no Context has.
  void AddParked(pid_t tid);
  pid_t TakeParked();  // 0: none
  // For the count of threads promised to siblings that have not come yet. True when another parked thread is needed for this promise.
  bool PromiseSibling();
  void SiblingArrived();
  size_t parked() const;

 private:
  enum class State : uint8_t { kBound, kIdle, kDead };
  enum class Wiping : uint8_t { kNothing, kControlPage, kAll };
  StubProcess(Pristine& pristine, const Pristine::Spawned& spawned);
  ~StubProcess() override;

  Pristine& pristine_;
  const pid_t pid_;
  const uint32_t slot_;
  std::atomic<State> state_{State::kBound};
  std::atomic<Wiping> wiping_{Wiping::kControlPage};
  mutable absl::Mutex mu_;
  std::vector<pid_t> parked_ ABSL_GUARDED_BY(mu_);
  uint32_t promised_ ABSL_GUARDED_BY(mu_) = 0;
};

class StubThread {
 public:
  // Seizes a parked thread and stops it. Errors: EPERM (the host forbids it), ESRCH (the process was killed).
  static Result<std::unique_ptr<StubThread>> SeizeParked(Ref<StubProcess> process, pid_t tid);
  // Lets go of the thread: parks it when its process lives on, else kills the process. Reaps it.
  ~StubThread();
  StubThread(const StubThread&) = delete;
  StubThread& operator=(const StubThread&) = delete;

  StubProcess& process() const { return *process_; }
  pid_t tid() const { return tid_; }
  // False when the process was killed from outside while nothing ran in it.
  bool Alive() const;
  // The CPU that the thread was bound to when it was put away (Placement).
  int cpu() const { return cpu_; }
  void set_cpu(int cpu) { cpu_ = cpu; }

  // Runs a routine of stub.S that ends in int3, natively, with these registers, until it stands at `done`, the instruction after that.
  // Signals that come meanwhile are swallowed: the caller looks at its own flag afterwards. Errors: ESRCH (killed), EIO (it ended
  // elsewhere: never expected).
  Result<void> RunRoutine(const char* label, const char* done, abi::UserRegs& regs);
  // Runs the first `count` of the process's commands. Errors: that of the first command which failed; those after it did not run.
  Result<void> RunBatch(size_t count);
  // Clones a thread that parks. The caller adds it to the process.
  Result<pid_t> CloneSibling();

  // The tracee was found dead by a wait of the owner's; it is reaped already.
  void MarkReaped();
  // The tracee must be dead or dying: a ptrace call said ESRCH. Reaps it.
  void ReapAfterKill();

 private:
  StubThread(Ref<StubProcess> process, pid_t tid) : process_(std::move(process)), tid_(tid) {}
  Result<void> WaitForRoutine(uint64_t done, abi::UserRegs& regs);
  Errno Died();
  void ParkOrExit();

  Ref<StubProcess> process_;
  const pid_t tid_;
  int cpu_ = Placement::kUnknown;
  bool reaped_ = false;
};

}  // namespace rampart::platform::ptrace
