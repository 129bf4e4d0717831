// The platform: what runs application code. ptrace, KVM and later systrap implement these three classes; nothing above knows which.
//
//   Platform      makes AddressSpaces and Contexts.
//   AddressSpace  what application memory the code sees: ranges of BackingFiles at user addresses. Mapping changes are queued and applied
//                 in batches.
//   Context       one thread of application code: its registers, and Switch(), which runs it until something happens.
//
// Model. A Context is bound to the host thread that made it (a ptrace tracer is a thread; a vCPU is cheap to keep on one): all its
// functions except Interrupt() run on that thread. One Context can run in different AddressSpaces one after the other (execve, reuse
// from a pool of idle threads).
//
// Thread safety: Platform and AddressSpace: any thread. Context: its own thread, Interrupt() any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "abi/regs.h"
#include "base/ref.h"
#include "base/result.h"
#include "platform/backing_file.h"

namespace rampart::platform {

// Access rights, and kinds of access: a bit set.
enum class Prot : uint8_t { kNone = 0, kRead = 1, kWrite = 2, kExec = 4, kReadWrite = 3, kReadExec = 5, kAll = 7 };
constexpr Prot operator|(Prot a, Prot b) { return static_cast<Prot>(static_cast<uint8_t>(a) | static_cast<uint8_t>(b)); }
constexpr Prot operator&(Prot a, Prot b) { return static_cast<Prot>(static_cast<uint8_t>(a) & static_cast<uint8_t>(b)); }
constexpr Prot operator~(Prot a) { return static_cast<Prot>(~static_cast<uint8_t>(a) & 7); }
constexpr bool Allows(Prot have, Prot want) { return (have & want) == want; }
constexpr bool Any(Prot p) { return p != Prot::kNone; }

// What a platform can do, as data.
struct Capabilities {
  const char* name;                 // "ptrace", "kvm"
  uint64_t min_user_address;        // application mappings lie in [min, max); page aligned
  uint64_t max_user_address;
  bool fault_access_known;          // Exit::access tells reads from writes; otherwise it is kNone for "unknown"
  bool context_thread_is_costly;    // worth keeping idle threads with their Context for reuse
  uint32_t max_contexts;            // threads of application code that can exist at once
};

// Whether pages should be present when the mapping is applied, or be brought in by host faults when touched.
enum class Populate : uint8_t { kOnFault, kNow };

class AddressSpace : public RefCounted {
 public:
  // The three changes are queued in order and never fail by themselves: a host that refuses one (out of mappings) makes Commit or
  // Switch fail. Addresses and lengths are page aligned, length > 0, within the capabilities' range (CHECKed: mm's duty).
  // Map replaces what was there. The space holds a reference to `file` while any of the range is mapped.
  virtual void Map(uint64_t address, uint64_t length, Ref<BackingFile> file, uint64_t offset, Prot prot, Populate populate) = 0;
  virtual void Unmap(uint64_t address, uint64_t length) = 0;
  // Changes the rights of what is mapped in the range; holes are left holes.
  virtual void Protect(uint64_t address, uint64_t length, Prot prot) = 0;

  // Sequence numbers of changes, for the owner of pages: once applied() >= the queued() read after an Unmap, no thread in this space
  // can reach the unmapped pages and they may be reused.
  virtual uint64_t queued() const = 0;
  virtual uint64_t applied() const = 0;

  // Makes every thread of this space that runs application code now leave it (their Switch returns kInterrupted) and apply the queue
  // before it runs again. Needed when a thread *outside* this space's own contexts changed it (another process wrote to it, a file was
  // truncated). Does not wait for the application of the queue; use applied().
  virtual void Kick() = 0;
};

enum class ExitReason : uint8_t {
  kSyscall,      // registers are as at the instruction after SYSCALL: rax = number as given, also in orig_rax; rcx/r11 as the CPU leaves them
  kFault,        // page fault: address, access (or kNone when unknown), write/exec known or not
  kException,    // anything else that Linux turns into a signal: signo, code, address
  kInterrupted,  // Interrupt() or Kick(); may be spurious
};

struct Exit {
  ExitReason reason;
  Prot access = Prot::kNone;        // kFault
  bool page_was_mapped = false;     // kFault: the page was present without the right (SEGV_ACCERR); valid when fault_access_known is false
  int signo = 0;                    // kException: SIGILL, SIGFPE, SIGTRAP, SIGBUS, SIGSEGV (non-canonical, #GP)
  int code = 0;                     // si_code
  uint64_t address = 0;             // si_addr
  uint32_t trapno = 0;              // x86 vector, 0 if unknown
  uint32_t error_code = 0;          // x86 page-fault error code, 0 if unknown
};

enum class Step : uint8_t { kRun, kSingleInstruction };

// A system call that always has the same result for this thread: getpid, gettid, getuid …
struct KnownAnswer {
  uint32_t number;  // as in rax
  uint64_t result;
};

class Context {
 public:
  virtual ~Context() = default;

  // The thread's registers: read and written freely between Switches. The memory may be shared with the code that runs the
  // application: read a field once, and never trust it to stay between a check and a use across a Switch.
  virtual abi::UserRegs& regs() = 0;

  // Applies the space's queued changes, runs application code with regs() until something happens, and stores the new registers.
  // With Step::kSingleInstruction one instruction is run and the exit is kException with SIGTRAP/TRAP_TRACE.
  // Errors: ENOMEM (the host refused a mapping or a helper process), ESRCH (the code's host process was killed from outside): the
  // caller kills the application's process.
  virtual Result<Exit> Switch(AddressSpace& space, Step step) = 0;

  // Applies queued changes to `space` without running anything. Same errors.
  virtual Result<void> Commit(AddressSpace& space) = 0;

  // Makes a Switch that is running, or else the next one, return kInterrupted soon. From any thread; async-signal-safe.
  virtual void Interrupt() = 0;

  // Extended state in the standard (non-compacted) XSAVE format as in signal frames and core dumps; size is Platform::xstate_size().
  // Fetched and set only when needed (signal frames, clone, ptrace). After Get, state is as at the last exit. A state whose header the
  // processor would refuse gives EINVAL and changes nothing.
  virtual Result<void> GetExtendedState(std::span<std::byte> out) = 0;
  virtual Result<void> SetExtendedState(std::span<const std::byte> in) = 0;

  // Called by the running thread of `space` before another thread, with a Context of its own, first runs in the same space (clone with
  // CLONE_VM): prepares what that needs. Cheap where nothing is needed.
  virtual Result<void> PrepareSibling(AddressSpace& space) = 0;

  // Called on this thread when it stops running in `space` for good (thread exit, execve, before pooling).
  virtual void Leave(AddressSpace& space) = 0;

  // Replaces the system calls whose results are known beforehand, until the next call of this function or of Leave. A platform may answer
  // them without an exit (PlatformStats::answered_calls), or ignore this. Calls must have no effect and must not read their arguments.
  // Own thread, outside Switch.
  virtual void SetAnswers(std::span<const KnownAnswer> answers) = 0;
};

// Counters for --stats.
struct PlatformStats {
  uint64_t switches = 0;        // application → sentry round trips
  uint64_t host_calls = 0;      // host system calls made for them, ours and injected
  uint64_t injected_calls = 0;  // mapping calls injected into the application's host process
  uint64_t helper_processes = 0;
  uint64_t answered_calls = 0;  // system calls answered without a switch (Context::SetAnswers)
  uint64_t inner_faults = 0;    // page faults resolved by the platform alone
};

class Platform {
 public:
  virtual ~Platform() = default;
  virtual const Capabilities& capabilities() const = 0;
  virtual Result<Ref<AddressSpace>> NewAddressSpace() = 0;
  // The Context belongs to the calling thread.
  virtual Result<std::unique_ptr<Context>> NewContext() = 0;
  // Bytes of extended state (XSAVE area) on this machine.
  virtual size_t xstate_size() const = 0;
  // XSAVE feature mask (XCR0) for signal frames.
  virtual uint64_t xstate_features() const = 0;
  virtual PlatformStats stats() const = 0;
};

// What a call's argument may be: (argument & mask) is one of any_of. An int argument has a mask of at most 32 bits.
struct ArgumentCheck {
  int argument;  // 0..5
  uint64_t mask;
  std::vector<uint64_t> any_of;
};

// A host system call that a platform needs, beyond those of every Sentry, for the seccomp table: number, reason, and what it is allowed with:
// every check of one of `rules` passes. Empty: any arguments.
struct NeededSyscall {
  int number;
  const char* reason;
  std::vector<std::vector<ArgumentCheck>> rules = {};
};
// How the Sentry calls itself: it is the first process of its PID namespace, and its platform's processes are the others.
inline constexpr uint64_t kSentryPid = 1;
inline constexpr uint64_t kIntArgument = 0xffff'ffff;  // mask of a whole int argument

// An ioctl that a platform needs: the request, and the descriptors that it may go to: those with (fd & fd_mask) == fd.
struct NeededIoctl {
  int fd;
  uint32_t fd_mask;  // ~0: exactly fd
  uint32_t request;
  const char* reason;
};

// How the registry knows a platform.
struct PlatformInfo {
  const char* name;
  // Empty when it can work here, else one line for people that names what is missing and the remedy.
  std::string (*why_unavailable)();
  // Called at boot, before confinement and before other threads exist.
  Result<std::unique_ptr<Platform>> (*create)();
  std::vector<NeededSyscall> (*needed_syscalls)();
  // Descriptor numbers are those of the platform that create() made last; before, examples. When this is not empty, SYS_ioctl is allowed
  // for these only (beyond what every Sentry may do).
  std::vector<NeededIoctl> (*needed_ioctls)();
  // Opens what create() needs of the host's files, while the process still sees them and has its first user; and closes it, when another
  // platform is taken.
  void (*prepare)();
  void (*discard)();
};

}  // namespace rampart::platform
