// Pty's ioctls: settings, sessions, and what only the master has.
#include <algorithm>

#include "sentry/fs/tty/pty.h"
#include "sentry/kernel/session.h"
#include "sentry/kernel/terminal_ioctl.h"

namespace rampart::fs::tty {
namespace {

constexpr uint32_t kTiocGpkt = 0x80045438,
                   kTiocGexcl = 0x80045440, kTiocSig = 0x40045436, kTiocGetd = 0x5424, kTiocSetd = 0x5423;
constexpr uint64_t kFlushInput = 0, kFlushOutput = 1, kFlushBoth = 2;

Result<uint64_t> PutInt(mm::UserMemory& memory, uint64_t argument, int32_t value) {
  TRY(memory.CopyOut(UserOut<int32_t>(argument), value));
  return uint64_t{0};
}

Result<kernel::Task*> TaskOf(Caller& caller) {
  if (caller.task() == nullptr) return Errno::kENOTTY;
  return caller.task();
}

abi::Termio OldFormat(const abi::Termios& t) {
  abi::Termio old{static_cast<uint16_t>(t.iflag), static_cast<uint16_t>(t.oflag), static_cast<uint16_t>(t.cflag), static_cast<uint16_t>(t.lflag), t.line, {}, 0};
  std::copy_n(t.cc, sizeof(old.cc), old.cc);
  return old;
}

abi::Termios Merge(abi::Termios t, const abi::Termio& old) {
  const auto low = [](uint32_t flags, uint16_t given) { return (flags & 0xffff0000) | given; };
  t.iflag = low(t.iflag, old.iflag), t.oflag = low(t.oflag, old.oflag), t.cflag = low(t.cflag, old.cflag), t.lflag = low(t.lflag, old.lflag);
  t.line = old.line;
  std::copy_n(old.cc, sizeof(old.cc), t.cc);
  return t;
}

// What is locked stays as it was.
void KeepLocked(abi::Termios& settings, const abi::Termios& before, const abi::Termios& locked) {
  const auto keep = [](uint32_t& flags, uint32_t old, uint32_t mask) { flags = (flags & ~mask) | (old & mask); };
  keep(settings.iflag, before.iflag, locked.iflag);
  keep(settings.oflag, before.oflag, locked.oflag);
  keep(settings.cflag, before.cflag, locked.cflag);
  keep(settings.lflag, before.lflag, locked.lflag);
  if (locked.line != 0) settings.line = before.line;
  for (size_t i = 0; i < sizeof(settings.cc); ++i) {
    if (locked.cc[i] != 0) settings.cc[i] = before.cc[i];
  }
}

}  // namespace

Result<uint64_t> Pty::Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument, bool master) {
  Result<uint64_t> done = SettingsIoctl(memory, command, argument);
  if (done.ok() || done.error() != Errno::kENOTTY) return done;
  done = TermiosIoctl(caller, memory, command, argument);
  if (done.ok() || done.error() != Errno::kENOTTY) return done;
  if (master) {
    done = MasterIoctl(memory, command, argument);
    if (done.ok() || done.error() != Errno::kENOTTY) return done;
  }
  if (command == abi::kFionread) {
    absl::MutexLock lock(&mu_);
    return PutInt(memory, argument, static_cast<int32_t>(master ? discipline_.output_bytes() : discipline_.InputBytes()));
  }
  if (command == abi::kTiocOutq) {
    absl::MutexLock lock(&mu_);
    return PutInt(memory, argument, master ? 0 : static_cast<int32_t>(discipline_.output_bytes()));
  }
  return SessionIoctl(caller, memory, command, argument, master);
}

Result<uint64_t> Pty::SetTermios(Caller& caller, abi::Termios settings, bool flush) {
  kernel::Task* task = TRY(TaskOf(caller));
  TRY(kernel::CheckTerminalAccess(*task, *this, kernel::TerminalAccess::kControl));
  {
    absl::MutexLock lock(&mu_);
    if (flush) discipline_.FlushInput();
    KeepLocked(settings, discipline_.termios(), locked_settings_);
    discipline_.SetTermios(settings);
    if (packet_mode_) packet_status_ = (settings.iflag & abi::kIxOn) != 0 ? abi::kPktDoStop : abi::kPktNoStop;
  }
  TellBoth();
  return uint64_t{0};
}

Result<uint64_t> Pty::TermiosIoctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) {
  abi::Termios2 now{};
  abi::Termios locked;
  {
    absl::MutexLock lock(&mu_);
    now.base = discipline_.termios();
    locked = locked_settings_;
  }
  now.ispeed = now.ospeed = 38400;
  switch (command) {
    case abi::kTcGets: TRY(memory.CopyOut(UserOut<abi::Termios>(argument), now.base)); return uint64_t{0};
    case abi::kTcGets2: TRY(memory.CopyOut(UserOut<abi::Termios2>(argument), now)); return uint64_t{0};
    case abi::kTcGeta: TRY(memory.CopyOut(UserOut<abi::Termio>(argument), OldFormat(now.base))); return uint64_t{0};
    case abi::kTcSets: case abi::kTcSetsW: case abi::kTcSetsF: case abi::kTcSets2: case abi::kTcSetsW2: case abi::kTcSetsF2:
      return SetTermios(caller, TRY(memory.CopyIn(UserIn<abi::Termios>(argument))), command == abi::kTcSetsF || command == abi::kTcSetsF2);
    case abi::kTcSeta: case abi::kTcSetaW: case abi::kTcSetaF:
      return SetTermios(caller, Merge(now.base, TRY(memory.CopyIn(UserIn<abi::Termio>(argument)))), command == abi::kTcSetaF);
    case abi::kTiocGlcktrmios: TRY(memory.CopyOut(UserOut<abi::Termios>(argument), locked)); return uint64_t{0};
    case abi::kTiocSlcktrmios: {
      if (!caller.creds().HasCapability(abi::Capability::kSysAdmin)) return Errno::kEPERM;
      const abi::Termios wanted = TRY(memory.CopyIn(UserIn<abi::Termios>(argument)));
      absl::MutexLock lock(&mu_);
      locked_settings_ = wanted;
      return uint64_t{0};
    }
    default: return Errno::kENOTTY;
  }
}

Result<uint64_t> Pty::SettingsIoctl(mm::UserMemory& memory, uint32_t command, uint64_t argument) {
  switch (command) {
    case abi::kTiocGwinsz: {
      abi::Winsize size;
      {
        absl::MutexLock lock(&mu_);
        size = winsize_;
      }
      TRY(memory.CopyOut(UserOut<abi::Winsize>(argument), size));
      return uint64_t{0};
    }
    case abi::kTiocSwinsz: {
      const abi::Winsize size = TRY(memory.CopyIn(UserIn<abi::Winsize>(argument)));
      bool changed = false;
      {
        absl::MutexLock lock(&mu_);
        changed = size.rows != winsize_.rows || size.cols != winsize_.cols || size.xpixel != winsize_.xpixel || size.ypixel != winsize_.ypixel;
        winsize_ = size;
      }
      if (changed) SendSignals({abi::kSigWinch});
      return uint64_t{0};
    }
    case abi::kTcFlsh: {
      if (argument > kFlushBoth) return Errno::kEINVAL;
      {
        absl::MutexLock lock(&mu_);
        if (argument != kFlushOutput) discipline_.FlushInput();
        if (argument != kFlushInput) discipline_.FlushOutput();
        if (packet_mode_) packet_status_ |= argument == kFlushInput ? abi::kPktFlushRead : argument == kFlushOutput ? abi::kPktFlushWrite : 3;
      }
      TellBoth();
      return uint64_t{0};
    }
    case abi::kTcXonc: {
      if (argument > 3) return Errno::kEINVAL;
      if (argument <= 1) {
        absl::MutexLock lock(&mu_);
        discipline_.SetStopped(argument == 0);
      }
      TellBoth();
      return uint64_t{0};
    }
    case abi::kTcSbrk:
    case abi::kTcSbrkp:
      return uint64_t{0};  // a pty has no line to break, and its output needs no draining
    case kTiocGetd:
      return PutInt(memory, argument, 0);  // N_TTY
    case kTiocSetd: {
      const int32_t wanted = TRY(memory.CopyIn(UserIn<int32_t>(argument)));
      if (wanted != 0) return Errno::kEINVAL;
      return uint64_t{0};
    }
    case abi::kTiocExcl:
    case abi::kTiocNxcl: {
      absl::MutexLock lock(&mu_);
      exclusive_ = command == abi::kTiocExcl;
      return uint64_t{0};
    }
    case kTiocGexcl: {
      bool exclusive = false;
      {
        absl::MutexLock lock(&mu_);
        exclusive = exclusive_;
      }
      return PutInt(memory, argument, exclusive ? 1 : 0);
    }
    default:
      return Errno::kENOTTY;
  }
}

Result<uint64_t> Pty::SessionIoctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument, bool master) {
  kernel::Task* task = TRY(TaskOf(caller));
  if (master) {  // whoever holds it asks of the session on the other side
    if (command == abi::kTiocSctty) return Errno::kENOTTY;
    if (command == abi::kTiocGpgrp) return PutInt(memory, argument, task->ToOwn(kernel::ForegroundOfTerminal(kernel_, *this)));
    if (command == abi::kTiocGsid) return PutInt(memory, argument, task->ToOwn(TRY(kernel::SessionOfTerminal(kernel_, *this))));
  }
  return kernel::TerminalSessionIoctl(*task, *this, memory, command, argument);
}

Result<uint64_t> Pty::MasterIoctl(mm::UserMemory& memory, uint32_t command, uint64_t argument) {
  switch (command) {
    case abi::kTiocGptn:
      return PutInt(memory, argument, static_cast<int32_t>(index_));
    case abi::kTiocSptlck: {
      const int32_t lock_it = TRY(memory.CopyIn(UserIn<int32_t>(argument)));
      absl::MutexLock lock(&mu_);
      locked_ = lock_it != 0;
      return uint64_t{0};
    }
    case abi::kTiocGptlck: {
      bool locked = false;
      {
        absl::MutexLock lock(&mu_);
        locked = locked_;
      }
      return PutInt(memory, argument, locked ? 1 : 0);
    }
    case abi::kTiocPkt: {
      const int32_t on = TRY(memory.CopyIn(UserIn<int32_t>(argument)));
      absl::MutexLock lock(&mu_);
      packet_mode_ = on != 0;
      packet_status_ = 0;
      return uint64_t{0};
    }
    case kTiocGpkt: {
      bool on = false;
      {
        absl::MutexLock lock(&mu_);
        on = packet_mode_;
      }
      return PutInt(memory, argument, on ? 1 : 0);
    }
    case kTiocSig:
      if (argument != abi::kSigInt && argument != abi::kSigQuit && argument != abi::kSigTstp) return Errno::kEINVAL;
      SendSignals({static_cast<int>(argument)});
      return uint64_t{0};
    default:
      return Errno::kENOTTY;
  }
}

}  // namespace rampart::fs::tty
