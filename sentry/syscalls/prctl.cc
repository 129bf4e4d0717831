#include "sentry/syscalls/prctl.h"

#include <algorithm>
#include <array>

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/syscalls/seccomp.h"

namespace rampart::syscalls {

using kernel::Task;

namespace {

constexpr int kPrTaskPerfEventsDisable = 31, kPrTaskPerfEventsEnable = 32, kPrMceKill = 33, kPrMceKillGet = 34, kPrSetSyscallUserDispatch = 59,
              kPrSetMdwe = 65, kPrGetMdwe = 66;
constexpr uint64_t kUserEnd = (uint64_t{1} << 47) - kPageSize;  // TASK_SIZE_MAX

template <class Change>
Result<Word> ChangeCreds(Task& task, Change change) {
  auth::CredentialValues values = task.creds();
  TRY(change(values));
  task.SetCreds(MakeRef<const auth::Credentials>(std::move(values)));
  return Word{0};
}

Result<Word> SetName(Task& task, uint64_t from) {
  std::array<std::byte, 16> bytes{};
  const size_t n = TRY(task.mm().CopyInPartial(from, std::span(bytes).first(15)));
  std::string name;
  for (size_t i = 0; i < n && bytes[i] != std::byte{0}; ++i) name += static_cast<char>(bytes[i]);
  if (n < 15 && name.size() == n) return Errno::kEFAULT;  // ran off the end before a NUL
  task.SetName(std::move(name));
  return Word{0};
}

Result<Word> GetName(Task& task, uint64_t to) {
  std::array<char, 16> text{};
  const std::string name = task.name();
  std::copy_n(name.begin(), std::min<size_t>(name.size(), 15), text.begin());
  TRY(task.mm().CopyOutBytes(to, std::as_bytes(std::span(text))));
  return Word{0};
}

Result<abi::CapabilitySet> CapabilityArgument(uint64_t number) {
  if (number > static_cast<uint64_t>(abi::kLastCapability)) return Errno::kEINVAL;
  return uint64_t{1} << number;
}

Result<Word> DropBounding(Task& task, uint64_t number) {
  if (!task.creds().HasCapability(abi::Capability::kSetpcap)) return Errno::kEPERM;
  const abi::CapabilitySet bit = TRY(CapabilityArgument(number));
  return ChangeCreds(task, [bit](auth::CredentialValues& v) -> Result<void> {
    v.bounding &= ~bit;
    return Ok();
  });
}

Result<Word> Ambient(Task& task, uint64_t what, uint64_t number, uint64_t a4, uint64_t a5) {
  if (a4 != 0 || a5 != 0) return Errno::kEINVAL;
  if (what == static_cast<uint64_t>(abi::kPrCapAmbientClearAll)) {
    if (number != 0) return Errno::kEINVAL;
    return ChangeCreds(task, [](auth::CredentialValues& v) -> Result<void> {
      v.ambient = 0;
      return Ok();
    });
  }
  const abi::CapabilitySet bit = TRY(CapabilityArgument(number));
  switch (static_cast<int>(what)) {
    case abi::kPrCapAmbientIsSet:
      return Word{(task.creds().ambient & bit) != 0 ? 1u : 0u};
    case abi::kPrCapAmbientRaise:
      if ((task.creds().permitted & task.creds().inheritable & bit) == 0) return Errno::kEPERM;
      if ((task.creds().securebits & abi::kSecbitNoCapAmbientRaise) != 0) return Errno::kEPERM;
      return ChangeCreds(task, [bit](auth::CredentialValues& v) -> Result<void> {
        v.ambient |= bit;
        return Ok();
      });
    case abi::kPrCapAmbientLower:
      return ChangeCreds(task, [bit](auth::CredentialValues& v) -> Result<void> {
        v.ambient &= ~bit;
        return Ok();
      });
    default:
      return Errno::kEINVAL;
  }
}

Result<Word> SetSecurebits(Task& task, uint64_t wanted) {
  const uint32_t old = task.creds().securebits;
  constexpr uint32_t kLocks = 0xaa, kBits = 0x55;
  if ((wanted & ~uint64_t{abi::kSecbitAll}) != 0) return Errno::kEPERM;
  const uint32_t bits = static_cast<uint32_t>(wanted);
  // A locked bit stays as it is, and so does the lock.
  const uint32_t locked = (old & kLocks) >> 1;
  if ((locked & kBits & (old ^ bits)) != 0 || (old & kLocks & ~bits) != 0) return Errno::kEPERM;
  if (!task.creds().HasCapability(abi::Capability::kSetpcap)) return Errno::kEPERM;
  return ChangeCreds(task, [bits](auth::CredentialValues& v) -> Result<void> {
    v.securebits = bits;
    v.keep_caps = (bits & abi::kSecbitKeepCaps) != 0;
    return Ok();
  });
}

Result<Word> SetKeepCaps(Task& task, uint64_t on) {
  if (on > 1) return Errno::kEINVAL;
  if ((task.creds().securebits & abi::kSecbitKeepCapsLocked) != 0) return Errno::kEPERM;
  return ChangeCreds(task, [on](auth::CredentialValues& v) -> Result<void> {
    v.keep_caps = on != 0;
    v.securebits = on != 0 ? v.securebits | abi::kSecbitKeepCaps : v.securebits & ~abi::kSecbitKeepCaps;
    return Ok();
  });
}

Result<Word> Identity(Task& task, int option, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
  switch (option) {
    case abi::kPrGetKeepcaps:
      return Word{task.creds().keep_caps ? 1u : 0u};
    case abi::kPrSetKeepcaps:
      return SetKeepCaps(task, a2);
    case abi::kPrCapbsetRead: {
      const abi::CapabilitySet bit = TRY(CapabilityArgument(a2));
      return Word{(task.creds().bounding & bit) != 0 ? 1u : 0u};
    }
    case abi::kPrCapbsetDrop:
      return DropBounding(task, a2);
    case abi::kPrGetSecurebits:
      return Word{task.creds().securebits};
    case abi::kPrSetSecurebits:
      return SetSecurebits(task, a2);
    case abi::kPrSetNoNewPrivs:
      if (a2 != 1 || a3 != 0 || a4 != 0 || a5 != 0) return Errno::kEINVAL;
      return ChangeCreds(task, [](auth::CredentialValues& v) -> Result<void> {
        v.no_new_privs = true;
        return Ok();
      });
    case abi::kPrGetNoNewPrivs:
      if (a2 != 0 || a3 != 0 || a4 != 0 || a5 != 0) return Errno::kEINVAL;
      return Word{task.creds().no_new_privs ? 1u : 0u};
    case abi::kPrCapAmbient:
      return Ambient(task, a2, a3, a4, a5);
    default:
      return Errno::kEINVAL;
  }
}

Result<Word> SetUserDispatch(Task& task, uint64_t mode, uint64_t offset, uint64_t length, uint64_t selector) {
  constexpr uint64_t kOff = 0, kOn = 1;
  if (mode != kOff && mode != kOn) return Errno::kEINVAL;
  if (mode == kOff && (offset | length | selector) != 0) return Errno::kEINVAL;
  if (mode == kOn && offset != 0 && offset + length <= offset) return Errno::kEINVAL;
  if (selector >= kUserEnd) return Errno::kEFAULT;
  task.SetUserDispatch({mode == kOn, offset, length, selector});
  return Word{0};
}

// PR_SET_MDWE: no memory that is both written and executed, and none that becomes executable.
Result<Word> SetNoExecGain(Task& task, uint64_t bits, uint64_t a3, uint64_t a4, uint64_t a5) {
  if ((a3 | a4 | a5) != 0 || (bits & ~uint64_t{mm::kRefuseExecGain | mm::kNotInherited}) != 0) return Errno::kEINVAL;
  if ((bits & mm::kNotInherited) != 0 && (bits & mm::kRefuseExecGain) == 0) return Errno::kEINVAL;
  uint32_t before = 0;
  const auto wanted = static_cast<uint32_t>(bits);
  if (!task.mm().exec_gain.compare_exchange_strong(before, wanted) && before != wanted) return Errno::kEPERM;
  return Word{0};
}

Result<Word> MceKill(Task& task, uint64_t what, uint64_t policy, uint64_t a4, uint64_t a5) {
  constexpr uint64_t kClear = 0, kSet = 1;
  constexpr uint32_t kLate = 0, kEarly = 1, kDefault = 2;
  if ((a4 | a5) != 0) return Errno::kEINVAL;
  if (what == kClear) {
    if (policy != 0) return Errno::kEINVAL;
    task.mce_kill.store(kDefault);
    return Word{0};
  }
  if (what != kSet || (policy != kLate && policy != kEarly && policy != kDefault)) return Errno::kEINVAL;
  task.mce_kill.store(static_cast<uint32_t>(policy));
  return Word{0};
}

// What concerns the hardware, or memory as a whole.
Result<Word> Machine(Task& task, int option, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
  constexpr uint64_t kTscEnable = 1;
  switch (option) {
    case abi::kPrGetTsc:
      TRY(task.CopyOut(UserOut<int32_t>(a2), static_cast<int32_t>(kTscEnable)));
      return Word{0};
    case abi::kPrSetTsc:  // the other setting, SIGSEGV at rdtsc, is not there
      return a2 == kTscEnable ? Result<Word>(Word{0}) : Errno::kEINVAL;
    case kPrTaskPerfEventsDisable:  // there are none
    case kPrTaskPerfEventsEnable:
      return Word{0};
    case kPrMceKill:
      return MceKill(task, a2, a3, a4, a5);
    case kPrMceKillGet:
      if ((a2 | a3 | a4 | a5) != 0) return Errno::kEINVAL;
      return Word{task.mce_kill.load()};
    case kPrSetSyscallUserDispatch:
      return SetUserDispatch(task, a2, a3, a4, a5);
    case kPrSetMdwe:
      return SetNoExecGain(task, a2, a3, a4, a5);
    case kPrGetMdwe:
      if ((a2 | a3 | a4 | a5) != 0) return Errno::kEINVAL;
      return Word{task.mm().exec_gain.load()};
    default:
      return Identity(task, option, a2, a3, a4, a5);
  }
}

}  // namespace

Result<Word> SysPrctl(Task& task, int32_t option, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
  kernel::ThreadGroup& group = task.group();
  switch (option) {
    case abi::kPrSetName:
      return SetName(task, a2);
    case abi::kPrGetName:
      return GetName(task, a2);
    case abi::kPrSetPdeathsig:
      if (a2 > static_cast<uint64_t>(abi::kSigMax)) return Errno::kEINVAL;
      task.SetParentDeathSignal(static_cast<int>(a2));
      return Word{0};
    case abi::kPrGetPdeathsig:
      TRY(task.CopyOut(UserOut<int32_t>(a2), static_cast<int32_t>(task.parent_death_signal())));
      return Word{0};
    case abi::kPrGetDumpable:
      return static_cast<Word>(group.dumpable.load());
    case abi::kPrSetDumpable:
      if (a2 > 1) return Errno::kEINVAL;
      group.dumpable.store(static_cast<int>(a2));
      return Word{0};
    case abi::kPrSetChildSubreaper:
      group.child_subreaper.store(a2 != 0);
      return Word{0};
    case abi::kPrGetChildSubreaper:
      TRY(task.CopyOut(UserOut<int32_t>(a2), int32_t{group.child_subreaper.load() ? 1 : 0}));
      return Word{0};
    case abi::kPrSetTimerslack:
      task.timer_slack.store(static_cast<int64_t>(a2) <= 0 ? task.default_timer_slack.load() : a2);
      return Word{0};
    case abi::kPrGetTimerslack:
      return Word{task.timer_slack.load()};
    case abi::kPrGetTiming:
      return Word{0};
    case abi::kPrSetTiming:
      if (a2 != 0) return Errno::kEINVAL;
      return Word{0};
    case abi::kPrSetThpDisable:
      if (a3 != 0 || a4 != 0 || a5 != 0) return Errno::kEINVAL;
      group.thp_disabled.store(a2 != 0);
      return Word{0};
    case abi::kPrGetThpDisable:
      if (a2 != 0 || a3 != 0 || a4 != 0 || a5 != 0) return Errno::kEINVAL;
      return Word{group.thp_disabled.load() ? 1u : 0u};
    case abi::kPrGetTidAddress:
      TRY(task.CopyOut(UserOut<uint64_t>(a2), task.clear_child_tid()));
      return Word{0};
    case abi::kPrGetSeccomp:
      return Word{task.seccomp_mode()};
    case abi::kPrSetSeccomp:
      return SetSeccomp(task, a2, a3);
    case abi::kPrSetPtracer:
      return Word{0};
    default:
      return Machine(task, option, a2, a3, a4, a5);
  }
}

}  // namespace rampart::syscalls
