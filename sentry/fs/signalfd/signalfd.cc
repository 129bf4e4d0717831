#include "sentry/fs/signalfd/signalfd.h"

#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "sentry/kernel/current_task.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

// struct signalfd_siginfo.
struct Record {
  uint32_t signo;
  int32_t err, code;
  uint32_t pid, uid;
  int32_t fd;
  uint32_t tid, band, overrun, trapno;
  int32_t status, value_int;
  uint64_t value_ptr, utime, stime, address;
  uint16_t address_lsb, pad2;
  int32_t syscall;
  uint64_t call_address;
  uint32_t arch;
  uint8_t pad[28];
};
static_assert(sizeof(Record) == 128);

// Linux: siginfo_layout. Which fields a signal has; a code that its signal does not know may still be one of poll's.
enum class Layout : uint8_t { kKill, kTimer, kPoll, kFault, kChild, kSystemCall, kQueue };

Layout LayoutOf(const abi::SigInfo& info) {
  constexpr int kKernel = 0x80, kPollCodes = 6, kSigIoCode = -5;
  if (info.code <= 0 || info.code >= kKernel) {
    if (info.code == abi::kSiTimer) return Layout::kTimer;
    if (info.code == kSigIoCode) return Layout::kPoll;
    return info.code < 0 ? Layout::kQueue : Layout::kKill;
  }
  struct Known {
    int signo, last_code;
    Layout layout;
  };
  static constexpr Known kKnown[] = {{abi::kSigIll, 11, Layout::kFault},  {abi::kSigFpe, 15, Layout::kFault}, {abi::kSigSegv, 10, Layout::kFault},
                                     {abi::kSigBus, 5, Layout::kFault},   {abi::kSigTrap, 6, Layout::kFault}, {abi::kSigChld, 6, Layout::kChild},
                                     {abi::kSigIo, 6, Layout::kPoll},     {abi::kSigSys, 2, Layout::kSystemCall}};
  for (const Known& one : kKnown) {
    if (one.signo == info.signo && info.code <= one.last_code) return one.layout;
  }
  return info.code <= kPollCodes ? Layout::kPoll : Layout::kKill;
}

Record RecordOf(const abi::SigInfo& info) {
  Record r{};
  r.signo = static_cast<uint32_t>(info.signo);
  r.err = info.err;
  r.code = info.code;
  switch (LayoutOf(info)) {
    case Layout::kFault: r.address = info.Get<uint64_t>(0); break;
    case Layout::kTimer:
      r.tid = info.Get<uint32_t>(0);
      r.overrun = info.Get<uint32_t>(4);
      r.value_ptr = info.value();
      r.value_int = info.Get<int32_t>(8);
      break;
    case Layout::kChild:
      r.pid = static_cast<uint32_t>(info.pid());
      r.uid = info.uid();
      r.status = info.status();
      r.utime = info.Get<uint64_t>(16);
      r.stime = info.Get<uint64_t>(24);
      break;
    case Layout::kPoll:
      r.band = info.Get<uint32_t>(0);
      r.fd = info.Get<int32_t>(8);
      break;
    case Layout::kSystemCall:
      r.call_address = info.Get<uint64_t>(0);
      r.syscall = info.Get<int32_t>(8);
      r.arch = info.Get<uint32_t>(12);
      break;
    case Layout::kQueue:
      r.value_ptr = info.value();
      r.value_int = info.Get<int32_t>(8);
      [[fallthrough]];
    case Layout::kKill:
      r.pid = static_cast<uint32_t>(info.pid());
      r.uid = info.uid();
      break;
  }
  return r;
}

}  // namespace

SignalFd::SignalFd(vfs::Path path, uint32_t flags, Ref<kernel::ThreadGroup> group, abi::SigSet signals)
    : FileDescription(std::move(path), flags), group_(std::move(group)), signals_(signals & ~abi::kUnblockable) {}

Ref<SignalFd> SignalFd::Create(kernel::Task& task, abi::SigSet signals, uint32_t flags) {
  Ref<vfs::Inode> inode = vfs::NewAnonymousInode(vfs::FileType{0}, 0600, 0, 0);
  return MakeRef<SignalFd>(vfs::NewAnonymousPath(inode, "anon_inode:[signalfd]"), abi::kORdWr | (flags & abi::kONonblock),
                           ShareRef(&task.group()), signals);
}

void SignalFd::SetSignals(abi::SigSet signals) {
  signals_.store(signals & ~abi::kUnblockable, std::memory_order_release);
  kernel::Task* const task = kernel::CurrentTask();
  (task != nullptr ? task->group() : *group_).signal_events().Notify(abi::kPollIn);
}

Result<size_t> SignalFd::Read(Caller& caller, mm::IoDst& dst, uint32_t) {
  if (dst.remaining() < sizeof(Record)) return Errno::kEINVAL;
  kernel::Task* const task = caller.task();
  if (task == nullptr) return Errno::kEAGAIN;
  size_t done = 0;
  while (dst.remaining() >= sizeof(Record)) {
    const abi::SigInfo info = task->DequeueSignal(signals_.load(std::memory_order_acquire));
    if (info.signo == 0) break;
    const Record record = RecordOf(info);
    const Result<size_t> n = dst.Write(std::as_bytes(std::span(&record, 1)));
    if (!n.ok() || *n != sizeof(record)) {
      if (done == 0) return Errno::kEFAULT;
      break;
    }
    done += sizeof(record);
  }
  if (done == 0) return Errno::kEAGAIN;
  return done;
}

wait::EventMask SignalFd::Readiness(wait::EventMask mask) {
  abi::SigSet pending = 0;
  if (kernel::Task* const task = kernel::CurrentTask(); task != nullptr) {
    pending = task->group().PendingSet() | task->PendingSet();
  } else {
    pending = group_->PendingSet();
    for (const Ref<kernel::Task>& one : group_->Tasks()) pending |= one->PendingSet();
  }
  return (pending & signals_.load(std::memory_order_acquire)) != 0 ? mask & abi::kPollIn : 0;
}

void SignalFd::EventRegister(wait::WaitEntry& entry, wait::EventMask mask) {
  kernel::Task* const task = kernel::CurrentTask();
  if (task == nullptr || &task->group() == group_.get()) return group_->signal_events().Register(entry, mask);
  {
    absl::MutexLock lock(&others_mu_);
    others_.insert_or_assign(&entry, ShareRef(&task->group()));
  }
  task->group().signal_events().Register(entry, mask);
}

void SignalFd::EventUnregister(wait::WaitEntry& entry) {
  RefPtr<kernel::ThreadGroup> other;
  {
    absl::MutexLock lock(&others_mu_);
    if (const auto it = others_.find(&entry); it != others_.end()) {
      other = it->second;
      others_.erase(it);
    }
  }
  (other ? *other : *group_).signal_events().Unregister(entry);
}

std::string SignalFd::FdInfo() const {
  char text[40];
  std::snprintf(text, sizeof(text), "sigmask:\t%016" PRIx64 "\n", signals_.load());
  return text;
}

}  // namespace rampart::fs
