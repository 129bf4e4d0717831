#include "base/host.h"
#include "sentry/syscalls/system.h"

#include <sched.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "sentry/kernel/cpu_clock.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/namespaces.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/kernel/version.h"

namespace rampart::syscalls {
namespace {

constexpr uint32_t kPersonalityMask = 0xff, kPerLinux32 = 8;  // linux/personality.h

void Fill(char (&field)[65], const std::string& text) {
  const size_t n = std::min(text.size(), sizeof(field) - 1);
  std::memcpy(field, text.data(), n);
}

constexpr int32_t kHostNameMax = 64;

Result<std::string> ReadName(kernel::Task& task, UserIn<char> from, int32_t length) {
  if (!task.creds().HasCapability(abi::Capability::kSysAdmin)) return Errno::kEPERM;
  if (length < 0 || length > kHostNameMax) return Errno::kEINVAL;
  std::string name(static_cast<size_t>(length), '\0');
  TRY(task.mm().CopyInBytes(from.address(), std::as_writable_bytes(std::span(name))));
  return name.substr(0, name.find('\0'));
}

}  // namespace

Result<Word> SysUname(kernel::Task& task, UserOut<Utsname> out) {
  Utsname u{};
  Fill(u.sysname, kernel::kUnameSysname);
  Fill(u.nodename, task.namespaces().uts->hostname());
  Fill(u.release, kernel::kUnameRelease);
  Fill(u.version, kernel::kUnameVersion);
  const bool is_32_bit = (task.group().personality.load() & kPersonalityMask) == kPerLinux32;
  Fill(u.machine, is_32_bit ? "i686" : kernel::kUnameMachine);
  Fill(u.domainname, task.namespaces().uts->domainname());
  TRY(task.CopyOut(out, u));
  return Word{0};
}

Result<Word> SysSethostname(kernel::Task& task, UserIn<char> from, int32_t length) {
  std::string name = TRY(ReadName(task, from, length));
  task.namespaces().uts->SetHostname(std::move(name));
  return Word{0};
}

Result<Word> SysSetdomainname(kernel::Task& task, UserIn<char> from, int32_t length) {
  std::string name = TRY(ReadName(task, from, length));
  task.namespaces().uts->SetDomainname(std::move(name));
  return Word{0};
}

Result<Word> SysReboot(kernel::Task& task, int32_t magic1, int32_t magic2, uint32_t command, uint64_t) {
  constexpr uint32_t kMagic1 = 0xfee1dead, kMagics2[] = {672274793, 85072278, 369367448, 537993216};
  constexpr uint32_t kRestart = 0x01234567, kRestart2 = 0xa1b2c3d4, kHalt = 0xcdef0123, kPowerOff = 0x4321fedc;
  if (!task.creds().HasCapability(abi::Capability::kSysBoot)) return Errno::kEPERM;
  const bool known = std::find(std::begin(kMagics2), std::end(kMagics2), static_cast<uint32_t>(magic2)) != std::end(kMagics2);
  if (static_cast<uint32_t>(magic1) != kMagic1 || !known) return Errno::kEINVAL;
  if (task.pid_namespace().is_root()) return Errno::kEPERM;
  // Linux: reboot_pid_ns. Process 1 seems ended by a signal, and takes everybody with it.
  int signal = 0;
  switch (command) {
    case kRestart:
    case kRestart2: signal = abi::kSigHup; break;
    case kHalt:
    case kPowerOff: signal = abi::kSigInt; break;
    default: return Errno::kEINVAL;
  }
  if (const RefPtr<kernel::ThreadGroup> init = task.FindGroup(1)) init->Kill(abi::KilledStatus(signal, false));
  task.group().Kill(0);
  return Word{0};
}

Result<Word> SysSysinfo(kernel::Task& task, UserOut<Sysinfo> out) {
  Sysinfo info;
  kernel::Kernel& kernel = task.kernel();
  info.uptime = (kernel::ReadWallClock(kernel, kernel::AppClock{}) - kernel.boot_time()) / kNanosPerSecond;
  const mm::MemoryFile::Usage usage = kernel.memory_file()->usage();
  // Without a limit of ours: the host's memory, as /proc/meminfo shows it.
  const uint64_t host = HostMemoryBytes();
  info.total_ram = std::max(usage.limit_bytes != 0 ? usage.limit_bytes : host, usage.used_bytes);
  info.free_ram = info.total_ram - usage.used_bytes;
  info.procs = static_cast<uint16_t>(std::min<size_t>(kernel.task_count(), UINT16_MAX));
  TRY(task.CopyOut(out, info));
  return Word{0};
}

Result<Word> SysGetrandom(kernel::Task& task, uint64_t buffer, uint64_t length, uint32_t flags) {
  constexpr uint32_t kNonblock = 1, kRandom = 2, kInsecure = 4;
  if ((flags & ~(kNonblock | kRandom | kInsecure)) != 0 || (flags & (kRandom | kInsecure)) == (kRandom | kInsecure)) return Errno::kEINVAL;
  length = std::min<uint64_t>(length, INT32_MAX);
  std::array<std::byte, 4096> chunk;
  uint64_t done = 0;
  while (done < length) {
    const size_t want = std::min<uint64_t>(length - done, chunk.size());
    const ssize_t got = ::getrandom(chunk.data(), want, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Errno::kEIO;
    const Result<size_t> copied = task.mm().CopyOutPartial(buffer + done, std::span(chunk).first(static_cast<size_t>(got)));
    if (!copied.ok()) return done > 0 ? Result<Word>(Word{done}) : Result<Word>(copied.error());
    done += *copied;
    if (*copied < static_cast<size_t>(got) || (task.Interrupted() && done < length)) break;
  }
  return Word{done};
}

Result<Word> SysSyslog(kernel::Task& task, int32_t type, uint64_t buffer, int32_t length) {
  constexpr int32_t kRead = 2, kReadAll = 3, kReadClear = 4, kClear = 5, kConsoleLevel = 8, kSizeUnread = 9, kSizeBuffer = 10;
  if (type < 0 || type > kSizeBuffer) return Errno::kEINVAL;
  if (type != kReadAll && type != kSizeBuffer && !task.creds().HasCapability(abi::Capability::kSyslog)) return Errno::kEPERM;
  switch (type) {
    case kReadAll:
    case kReadClear:
    case kRead:
      if (length < 0 || buffer == 0) return Errno::kEINVAL;
      return Word{0};  // the log is empty
    case kSizeBuffer: return Word{1 << 16};
    case kConsoleLevel: return length < 1 || length > 8 ? Result<Word>(Errno::kEINVAL) : Result<Word>(Word{0});
    case kClear:
    case kSizeUnread:
    default: return Word{0};
  }
}

Result<Word> SysGetcpu(kernel::Task& task, UserOut<uint32_t> cpu, UserOut<uint32_t> node, uint64_t /*cache*/) {
  const int now = ::sched_getcpu();
  const uint32_t shown = now < 0 ? 0 : static_cast<uint32_t>(now) % std::max(task.kernel().cpus(), 1u);
  if (cpu) TRY(task.CopyOut(cpu, shown));
  if (node) TRY(task.CopyOut(node, 0u));
  return Word{0};
}

}  // namespace rampart::syscalls
