#include "sentry/syscalls/ptrace.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/mm/memory_manager.h"
#include "sentry/seccomp/filter.h"

namespace rampart::syscalls {
namespace {

using abi::PtraceRequest;
using kernel::HeldTracee;
using kernel::Task;
using kernel::TraceResume;

constexpr size_t kMostPeekedSignals = 1024;
constexpr uint64_t kMaxErrno = 4095;

Result<Word> PeekMemory(Task& task, const HeldTracee& held, uint64_t address, uint64_t to) {
  uint64_t word = 0;
  const RefPtr<mm::MemoryManager> mm = held.mm();
  if (!mm) return Errno::kEIO;
  const Result<size_t> got = mm->ForceCopyIn(address, std::as_writable_bytes(std::span(&word, 1)));
  if (!got.ok() || *got != sizeof(word)) return Errno::kEIO;
  TRY(task.CopyOut(UserOut<uint64_t>(to), word));
  return Word{0};
}

Result<Word> PokeMemory(const HeldTracee& held, uint64_t address, uint64_t word) {
  const RefPtr<mm::MemoryManager> mm = held.mm();
  if (!mm) return Errno::kEIO;
  const Result<size_t> put = mm->ForceCopyOut(address, std::as_bytes(std::span(&word, 1)));
  if (!put.ok() || *put != sizeof(word)) return Errno::kEIO;
  return Word{0};
}

Result<Word> SetOptions(const Task& task, const HeldTracee& held, uint64_t options) {
  TRY(kernel::Tracing::CheckOptions(task, options));
  held.SetOptions(static_cast<uint32_t>(options));
  return Word{0};
}

Result<Word> GetSignal(Task& task, const HeldTracee& held, uint64_t to) {
  const abi::SigInfo info = TRY(held.signal());
  TRY(task.CopyOut(UserOut<abi::SigInfo>(to), info));
  return Word{0};
}

Result<Word> SetSignal(Task& task, const HeldTracee& held, uint64_t from) {
  const abi::SigInfo info = TRY(task.CopyIn(UserIn<abi::SigInfo>(from)));
  TRY(held.SetSignal(info));
  return Word{0};
}

Result<Word> PeekSignals(Task& task, const HeldTracee& held, uint64_t args, uint64_t to) {
  const auto request = TRY(task.CopyIn(UserIn<abi::PtracePeekSigInfoArgs>(args)));
  if ((request.flags & ~abi::kPtracePeekSigInfoShared) != 0 || request.count < 0) return Errno::kEINVAL;
  const size_t most = std::min<size_t>(static_cast<size_t>(request.count), kMostPeekedSignals);
  const std::vector<abi::SigInfo> found = held.PeekSignals(request.offset, most, (request.flags & abi::kPtracePeekSigInfoShared) != 0);
  for (size_t i = 0; i < found.size(); ++i) {
    const Result<void> told = task.CopyOut(UserOut<abi::SigInfo>(to + i * sizeof(abi::SigInfo)), found[i]);
    if (told.ok()) continue;
    if (i == 0) return told.error();
    return Word{i};
  }
  return Word{found.size()};
}

Result<Word> SignalMask(Task& task, const HeldTracee& held, uint64_t size, uint64_t address, bool set) {
  if (size != sizeof(abi::SigSet)) return Errno::kEINVAL;
  if (set) {
    const abi::SigSet mask = TRY(task.CopyIn(UserIn<abi::SigSet>(address)));
    held.SetMask(mask);
  } else {
    TRY(task.CopyOut(UserOut<abi::SigSet>(address), held.mask()));
  }
  return Word{0};
}

// Which stop of a call it is can be told only with PTRACE_O_TRACESYSGOOD, as Linux looks at the stop's code.
Result<Word> GetSyscallInfo(Task& task, const HeldTracee& held, uint64_t size, uint64_t to) {
  const abi::UserRegs& regs = held.regs();
  abi::PtraceSyscallInfo info{};
  info.arch = abi::kAuditArchX86_64;
  info.instruction_pointer = regs.rip;
  info.stack_pointer = regs.rsp;
  size_t length = abi::kPtraceSyscallInfoNoneSize;
  const Result<abi::SigInfo> signal = held.signal();
  const int code = signal.ok() ? signal->code : 0;
  const uint64_t message = held.message();
  const bool of_call = code == (abi::kSigTrap | 0x80);
  const bool of_seccomp = code == (abi::kSigTrap | abi::kPtraceEventSeccomp << 8);
  if (of_seccomp || (of_call && message == abi::kPtraceMessageSyscallEntry)) {
    info.op = of_seccomp ? abi::kPtraceSyscallInfoSeccomp : abi::kPtraceSyscallInfoEntry;
    info.nr = regs.orig_rax;
    for (int i = 0; i < 6; ++i) info.args[i] = abi::SyscallArg(regs, i);
    if (of_seccomp) info.ret_data = static_cast<uint32_t>(message);
    length = of_seccomp ? abi::kPtraceSyscallInfoSeccompSize : abi::kPtraceSyscallInfoEntrySize;
  } else if (of_call && message == abi::kPtraceMessageSyscallExit) {
    info.op = abi::kPtraceSyscallInfoExit;
    info.nr = regs.rax;
    info.args[0] = regs.rax >= Word{0} - kMaxErrno ? 1 : 0;
    length = abi::kPtraceSyscallInfoExitSize;
  }
  TRY(task.mm().CopyOutBytes(to, std::as_bytes(std::span(&info, 1)).first(std::min<uint64_t>(length, size))));
  return Word{length};
}

Result<Word> GetSeccompFilter(Task& task, const HeldTracee& held, uint64_t index, uint64_t to) {
  if (!task.creds().HasCapability(abi::Capability::kSysAdmin) || task.seccomp_mode() != abi::kSeccompModeDisabled) return Errno::kEACCES;
  if (held.task().seccomp_mode() != abi::kSeccompModeFilter) return Errno::kEINVAL;
  const RefPtr<const appfilter::Filter> filter = held.task().seccomp_filter();
  const std::span<const abi::SockFilter> program = TRY(filter->ProgramAt(index));
  if (to != 0) TRY(task.mm().CopyOutBytes(to, std::as_bytes(program)));
  return Word{program.size()};
}

Result<Word> GetSeccompMetadata(Task& task, const HeldTracee& held, uint64_t size, uint64_t address) {
  if (!task.creds().HasCapability(abi::Capability::kSysAdmin) || task.seccomp_mode() != abi::kSeccompModeDisabled) return Errno::kEACCES;
  if (size < sizeof(uint64_t)) return Errno::kEINVAL;
  abi::SeccompMetadata metadata{.filter_offset = TRY(task.CopyIn(UserIn<uint64_t>(address))), .flags = 0};
  if (held.task().seccomp_mode() != abi::kSeccompModeFilter) return Errno::kEINVAL;
  TRY(held.task().seccomp_filter()->ProgramAt(metadata.filter_offset));
  const size_t length = std::min<uint64_t>(size, sizeof(metadata));
  TRY(task.mm().CopyOutBytes(address, std::as_bytes(std::span(&metadata, 1)).first(length)));
  return Word{length};
}

// Nobody has registered a restartable sequence: there are none here.
Result<Word> GetRseq(Task& task, uint64_t size, uint64_t to) {
  const abi::PtraceRseqConfiguration none{};
  TRY(task.mm().CopyOutBytes(to, std::as_bytes(std::span(&none, 1)).first(std::min<uint64_t>(size, sizeof(none)))));
  return Word{sizeof(none)};
}

Result<Word> GetMessage(Task& task, const HeldTracee& held, uint64_t to) {
  TRY(task.CopyOut(UserOut<uint64_t>(to), held.message()));
  return Word{0};
}

Result<Word> Done(const Result<void>& result) {
  if (!result.ok()) return result.error();
  return Word{0};
}

Result<Word> OnStopped(Task& task, HeldTracee held, PtraceRequest request, uint64_t address, uint64_t data) {
  switch (request) {
    case PtraceRequest::kPeekText:
    case PtraceRequest::kPeekData: return PeekMemory(task, held, address, data);
    case PtraceRequest::kPokeText:
    case PtraceRequest::kPokeData: return PokeMemory(held, address, data);
    case PtraceRequest::kPeekUser: return PtracePeekUser(task, held, address, data);
    case PtraceRequest::kPokeUser: return PtracePokeUser(held, address, data);
    case PtraceRequest::kGetRegs: return PtraceGetRegs(task, held, data);
    case PtraceRequest::kSetRegs: return PtraceSetRegs(task, held, data);
    case PtraceRequest::kGetFpRegs: return PtraceGetFpRegs(task, held, data);
    case PtraceRequest::kSetFpRegs: return PtraceSetFpRegs(task, held, data);
    case PtraceRequest::kGetRegSet: return PtraceRegSet(task, held, address, data, false);
    case PtraceRequest::kSetRegSet: return PtraceRegSet(task, held, address, data, true);
    case PtraceRequest::kArchPrctl: return PtraceArchPrctl(task, held, data, address);
    case PtraceRequest::kSetOptions: return SetOptions(task, held, data);
    case PtraceRequest::kGetEventMsg: return GetMessage(task, held, data);
    case PtraceRequest::kGetSigInfo: return GetSignal(task, held, data);
    case PtraceRequest::kSetSigInfo: return SetSignal(task, held, data);
    case PtraceRequest::kPeekSigInfo: return PeekSignals(task, held, address, data);
    case PtraceRequest::kGetSigMask: return SignalMask(task, held, address, data, false);
    case PtraceRequest::kSetSigMask: return SignalMask(task, held, address, data, true);
    case PtraceRequest::kGetSyscallInfo: return GetSyscallInfo(task, held, address, data);
    case PtraceRequest::kSeccompGetFilter: return GetSeccompFilter(task, held, address, data);
    case PtraceRequest::kSeccompGetMetadata: return GetSeccompMetadata(task, held, address, data);
    case PtraceRequest::kGetRseqConfiguration: return GetRseq(task, address, data);
    case PtraceRequest::kCont: return Done(std::move(held).Resume(TraceResume::kContinue, data));
    case PtraceRequest::kSyscall: return Done(std::move(held).Resume(TraceResume::kSyscall, data));
    case PtraceRequest::kSingleStep: return Done(std::move(held).Resume(TraceResume::kStep, data));
    case PtraceRequest::kSysemu: return Done(std::move(held).Resume(TraceResume::kEmulate, data));
    case PtraceRequest::kSysemuSingleStep: return Done(std::move(held).Resume(TraceResume::kEmulateStep, data));
    case PtraceRequest::kDetach: return Done(std::move(held).Detach(data));
    case PtraceRequest::kListen: return Done(std::move(held).Listen());
    default: return Errno::kEIO;
  }
}

struct Name {
  PtraceRequest request;
  const char* name;
};
constexpr Name kNames[] = {
    {PtraceRequest::kTraceMe, "TRACEME"}, {PtraceRequest::kPeekText, "PEEKTEXT"}, {PtraceRequest::kPeekData, "PEEKDATA"},
    {PtraceRequest::kPeekUser, "PEEKUSER"}, {PtraceRequest::kPokeText, "POKETEXT"}, {PtraceRequest::kPokeData, "POKEDATA"},
    {PtraceRequest::kPokeUser, "POKEUSER"}, {PtraceRequest::kCont, "CONT"}, {PtraceRequest::kKill, "KILL"}, {PtraceRequest::kSingleStep, "SINGLESTEP"},
    {PtraceRequest::kGetRegs, "GETREGS"}, {PtraceRequest::kSetRegs, "SETREGS"}, {PtraceRequest::kGetFpRegs, "GETFPREGS"},
    {PtraceRequest::kSetFpRegs, "SETFPREGS"}, {PtraceRequest::kAttach, "ATTACH"}, {PtraceRequest::kDetach, "DETACH"}, {PtraceRequest::kSyscall, "SYSCALL"},
    {PtraceRequest::kGetThreadArea, "GET_THREAD_AREA"}, {PtraceRequest::kSetThreadArea, "SET_THREAD_AREA"}, {PtraceRequest::kArchPrctl, "ARCH_PRCTL"},
    {PtraceRequest::kSysemu, "SYSEMU"}, {PtraceRequest::kSysemuSingleStep, "SYSEMU_SINGLESTEP"}, {PtraceRequest::kSingleBlock, "SINGLEBLOCK"},
    {PtraceRequest::kSetOptions, "SETOPTIONS"}, {PtraceRequest::kGetEventMsg, "GETEVENTMSG"}, {PtraceRequest::kGetSigInfo, "GETSIGINFO"},
    {PtraceRequest::kSetSigInfo, "SETSIGINFO"}, {PtraceRequest::kGetRegSet, "GETREGSET"}, {PtraceRequest::kSetRegSet, "SETREGSET"},
    {PtraceRequest::kSeize, "SEIZE"}, {PtraceRequest::kInterrupt, "INTERRUPT"}, {PtraceRequest::kListen, "LISTEN"},
    {PtraceRequest::kPeekSigInfo, "PEEKSIGINFO"}, {PtraceRequest::kGetSigMask, "GETSIGMASK"}, {PtraceRequest::kSetSigMask, "SETSIGMASK"},
    {PtraceRequest::kSeccompGetFilter, "SECCOMP_GET_FILTER"}, {PtraceRequest::kSeccompGetMetadata, "SECCOMP_GET_METADATA"},
    {PtraceRequest::kGetSyscallInfo, "GET_SYSCALL_INFO"}, {PtraceRequest::kGetRseqConfiguration, "GET_RSEQ_CONFIGURATION"},
};

}  // namespace

void ArgCodec<abi::PtraceRequest>::Print(std::string& out, uint64_t word, mm::UserMemory&) {
  const auto* found = std::find_if(std::begin(kNames), std::end(kNames), [word](const Name& n) { return n.request == Decode(word); });
  if (found == std::end(kNames)) return PrintHex(out, word);
  out += "PTRACE_";
  out += found->name;
}

Result<Word> SysPtrace(Task& task, PtraceRequest request, abi::Pid pid, uint64_t address, uint64_t data) {
  if (request == PtraceRequest::kTraceMe) return Done(kernel::Tracing::TraceMe(task));
  const RefPtr<Task> target = task.FindTask(pid);
  if (!target) return Errno::kESRCH;
  switch (request) {
    case PtraceRequest::kAttach:
      return Done(kernel::Tracing::Attach(task, *target, false, 0));
    case PtraceRequest::kSeize:
      if (address != 0 || (data & ~uint64_t{abi::kPtraceOMask}) != 0) return Errno::kEIO;
      TRY(kernel::Tracing::CheckOptions(task, data));
      return Done(kernel::Tracing::Attach(task, *target, true, static_cast<uint32_t>(data)));
    case PtraceRequest::kInterrupt:
      return Done(kernel::Tracing::Interrupt(task, *target));
    case PtraceRequest::kKill:
      return Done(kernel::Tracing::Kill(task, *target));
    default:
      return OnStopped(task, TRY(HeldTracee::Hold(task, target.ToRef())), request, address, data);
  }
}

}  // namespace rampart::syscalls
