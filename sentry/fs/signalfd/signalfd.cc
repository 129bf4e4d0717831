#include "sentry/fs/signalfd/signalfd.h"

#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstring>

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

bool IsFault(const abi::SigInfo& info) {
  return info.code > 0 && (info.signo == abi::kSigSegv || info.signo == abi::kSigBus || info.signo == abi::kSigIll || info.signo == abi::kSigFpe ||
                           info.signo == abi::kSigTrap);
}

Record RecordOf(const abi::SigInfo& info) {
  Record r{};
  r.signo = static_cast<uint32_t>(info.signo);
  r.err = info.err;
  r.code = info.code;
  if (IsFault(info)) {
    r.address = info.Get<uint64_t>(0);
  } else if (info.code == abi::kSiTimer) {
    r.tid = info.Get<uint32_t>(0);
    r.overrun = info.Get<uint32_t>(4);
    r.value_ptr = info.value();
    r.value_int = info.Get<int32_t>(8);
  } else if (info.signo == abi::kSigChld && info.code > 0) {
    r.pid = static_cast<uint32_t>(info.pid());
    r.uid = info.uid();
    r.status = info.status();
    r.utime = info.Get<uint64_t>(16);
    r.stime = info.Get<uint64_t>(24);
  } else if (info.signo == abi::kSigIo && info.code > 0) {
    r.band = info.Get<uint32_t>(0);
    r.fd = info.Get<int32_t>(8);
  } else if (info.signo == abi::kSigSys && info.code > 0) {
    r.call_address = info.Get<uint64_t>(0);
    r.syscall = info.Get<int32_t>(8);
    r.arch = info.Get<uint32_t>(12);
  } else {
    r.pid = static_cast<uint32_t>(info.pid());
    r.uid = info.uid();
    r.value_ptr = info.value();
    r.value_int = info.Get<int32_t>(8);
  }
  return r;
}

}  // namespace

SignalFd::SignalFd(vfs::Path path, uint32_t flags, Ref<kernel::ThreadGroup> group, abi::SigSet signals)
    : FileDescription(std::move(path), flags), group_(std::move(group)), signals_(signals & ~abi::kUnblockable) {}

Ref<SignalFd> SignalFd::Create(kernel::Task& task, abi::SigSet signals, uint32_t flags) {
  Ref<vfs::Inode> inode = vfs::NewAnonymousInode(vfs::FileType{0}, 0600, task.creds().fsuid, task.creds().fsgid);
  return MakeRef<SignalFd>(vfs::NewAnonymousPath(inode, "anon_inode:[signalfd]"), abi::kORdWr | (flags & abi::kONonblock),
                           ShareRef(&task.group()), signals);
}

void SignalFd::SetSignals(abi::SigSet signals) {
  signals_.store(signals & ~abi::kUnblockable, std::memory_order_release);
  group_->signal_events().Notify(abi::kPollIn);
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
  abi::SigSet pending = group_->PendingSet();
  for (const Ref<kernel::Task>& task : group_->Tasks()) pending |= task->PendingSet();
  return (pending & signals_.load(std::memory_order_acquire)) != 0 ? mask & (abi::kPollIn | abi::kPollRdNorm) : 0;
}

std::string SignalFd::FdInfo() const {
  char text[40];
  std::snprintf(text, sizeof(text), "sigmask:\t%016" PRIx64 "\n", signals_.load());
  return text;
}

}  // namespace rampart::fs
