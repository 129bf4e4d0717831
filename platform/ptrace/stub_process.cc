#include "platform/ptrace/stub_process.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "platform/ptrace/stub_layout.h"
#include "platform/ptrace/tracee.h"

namespace rampart::platform::ptrace {
namespace {

// More parked threads than this are not kept in a live process.
constexpr size_t kMaxParked = 4;

// Selectors of 64-bit user code and data (GDT_ENTRY_DEFAULT_USER_CS/DS with RPL 3).
constexpr uint64_t kUserCs = 0x33;
constexpr uint64_t kUserSs = 0x2b;

abi::UserRegs RoutineRegs(const char* label) {
  abi::UserRegs regs{};
  regs.orig_rax = ~uint64_t{0};
  regs.rip = StubAddress(label);
  regs.cs = kUserCs;
  regs.ss = kUserSs;
  regs.eflags = 0x202;
  return regs;
}

}  // namespace

StubProcess::StubProcess(Pristine& pristine, const Pristine::Spawned& spawned)
    : pristine_(pristine), pid_(spawned.pid), slot_(spawned.slot), parked_{spawned.tid} {}

Result<Ref<StubProcess>> StubProcess::Spawn(Pristine& pristine) {
  const Pristine::Spawned spawned = TRY(pristine.Spawn());
  return Ref<StubProcess>::Adopt(new StubProcess(pristine, spawned));
}

StubProcess::~StubProcess() {
  Kill();
  // Every traced thread has been reaped by its StubThread and parked ones reap themselves, so the leader's end is reported.
  int status;
  while (syscall(SYS_wait4, pid_, &status, __WALL, nullptr) < 0 && errno == EINTR) {
  }
  pristine_.ReleaseSlot(slot_);
}

bool StubProcess::Acquire() {
  State expected = State::kIdle;
  return state_.compare_exchange_strong(expected, State::kBound, std::memory_order_acq_rel);
}

void StubProcess::Release() {
  {
    absl::MutexLock lock(&mu_);
    promised_ = 0;
  }
  wiping_.store(Wiping::kAll, std::memory_order_relaxed);
  State expected = State::kBound;
  state_.compare_exchange_strong(expected, State::kIdle, std::memory_order_acq_rel);
}

bool StubProcess::RetireIfIdle() {
  State expected = State::kIdle;
  if (!state_.compare_exchange_strong(expected, State::kDead, std::memory_order_acq_rel)) return expected == State::kDead;
  syscall(SYS_tgkill, pid_, pid_, SIGKILL);
  return true;
}

void StubProcess::Kill() {
  state_.store(State::kDead, std::memory_order_release);
  syscall(SYS_tgkill, pid_, pid_, SIGKILL);
}

StubProcess::Wipe StubProcess::TakeWipe() {
  switch (wiping_.exchange(Wiping::kNothing, std::memory_order_relaxed)) {
    case Wiping::kControlPage: return {STUB_CONTROL, STUB_PAGE};
    case Wiping::kAll: return {0, STUB_CODE};
    case Wiping::kNothing: break;
  }
  return {0, 0};
}

void StubProcess::AddParked(pid_t tid) {
  absl::MutexLock lock(&mu_);
  parked_.push_back(tid);
}

pid_t StubProcess::TakeParked() {
  absl::MutexLock lock(&mu_);
  if (parked_.empty()) return 0;
  const pid_t tid = parked_.back();
  parked_.pop_back();
  return tid;
}

bool StubProcess::PromiseSibling() {
  absl::MutexLock lock(&mu_);
  ++promised_;
  return parked_.size() < promised_;
}

void StubProcess::SiblingArrived() {
  absl::MutexLock lock(&mu_);
  if (promised_ > 0) --promised_;
}

size_t StubProcess::parked() const {
  absl::MutexLock lock(&mu_);
  return parked_.size();
}

Result<std::unique_ptr<StubThread>> StubThread::SeizeParked(Ref<StubProcess> process, pid_t tid) {
  const Result<void> seized = Seize(tid);
  if (!seized.ok()) {
    if (seized.error() == Errno::kESRCH) {
      process->Kill();
    } else {
      process->AddParked(tid);
    }
    return seized.error();
  }
  std::unique_ptr<StubThread> thread(new StubThread(std::move(process), tid));
  const Result<void> stopping = StopSeized(tid);
  if (!stopping.ok()) {
    thread->ReapAfterKill();
    return stopping.error();
  }
  const WaitStatus status = TRY(WaitFor(tid));
  if (status.dead()) {
    thread->MarkReaped();
    return Errno::kESRCH;
  }
  return thread;
}

StubThread::~StubThread() {
  if (reaped_) return;
  if (process_->dead() || process_->RetireIfIdle()) {
    ReapAfterKill();
    return;
  }
  ParkOrExit();
}

// The process is bound and other threads use it.
void StubThread::ParkOrExit() {
  const bool park = process_->parked() < kMaxParked;
  abi::UserRegs regs = RoutineRegs(park ? rampart_stub_park : rampart_stub_exit);
  if (!SetRegs(tid_, regs).ok()) return ReapAfterKill();
  if (park) {
    if (!Resume(tid_, PTRACE_DETACH).ok()) return ReapAfterKill();
    process_->AddParked(tid_);
    return;
  }
  for (;;) {
    if (!Resume(tid_, PTRACE_CONT).ok()) return ReapAfterKill();
    const Result<WaitStatus> status = WaitFor(tid_);
    if (!status.ok() || status->dead()) return;
  }
}

bool StubThread::Alive() const {
  abi::UserRegs regs;
  return !reaped_ && GetRegs(tid_, regs).ok();
}

void StubThread::MarkReaped() {
  reaped_ = true;
  process_->Kill();
}

void StubThread::ReapAfterKill() {
  if (reaped_) return;
  process_->Kill();
  for (;;) {
    const Result<WaitStatus> status = WaitFor(tid_);
    if (!status.ok() || status->dead()) break;
  }
  reaped_ = true;
}

Errno StubThread::Died() {
  ReapAfterKill();
  return Errno::kESRCH;
}

// The end is known by where the thread stands, not by who sent the SIGTRAP: Linux drops the int3's own signal when a SIGTRAP from
// somebody else is pending already (standard signals do not queue), and shows the latter after the instruction. The converse is safe:
// signals of instructions are dequeued before all others, so none is left pending for the application when the thread stops at `done`
// with a SIGTRAP. Other stops at `done` (PTRACE_EVENT_STOP comes before any signal) say nothing yet.
Result<void> StubThread::WaitForRoutine(uint64_t done, abi::UserRegs& regs) {
  for (;;) {
    const WaitStatus status = TRY(WaitFor(tid_));
    if (status.dead()) {
      MarkReaped();
      return Errno::kESRCH;
    }
    const int signal = status.signal();
    if (signal == SIGTRAP) {
      if (!GetRegs(tid_, regs).ok()) return Died();
      if (regs.rip == done) return Ok();
    } else if (signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGSYS) {
      siginfo_t info{};
      if (!GetSigInfo(tid_, info).ok()) return Died();
      if (info.si_code > 0) {  // not sent by somebody on the host
        Log(LogLevel::kError, "ptrace: a stub routine ended with signal %d", signal);
        return Errno::kEIO;
      }
    }
    if (!Resume(tid_, PTRACE_CONT).ok()) return Died();
  }
}

Result<void> StubThread::RunRoutine(const char* label, const char* done, abi::UserRegs& regs) {
  const abi::UserRegs fixed = RoutineRegs(label);
  regs.orig_rax = fixed.orig_rax;
  regs.rip = fixed.rip;
  regs.cs = fixed.cs;
  regs.ss = fixed.ss;
  regs.eflags = fixed.eflags;
  if (!SetRegs(tid_, regs).ok() || !Resume(tid_, PTRACE_CONT).ok()) return Died();
  return WaitForRoutine(StubAddress(done), regs);
}

Result<void> StubThread::RunBatch(size_t count) {
  CHECK(count <= kMaxCommands);
  abi::UserRegs regs{};
  regs.rbx = STUB_COMMANDS;
  regs.r12 = count;
  TRY(RunRoutine(rampart_stub_batch, rampart_stub_batch_done, regs));
  if (regs.r12 == 0) return Ok();
  const auto result = static_cast<int64_t>(regs.rax);
  if (result >= 0 || result < -4095) return Errno::kEIO;
  return ErrnoFromHost(static_cast<int>(-result));
}

Result<pid_t> StubThread::CloneSibling() {
  abi::UserRegs regs{};
  TRY(RunRoutine(rampart_stub_sibling, rampart_stub_sibling_done, regs));
  const auto result = static_cast<int64_t>(regs.rax);
  if (result > 0) return static_cast<pid_t>(result);
  return ErrnoFromHost(static_cast<int>(-result));
}

}  // namespace rampart::platform::ptrace
