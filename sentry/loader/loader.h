// The program loader: execve(2)'s middle part. It resolves `#!` scripts, checks and maps an ELF executable and its interpreter into a new
// address space, maps the vDSO, and builds the initial stack (System V ABI: argc, argv, envp, auxv).
//
// Model. The caller (kernel/) has resolved and opened the file and copied the arguments in; LoadProgram builds a fresh MemoryManager beside
// the old one and touches nothing of the old. On success the caller swaps the mm, applies credentials and close-on-exec, and starts the task with
// LoadedImage::regs. Nothing here depends on the vfs: files come through ExecutableFile.
// Thread safety: one LoadProgram per thread; several at once are fine. Source: Linux fs/binfmt_elf.c, binfmt_script.c, exec.c.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "abi/regs.h"
#include "abi/types.h"
#include "absl/functional/function_ref.h"
#include "base/ref.h"
#include "base/result.h"
#include "platform/platform.h"
#include "sentry/context/caller.h"
#include "sentry/loader/vdso.h"
#include "sentry/mm/mappable.h"
#include "sentry/mm/memory_file.h"
#include "sentry/mm/memory_manager.h"

namespace rampart::loader {

// A file opened for execution: the kernel wraps a vfs file description. Whoever makes one has already checked what execve checks of the file
// itself: regular file, execute permission, no noexec mount (EACCES).
class ExecutableFile : public virtual RefCounted {
 public:
  // As pread(2) of the host of the file: may be short only at the end of the file. Any errno.
  virtual Result<size_t> PRead(std::span<std::byte> bytes, uint64_t offset) = 0;
  // What MMap takes. Null when the file cannot be mapped: the loader then copies its bytes into anonymous memory.
  virtual RefPtr<mm::Mappable> mappable() = 0;
  // For /proc/PID/maps and /proc/PID/exe.
  virtual RefPtr<mm::MappingIdentity> identity() = 0;
  // It becomes the program: what it is for /proc/PID/exe. It may not be written as long as the result lives. ETXTBSY: it is open for writing.
  virtual Result<RefPtr<mm::MappingIdentity>> BecomeProgram() { return identity(); }
};

// Opens interpreters: that of a script's first line and PT_INTERP.
class ExecutableOpener {
 public:
  virtual ~ExecutableOpener() = default;
  // Resolves `path` as the caller would (root, cwd, credentials) and checks as execve does. Errors: ENOENT, EACCES, ELOOP, ENOTDIR, …
  virtual Result<Ref<ExecutableFile>> OpenExecutable(std::string_view path) = 0;
};

// Who the program will run as: for the auxiliary vector.
struct ExecCredentials {
  abi::Uid uid = 0, euid = 0;
  abi::Gid gid = 0, egid = 0;
  bool secure = false;  // AT_SECURE: set-id or file capabilities took effect
};

struct LoadArgs {
  platform::Platform& platform;
  Ref<mm::MemoryFile> memory_file;
  Ref<Vdso> vdso;
  const Caller& caller;                     // for RLIMIT_STACK, RLIMIT_AS, …
  ExecutableOpener& opener;
  Ref<ExecutableFile> file;
  std::string filename;                     // as given to execve; "/dev/fd/N" or "/dev/fd/N/PATH" for execveat on a descriptor
  bool filename_unreachable = false;        // that descriptor is close-on-exec: a script cannot be opened again (ENOENT)
  std::vector<std::string> argv;            // empty: as Linux ≥ 5.18, one empty string is supplied
  std::vector<std::string> envp;
  // Called once, when scripts are resolved, with the file that will really run (set-id bits count there only), before the stack is built.
  absl::FunctionRef<Result<ExecCredentials>(ExecutableFile& executable)> credentials;
  bool randomize = true;                    // false: personality(ADDR_NO_RANDOMIZE)
  bool read_implies_exec = false;           // personality(READ_IMPLIES_EXEC): without effect here, as Linux clears it for 64-bit programs
};

struct LoadedImage {
  Ref<mm::MemoryManager> mm;                // layout(), executable() and the break are set
  abi::UserRegs regs;                       // rip, rsp, segment selectors; everything else zero as Linux leaves it
  Ref<ExecutableFile> executable;           // the ELF that runs (a script's interpreter, not the script)
  bool executable_stack = false;            // PT_GNU_STACK
};

// Bytes that Linux reads to recognise a format.
inline constexpr size_t kBinprmBufSize = 256;
// A single argument or environment string is shorter than this, NUL included (E2BIG).
inline constexpr size_t kMaxArgStringLength = 32 * 4096;

// E2BIG when argv and envp are together more than Linux allows for the caller's stack limit: a quarter of it, at most 6 MiB and at
// least 128 KiB, pointers included. LoadProgram checks it too; callers use it while copying in, to stop early. 
uint64_t ArgumentSpaceLimit(uint64_t stack_limit);

// Errors: ENOEXEC (no known format), E2BIG, ELOOP (scripts nested more than five deep), EINVAL (malformed or overlapping segments, bad
// PT_INTERP), ELIBBAD (bad interpreter), ENOENT/EACCES (interpreter), EIO (short read), ENOMEM (limits), EFAULT.
Result<LoadedImage> LoadProgram(LoadArgs args);

}  // namespace rampart::loader
