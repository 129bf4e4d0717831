#include "platform/ptrace/pristine.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "platform/ptrace/pristine_async.h"
#include "platform/ptrace/stub_filter.h"

namespace rampart::platform::ptrace {
namespace {

constexpr uint32_t kFirstRequest = 1;  // the pristine stub answers it when it is ready
constexpr size_t kFileSize = STUB_FILE_SLOTS + size_t{kMaxSlots} * STUB_COMMANDS_SIZE;
constexpr int kGiveUpAfterMs = 20000;

void FutexWake(uint32_t* word) { syscall(SYS_futex, word, FUTEX_WAKE, 1, nullptr, nullptr, 0); }

// False when the time passed.
bool FutexWait(uint32_t* word, uint32_t value, int milliseconds) {
  const timespec timeout{milliseconds / 1000, long{milliseconds % 1000} * 1'000'000};
  return syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, nullptr, 0) == 0 || errno != ETIMEDOUT;
}

// True when the child has ended (and is reaped).
bool Ended(pid_t child, int& status) { return syscall(SYS_wait4, child, &status, WNOHANG | __WALL, nullptr) == child; }

void Kill(pid_t child) {
  syscall(SYS_tgkill, child, child, SIGKILL);
  int status;
  while (syscall(SYS_wait4, child, &status, __WALL, nullptr) < 0 && errno == EINTR) {
  }
}

// Waits until `request` is answered, or the pristine stub or the process that it made has ended.
enum class Answer { kDone, kPristineEnded, kNewProcessEnded, kTimedOut };
Answer WaitForAnswer(Control& control, uint32_t request, pid_t pristine, int& status) {
  std::atomic_ref<uint32_t> done(control.done);
  constexpr int kSliceMs = 100;
  for (int waited = 0; waited < kGiveUpAfterMs; waited += kSliceMs) {
    for (uint32_t now = done.load(std::memory_order_acquire);; now = done.load(std::memory_order_acquire)) {
      if (now == request) return Answer::kDone;
      if (!FutexWait(&control.done, now, kSliceMs)) break;
    }
    if (done.load(std::memory_order_acquire) == request) return Answer::kDone;
    if (Ended(pristine, status)) return Answer::kPristineEnded;
    const pid_t made = std::atomic_ref<int32_t>(control.pid).load(std::memory_order_acquire);
    if (made > 0 && Ended(made, status)) return Answer::kNewProcessEnded;
  }
  return Answer::kTimedOut;
}

}  // namespace

Control& Pristine::control() const {
  // SAFETY: the control page of the mapping; page aligned, and both sides use Control's fields with atomic accesses where they meet.
  return *reinterpret_cast<Control*>(view_ + STUB_FILE_CONTROL);
}

Command* Pristine::Commands(uint32_t slot) const {
  // SAFETY: page aligned, inside the mapping for slot < kMaxSlots; stubs map it read-only.
  return reinterpret_cast<Command*>(view_ + STUB_FILE_SLOTS + size_t{slot} * STUB_COMMANDS_SIZE);
}

Result<std::unique_ptr<Pristine>> Pristine::Create() {
  UniqueFd memfd = TRY(FdFromHost(memfd_create("rampart-stubs", MFD_CLOEXEC)));
  if (ftruncate(memfd.get(), kFileSize) != 0) return ErrnoFromHost(errno);
  void* view = mmap(nullptr, kFileSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memfd.get(), 0);
  if (view == MAP_FAILED) return ErrnoFromHost(errno);
  std::memcpy(view, rampart_stub_begin, static_cast<size_t>(rampart_stub_end - rampart_stub_begin));

  // SAFETY: as in control().
  auto* control = reinterpret_cast<Control*>(static_cast<std::byte*>(view) + STUB_FILE_CONTROL);
  control->request = kFirstRequest;
  control->ppid = getpid();
  std::vector<sock_filter> filter = StubFilter();
  const PristineStart start{memfd.get(), getpid(), control, {static_cast<unsigned short>(filter.size()), filter.data()}};

  const long pid = syscall(SYS_clone, long{CLONE_FILES}, nullptr, nullptr, nullptr, 0L);
  if (pid == 0) RunPristine(start);
  if (pid < 0) {
    const Errno error = ErrnoFromHost(errno);
    munmap(view, kFileSize);
    return error;
  }
  const auto child = static_cast<pid_t>(pid);
  int status = 0;
  const Answer answer = WaitForAnswer(*control, kFirstRequest, child, status);
  if (answer != Answer::kDone) {
    Log(LogLevel::kError, "ptrace: the first stub process could not be set up (wait status 0x%x; see PristineStep)", static_cast<unsigned>(status));
    if (answer == Answer::kTimedOut) Kill(child);
    munmap(view, kFileSize);
    return Errno::kENOTSUP;
  }
  return std::unique_ptr<Pristine>(new Pristine(child, std::move(memfd), static_cast<std::byte*>(view), kFileSize));
}

Pristine::~Pristine() {
  absl::MutexLock lock(&mu_);
  if (!dead_) Kill(pid_);
  munmap(view_, size_);
}

Result<uint32_t> Pristine::TakeSlotLocked() {
  if (!free_slots_.empty()) {
    const uint32_t slot = free_slots_.back();
    free_slots_.pop_back();
    return slot;
  }
  if (slots_used_ == kMaxSlots) return Errno::kENOMEM;
  return slots_used_++;
}

void Pristine::ReleaseSlot(uint32_t slot) {
  absl::MutexLock lock(&mu_);
  free_slots_.push_back(slot);
}

uint64_t Pristine::SlotsInUse() {
  absl::MutexLock lock(&mu_);
  return slots_used_ - free_slots_.size();
}

Result<void> Pristine::AskLocked(uint32_t slot) {
  Control& c = control();
  c.slot_offset = STUB_FILE_SLOTS + uint64_t{slot} * STUB_COMMANDS_SIZE;
  c.error = 0;
  c.pid = 0;
  c.tid = 0;
  std::atomic_ref<uint32_t> request(c.request);
  const uint32_t number = request.load(std::memory_order_relaxed) + 1;
  request.store(number, std::memory_order_release);
  FutexWake(&c.request);
  int status = 0;
  const Answer answer = WaitForAnswer(c, number, pid_, status);
  if (answer == Answer::kDone && c.error == 0) return Ok();
  if (answer == Answer::kDone) {
    if (c.pid > 0) Kill(c.pid);
    return ErrnoFromHost(c.error);
  }
  if (answer == Answer::kNewProcessEnded) return Errno::kENOMEM;  // most likely the host's out-of-memory killer
  // A pristine stub that does not answer is given up: a late answer would be taken for that of another request.
  Log(LogLevel::kError, "ptrace: the pristine stub is gone (wait status 0x%x)", static_cast<unsigned>(status));
  if (answer == Answer::kTimedOut) Kill(pid_);
  if (c.pid > 0) Kill(c.pid);
  dead_ = true;
  return Errno::kESRCH;
}

Result<Pristine::Spawned> Pristine::Spawn() {
  absl::MutexLock lock(&mu_);
  if (dead_) return Errno::kESRCH;
  const uint32_t slot = TRY(TakeSlotLocked());
  const Result<void> asked = AskLocked(slot);
  if (!asked.ok()) {
    free_slots_.push_back(slot);
    return asked.error();
  }
  return Spawned{control().pid, control().tid, slot};
}

}  // namespace rampart::platform::ptrace
