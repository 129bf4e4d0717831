#include "platform/ptrace/address_space.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <utility>

#include "base/safe_math.h"
#include "platform/ptrace/context.h"
#include "platform/ptrace/ptrace_platform.h"
#include "platform/ptrace/stub_layout.h"

namespace rampart::platform::ptrace {
namespace {

static_assert(static_cast<int>(Prot::kRead) == PROT_READ && static_cast<int>(Prot::kWrite) == PROT_WRITE &&
              static_cast<int>(Prot::kExec) == PROT_EXEC);

void CheckRange(uint64_t address, uint64_t length) {
  CHECK(length > 0 && PageAligned(address) && PageAligned(length));
  CHECK(address >= kMinUserAddress && address < kMaxUserAddress && length <= kMaxUserAddress - address);
}

Command ToCommand(const MappingChange& change) {
  const auto prot = static_cast<uint64_t>(change.prot);
  switch (change.kind) {
    case MappingChange::Kind::kMap: {
      const uint64_t flags = MAP_SHARED | MAP_FIXED | (change.populate == Populate::kNow ? MAP_POPULATE : 0);
      return {SYS_mmap, {change.address, change.length, prot, flags, static_cast<uint64_t>(change.file->fd()), change.offset}};
    }
    case MappingChange::Kind::kUnmap: return {SYS_munmap, {change.address, change.length, 0, 0, 0, 0}};
    case MappingChange::Kind::kProtect: return {SYS_mprotect, {change.address, change.length, prot, 0, 0, 0}};
  }
  UNREACHABLE();
}

}  // namespace

PtraceAddressSpace::~PtraceAddressSpace() {
  if (process_) process_->Release();
}

void PtraceAddressSpace::QueuedLocked() {
  queued_.fetch_add(1, std::memory_order_acq_rel);
  needs_flush_.store(true, std::memory_order_seq_cst);
}

void PtraceAddressSpace::Map(uint64_t address, uint64_t length, Ref<BackingFile> file, uint64_t offset, Prot prot, Populate populate) {
  CheckRange(address, length);
  CHECK(PageAligned(offset));
  absl::MutexLock lock(&mu_);
  queue_.Map(address, length, std::move(file), offset, prot, populate);
  QueuedLocked();
}

void PtraceAddressSpace::Unmap(uint64_t address, uint64_t length) {
  CheckRange(address, length);
  absl::MutexLock lock(&mu_);
  queue_.Unmap(address, length);
  QueuedLocked();
}

void PtraceAddressSpace::Protect(uint64_t address, uint64_t length, Prot prot) {
  CheckRange(address, length);
  absl::MutexLock lock(&mu_);
  queue_.Protect(address, length, prot);
  QueuedLocked();
}

uint64_t PtraceAddressSpace::applied() const {
  absl::MutexLock lock(&mu_);
  return process_ ? applied_.load(std::memory_order_acquire) : queued_.load(std::memory_order_acquire);
}

void PtraceAddressSpace::Kick() {
  absl::MutexLock lock(&mu_);
  for (PtraceContext* context : contexts_) context->KickIfRunning();
}

RefPtr<StubProcess> PtraceAddressSpace::process() const {
  absl::MutexLock lock(&mu_);
  return process_;
}

bool PtraceAddressSpace::SetProcess(Ref<StubProcess> process) {
  absl::MutexLock lock(&mu_);
  if (process_) return false;
  process_ = std::move(process);
  needs_flush_.store(true, std::memory_order_seq_cst);  // at least what the process shows already must go
  return true;
}

void PtraceAddressSpace::AddContext(PtraceContext* context) {
  absl::MutexLock lock(&mu_);
  contexts_.push_back(context);
}

void PtraceAddressSpace::RemoveContext(PtraceContext* context) {
  absl::MutexLock lock(&mu_);
  std::erase(contexts_, context);
}

Result<void> PtraceAddressSpace::RunChanges(StubThread& thread, const std::vector<MappingChange>& changes, uint64_t& injected) {
  Command* const commands = thread.process().commands();
  size_t count = 0;
  const StubProcess::Wipe wipe = thread.process().TakeWipe();
  if (wipe.length != 0) commands[count++] = {SYS_munmap, {wipe.address, wipe.length, 0, 0, 0, 0}};
  for (const MappingChange& change : changes) {
    if (count == kMaxCommands) {
      injected += count;
      TRY(thread.RunBatch(std::exchange(count, 0)));
    }
    commands[count++] = ToCommand(change);
  }
  injected += count;
  if (count == 0) return Ok();
  return thread.RunBatch(count);
}

Result<void> PtraceAddressSpace::Flush(StubThread& thread, uint64_t& injected) {
  MappingQueue::Batch batch;  // its references are released after the locks
  absl::MutexLock flush_lock(&flush_mu_);
  if (failed_ != Errno{}) return failed_;
  uint64_t taken = 0;
  {
    absl::MutexLock lock(&mu_);
    batch = queue_.Take();
    taken = queued_.load(std::memory_order_relaxed);
  }
  const Result<void> result = RunChanges(thread, batch.changes, injected);
  absl::MutexLock lock(&mu_);
  if (!result.ok()) {
    failed_ = result.error();
    return failed_;
  }
  applied_.store(taken, std::memory_order_release);
  // Only now: another thread that sees "no flush needed" must not run before this batch has been carried out.
  if (queued_.load(std::memory_order_relaxed) == taken) needs_flush_.store(false, std::memory_order_seq_cst);
  return Ok();
}

}  // namespace rampart::platform::ptrace
