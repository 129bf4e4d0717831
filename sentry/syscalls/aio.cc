// Linux: fs/aio.c.
#include "sentry/syscalls/aio.h"

#include <algorithm>
#include <cstddef>

#include "sentry/syscalls/aio_context.h"
#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/rw_file.h"
#include "sentry/syscalls/timeouts.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;

constexpr uint64_t kMostEvents = 0x1000'0000 / sizeof(abi::IoEvent);

// lookup_ioctx: a context is named by where its ring is, and the ring says its number.
Result<Ref<AioContext>> FindContext(Task& task, UserAddr address) {
  const Result<uint32_t> id = task.CopyIn(UserIn<uint32_t>(address));
  const RefPtr<AioTable> table = AioTable::Of(task.mm());
  if (!id.ok() || !table) return Errno::kEINVAL;
  RefPtr<AioContext> context = table->Find(*id, address);
  if (!context) return Errno::kEINVAL;
  return context.ToRef();
}

Result<UserAddr> MapRing(Task& task, const AioContext& context) {
  mm::MMapArgs args;
  args.length = context.ring()->length();
  args.prot = platform::Prot::kReadWrite;
  args.shared = true;
  args.file = context.ring();
  args.identity = context.ring();
  return task.mm().MMap(task, std::move(args));
}

Result<void> CheckPriority(const Task& task, int16_t priority) {
  const int io_class = static_cast<uint16_t>(priority) >> 13;
  if (io_class > 3 || (io_class == 0 && (priority & 7) != 0)) return Errno::kEINVAL;
  if (io_class == 1 && !task.creds().HasCapability(abi::Capability::kSysAdmin) && !task.creds().HasCapability(abi::Capability::kSysNice)) {
    return Errno::kEPERM;
  }
  return Ok();
}

// What a transfer's event says: interrupted ones are not begun again.
int64_t EventResult(const Result<Word>& result) {
  if (result.ok()) return static_cast<int64_t>(*result);
  const Errno e = result.error();
  const bool restart = static_cast<int>(e) >= static_cast<int>(Errno::kERESTARTSYS);
  return -static_cast<int64_t>(restart ? Errno::kEINTR : e);
}

// One submitted request, its files found.
struct Submission {
  Task& task;
  AioContext& context;
  const abi::Iocb& iocb;
  Ref<vfs::FileDescription> file;
  AioRequest request;
};

Result<void> SubmitTransfer(Submission& s, bool write, bool vector) {
  const abi::Iocb& iocb = s.iocb;
  if ((iocb.flags & abi::kIocbFlagIoprio) != 0) TRY(CheckPriority(s.task, iocb.priority));
  TRY(CheckRwFlags(iocb.rw_flags));
  if (!(write ? s.file->writable() : s.file->readable())) return Errno::kEBADF;
  if (s.file->inode()->IsDirectory()) return Errno::kEINVAL;
  if (!vector && iocb.buffer >= abi::kMaxUserAddress && iocb.length != 0) return Errno::kEFAULT;
  std::vector<mm::AddrRange> ranges = TRY(BufferRanges(s.task, iocb.buffer, iocb.length, vector));
  std::optional<uint64_t> offset;
  if (s.file->seekable()) {
    if (iocb.offset < 0) return Errno::kEINVAL;
    offset = static_cast<uint64_t>(iocb.offset);
  }
  const auto transfer = write ? WriteFile : ReadFile;
  s.context.Complete(s.request, EventResult(transfer(s.task, *s.file, std::move(ranges), offset, iocb.rw_flags)));
  return Ok();
}

Result<void> SubmitSync(Submission& s, bool data_only) {
  const abi::Iocb& iocb = s.iocb;
  if (iocb.buffer != 0 || iocb.offset != 0 || iocb.length != 0 || iocb.rw_flags != 0 || !s.file->seekable()) return Errno::kEINVAL;
  const Result<void> synced = s.file->Sync(data_only);
  s.context.Complete(s.request, synced.ok() ? 0 : -static_cast<int64_t>(synced.error()));
  return Ok();
}

Result<void> SubmitPoll(Submission& s) {
  const abi::Iocb& iocb = s.iocb;
  if (iocb.buffer > UINT16_MAX || iocb.offset != 0 || iocb.length != 0 || iocb.rw_flags != 0) return Errno::kEINVAL;
  const uint32_t events = static_cast<uint32_t>(iocb.buffer) | abi::kPollErr | abi::kPollHup;
  if (const wait::EventMask ready = s.file->Readiness(events); ready != 0) {
    s.context.Complete(s.request, ready);
  } else {
    s.context.Poll(s.file, events, s.request);
  }
  return Ok();
}

Result<void> Dispatch(Submission& s) {
  switch (s.iocb.opcode) {
    case abi::kIocbPread: return SubmitTransfer(s, false, false);
    case abi::kIocbPwrite: return SubmitTransfer(s, true, false);
    case abi::kIocbPreadv: return SubmitTransfer(s, false, true);
    case abi::kIocbPwritev: return SubmitTransfer(s, true, true);
    case abi::kIocbFsync: return SubmitSync(s, false);
    case abi::kIocbFdsync: return SubmitSync(s, true);
    case abi::kIocbPoll: return SubmitPoll(s);
    default: return Errno::kEINVAL;
  }
}

Result<void> SubmitReserved(Task& task, AioContext& context, const abi::Iocb& iocb, UserAddr address) {
  Ref<vfs::FileDescription> file = TRY(OpenedFile(task, static_cast<Fd>(iocb.fd)));
  AioRequest request{iocb.data, address, nullptr};
  if ((iocb.flags & abi::kIocbFlagResfd) != 0) {
    const Ref<vfs::FileDescription> result_fd = TRY(OpenedFile(task, static_cast<Fd>(iocb.result_fd)));
    auto* const eventfd = dynamic_cast<fs::EventFd*>(result_fd.get());
    if (eventfd == nullptr) return Errno::kEINVAL;
    request.result_fd = ShareRef(eventfd);
  }
  TRY(task.CopyOut(UserOut<uint32_t>(address + offsetof(abi::Iocb, key)), uint32_t{0}));
  Submission submission{task, context, iocb, std::move(file), std::move(request)};
  return Dispatch(submission);
}

Result<void> SubmitOne(Task& task, AioContext& context, UserAddr address) {
  const abi::Iocb iocb = TRY(task.CopyIn(UserIn<abi::Iocb>(address)));
  if (iocb.reserved != 0 || static_cast<int64_t>(iocb.length) < 0) return Errno::kEINVAL;
  TRY(context.Reserve());
  Result<void> submitted = SubmitReserved(task, context, iocb, address);
  if (!submitted.ok()) context.Unreserve();
  return submitted;
}

// Takes events until `least` are there. EINTR when there are none by then.
Result<Word> TakeEvents(Task& task, AioContext& context, size_t least, size_t most, UserOut<abi::IoEvent> out, Deadline deadline) {
  wait::SleeperEntry entry(task.sleeper());
  context.queue().Register(entry, abi::kPollIn);
  size_t taken = 0;
  Result<void> result;
  while (true) {
    uint32_t first = 0;
    constexpr size_t kPiece = 512;
    const std::vector<abi::IoEvent> events = context.Take(std::min(most - taken, kPiece), first);
    if (!events.empty()) {
      const UserOut<abi::IoEvent> to(out.address() + taken * sizeof(abi::IoEvent));
      result = task.mm().CopyOutArray(to, std::span<const abi::IoEvent>(events));
      if (!result.ok()) {
        context.PutBack(first, events.size());
        break;
      }
      taken += events.size();
      if (taken < most) continue;
    }
    if (taken >= least || taken == most) break;
    if (context.dead()) {
      result = Errno::kEINVAL;
      break;
    }
    result = task.Sleep(deadline);
    if (result.ok()) continue;
    if (result.error() == Errno::kETIMEDOUT) result = Ok();
    else result = Errno::kEINTR;
    break;
  }
  context.queue().Unregister(entry);
  if (taken == 0 && !result.ok()) return result.error();
  return static_cast<Word>(taken);
}

Result<Word> GetEvents(Task& task, UserAddr address, int64_t least, int64_t most, UserOut<abi::IoEvent> events, Deadline deadline) {
  const Ref<AioContext> context = TRY(FindContext(task, address));
  if (least < 0 || most < least) return Errno::kEINVAL;
  return TakeEvents(task, *context, static_cast<size_t>(least), static_cast<size_t>(most), events, deadline);
}

}  // namespace

Result<Word> SysIoSetup(Task& task, uint32_t count, UserInOut<uint64_t> out) {
  const uint64_t old = TRY(task.CopyIn(UserIn<uint64_t>(out.address())));
  if (old != 0 || count == 0 || count > kMostEvents / 2) return Errno::kEINVAL;
  kernel::Kernel::AioLimits& limits = task.kernel().aio_limits();
  if (limits.used.fetch_add(count) + count > limits.most.load()) {
    limits.used.fetch_sub(count);
    return Errno::kEAGAIN;
  }
  const Result<Ref<AioContext>> made = AioContext::Create(task.kernel(), count);
  if (!made.ok()) {
    limits.used.fetch_sub(count);
    return made.error();
  }
  const Ref<AioContext>& context = *made;
  const UserAddr address = TRY(MapRing(task, *context));
  const RefPtr<AioTable> table = AioTable::Ensure(task.mm());
  if (!table) return Errno::kENOMEM;
  const uint32_t id = table->Add(context, address);
  const Result<void> told = task.CopyOut(UserOut<uint64_t>(out.address()), uint64_t{address});
  if (!told.ok()) {
    table->Remove(id, address);
    (void)task.mm().MUnmap(address, context->ring()->length());
    return told.error();
  }
  return Word{0};
}

Result<Word> SysIoDestroy(Task& task, UserAddr address) {
  const Ref<AioContext> found = TRY(FindContext(task, address));
  const Result<uint32_t> id = task.CopyIn(UserIn<uint32_t>(address));
  const RefPtr<AioTable> table = AioTable::Of(task.mm());
  const RefPtr<AioContext> context = id.ok() && table ? table->Remove(*id, address) : nullptr;
  if (!context) return Errno::kEINVAL;
  context->Kill();
  // What other threads are about to read and write is waited for.
  wait::SleeperEntry entry(task.sleeper());
  context->queue().Register(entry, abi::kPollIn);
  while (!context->idle() && task.Sleep(Deadline::Never()).ok()) {
  }
  context->queue().Unregister(entry);
  (void)task.mm().MUnmap(address, context->ring()->length());
  return Word{0};
}

Result<Word> SysIoSubmit(Task& task, UserAddr address, int64_t count, UserIn<uint64_t> requests) {
  if (count < 0) return Errno::kEINVAL;
  const Ref<AioContext> context = TRY(FindContext(task, address));
  Word done = 0;
  Result<void> result;
  for (int64_t i = 0; i < count; ++i) {
    const Result<uint64_t> request = task.CopyIn(UserIn<uint64_t>(requests.address() + static_cast<uint64_t>(i) * sizeof(uint64_t)));
    result = request.ok() ? SubmitOne(task, *context, *request) : request.error();
    if (!result.ok()) break;
    ++done;
    if (task.Interrupted()) break;
  }
  if (done == 0 && !result.ok()) return result.error();
  return done;
}

Result<Word> SysIoGetevents(Task& task, UserAddr address, int64_t least, int64_t most, UserOut<abi::IoEvent> events, UserIn<abi::Timespec> timeout) {
  const Deadline deadline = TRY(ReadTimeout(task, timeout));
  return GetEvents(task, address, least, most, events, deadline);
}

Result<Word> SysIoPgetevents(Task& task, UserAddr address, int64_t least, int64_t most, UserOut<abi::IoEvent> events, UserIn<abi::Timespec> timeout,
                             UserIn<SigSetArgument> mask) {
  const Deadline deadline = TRY(ReadTimeout(task, timeout));
  SigSetArgument set{};
  if (mask.address() != 0) set = TRY(task.CopyIn(mask));
  CallMask applied = TRY(CallMask::Apply(task, UserIn<abi::SigSet>(set.address), set.size));
  const Result<Word> result = GetEvents(task, address, least, most, events, deadline);
  applied.Finish(task, !result.ok() && result.error() == Errno::kEINTR);
  return result;
}

Result<Word> SysIoCancel(Task& task, UserAddr address, UserAddr request, UserOut<abi::IoEvent>) {
  const uint32_t key = TRY(task.CopyIn(UserIn<uint32_t>(request + offsetof(abi::Iocb, key))));
  if (key != 0) return Errno::kEINVAL;
  const Ref<AioContext> context = TRY(FindContext(task, address));
  if (!context->Cancel(request)) return Errno::kEINVAL;
  return Errno::kEINPROGRESS;  // its event comes through the ring
}

}  // namespace rampart::syscalls
