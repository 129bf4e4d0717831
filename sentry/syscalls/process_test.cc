// Whole programs through loader, run loop, system-call table and a platform: what processes, threads and signals do together.
// Programs are machine code in a one-segment ELF on a tmpfs; they tell their result by their exit status.
#include "sentry/syscalls/process.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "platform/registry/registry.h"
#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/dispatch.h"
#include "sentry/vfs/operations.h"

// The programs. Each begins at its label; r15 is free for results.
asm(R"(
.pushsection .rodata
program_exit:
  mov $42, %edi
  mov $231, %eax
  syscall
program_exit_end:

program_fork:              # the child exits with 7; the parent with the child's code plus 100
  sub $64, %rsp
  mov $57, %eax
  syscall
  test %rax, %rax
  jz 1f
  mov %rax, %r12
  mov $-1, %rdi
  mov %rsp, %rsi
  xor %edx, %edx
  xor %r10d, %r10d
  mov $61, %eax
  syscall
  cmp %rax, %r12
  jne 2f
  movzbl 1(%rsp), %edi
  add $100, %edi
  mov $231, %eax
  syscall
2: mov $1, %edi
  mov $231, %eax
  syscall
1: mov $7, %edi
  mov $231, %eax
  syscall
program_fork_end:

program_signal:            # a handler counts two deliveries in memory; registers and xmm0 survive
  sub $256, %rsp
  movq $0, 200(%rsp)
  lea 200(%rsp), %rbx
  lea 1f(%rip), %rax
  mov %rax, (%rsp)         # handler
  movq $0x04000004, 8(%rsp)  # SA_RESTORER | SA_SIGINFO
  lea 2f(%rip), %rax
  mov %rax, 16(%rsp)
  movq $0, 24(%rsp)
  mov $10, %edi
  mov %rsp, %rsi
  xor %edx, %edx
  mov $8, %r10d
  mov $13, %eax
  syscall
  mov $0x1234567, %r13
  movq %r13, %xmm0
  mov $39, %eax
  syscall
  mov %rax, %r12
  mov %r12, %rdi
  mov $10, %esi
  mov $62, %eax
  syscall
  mov %r12, %rdi
  mov %r12, %rsi
  mov $10, %edx
  mov $234, %eax
  syscall
  movq %xmm0, %rcx
  mov $1, %edi
  cmp %rcx, %r13
  jne 3f
  mov (%rbx), %rdi         # 2 deliveries of signal 10
3: mov $231, %eax
  syscall
1: add %rdi, (%rbx)
  movq $0, %rcx
  movq %rcx, %xmm0
  xor %r13d, %r13d
  ret
2: mov $15, %eax
  syscall
program_signal_end:

program_thread:            # a thread adds 5 to a word and ends; the main thread waits on its tid word
  sub $8192, %rsp
  mov %rsp, %rbx
  movq $0, (%rbx)
  movl $-1, 8(%rbx)
  mov $0x1310f00, %edi     # VM FS FILES SIGHAND THREAD PARENT_SETTID CHILD_CLEARTID CHILD_SETTID
  lea 4096(%rbx), %rsi
  lea 8(%rbx), %rdx
  lea 8(%rbx), %r10
  xor %r8d, %r8d
  mov $56, %eax
  syscall
  test %rax, %rax
  jz 1f
  js 4f
2: mov 8(%rbx), %edx
  test %edx, %edx
  jz 3f
  lea 8(%rbx), %rdi
  xor %esi, %esi
  xor %r10d, %r10d
  mov $202, %eax
  syscall
  jmp 2b
3: mov (%rbx), %rdi
  mov $231, %eax
  syscall
4: mov $99, %edi
  mov $231, %eax
  syscall
1: addq $5, (%rbx)
  xor %edi, %edi
  mov $60, %eax
  syscall
program_thread_end:

program_exec:              # vfork; the child executes /exit; the parent passes its code on, plus 1
  sub $64, %rsp
  mov $58, %eax
  syscall
  test %rax, %rax
  jz 1f
  mov $-1, %rdi
  mov %rsp, %rsi
  xor %edx, %edx
  xor %r10d, %r10d
  mov $61, %eax
  syscall
  movzbl 1(%rsp), %edi
  add $1, %edi
  mov $231, %eax
  syscall
1: lea 2f(%rip), %rdi
  xor %esi, %esi
  xor %edx, %edx
  mov $59, %eax
  syscall
  mov $90, %edi
  mov $231, %eax
  syscall
2: .asciz "/exit"
program_exec_end:

program_fault:             # a wild read: SIGSEGV
  movq 16, %rax
program_fault_end:

program_pause:             # a child pauses; the parent kills it with SIGTERM and exits with the signal's number
  sub $64, %rsp
  mov $57, %eax
  syscall
  test %rax, %rax
  jz 1f
  mov %rax, %rdi
  mov $15, %esi
  mov $62, %eax
  syscall
  mov $-1, %rdi
  mov %rsp, %rsi
  xor %edx, %edx
  xor %r10d, %r10d
  mov $61, %eax
  syscall
  movzbl (%rsp), %edi
  mov $231, %eax
  syscall
1: mov $34, %eax
  syscall
  jmp 1b
program_pause_end:

program_stop:              # stop a child, see it, continue it, see that, kill it: 1+2+4
  sub $64, %rsp
  xor %r14d, %r14d
  mov $57, %eax
  syscall
  test %rax, %rax
  jz 9f
  mov %rax, %r12
  mov %r12, %rdi
  mov $19, %esi
  mov $62, %eax
  syscall
  mov %r12, %rdi
  mov %rsp, %rsi
  mov $2, %edx
  xor %r10d, %r10d
  mov $61, %eax
  syscall
  cmpl $0x137f, (%rsp)
  jne 8f
  or $1, %r14d
  mov %r12, %rdi
  mov $18, %esi
  mov $62, %eax
  syscall
  mov %r12, %rdi
  mov %rsp, %rsi
  mov $8, %edx
  xor %r10d, %r10d
  mov $61, %eax
  syscall
  cmpl $0xffff, (%rsp)
  jne 8f
  or $2, %r14d
  mov %r12, %rdi
  mov $9, %esi
  mov $62, %eax
  syscall
  mov %r12, %rdi
  mov %rsp, %rsi
  xor %edx, %edx
  xor %r10d, %r10d
  mov $61, %eax
  syscall
  cmpl $9, (%rsp)
  jne 8f
  or $4, %r14d
8: mov %r14d, %edi
  mov $231, %eax
  syscall
9: jmp 9b
program_stop_end:

program_tstp:              # a job of PID 1 stops at SIGTSTP, as a shell's does; exits with the signal's number
  sub $64, %rsp
  mov $57, %eax
  syscall
  test %rax, %rax
  jz 1f
  mov %rax, %r12
  mov %r12, %rdi
  mov %rsp, %rsi
  mov $2, %edx
  xor %r10d, %r10d
  mov $61, %eax
  syscall
  movzbl 1(%rsp), %edi
  mov $231, %eax
  syscall
1: xor %edi, %edi
  xor %esi, %esi
  mov $109, %eax
  syscall
  mov $39, %eax
  syscall
  mov %rax, %rdi
  mov $20, %esi
  mov $62, %eax
  syscall
  mov $231, %eax
  syscall
program_tstp_end:

program_badframe:          # rt_sigreturn on garbage: SIGSEGV
  mov $64, %rsp
  mov $15, %eax
  syscall
  hlt
program_badframe_end:
.popsection
)");
#define PROGRAM(name)                                \
  extern "C" const char program_##name[] __asm__("program_" #name); \
  extern "C" const char program_##name##_end[] __asm__("program_" #name "_end")
PROGRAM(exit);
PROGRAM(fork);
PROGRAM(signal);
PROGRAM(thread);
PROGRAM(exec);
PROGRAM(fault);
PROGRAM(pause);
PROGRAM(stop);
PROGRAM(tstp);
PROGRAM(badframe);

namespace rampart::syscalls {
namespace {

std::string Elf(const char* begin, const char* end) {
  constexpr uint64_t kBase = 0x400000;
  constexpr size_t kHeaders = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr);
  const size_t size = kHeaders + static_cast<size_t>(end - begin);
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_entry = kBase + kHeaders;
  header.e_phoff = sizeof(Elf64_Ehdr);
  header.e_ehsize = sizeof(Elf64_Ehdr);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_LOAD;
  segment.p_flags = PF_R | PF_X;
  segment.p_vaddr = segment.p_paddr = kBase;
  segment.p_filesz = segment.p_memsz = size;
  segment.p_align = 4096;
  std::string file(reinterpret_cast<const char*>(&header), sizeof(header));
  file.append(reinterpret_cast<const char*>(&segment), sizeof(segment));
  file.append(begin, end);
  return file;
}

class Sandbox {
 public:
  Sandbox()
      : memory_(mm::MemoryFile::Create(UniqueFd(memfd_create("test", MFD_CLOEXEC)), 0).value()),
        fs_(fs::NewTmpfs(memory_, {})),
        root_(fs_->root()),
        mounts_(vfs::MountNamespace::Create(fs_, {}, "none")) {}

  void AddFile(std::string_view path, const std::string& bytes) {
    KernelCaller caller;
    const vfs::Walk walk{caller, *mounts_, mounts_->root(), mounts_->root()};
    const Ref<vfs::FileDescription> file = vfs::Open(walk, path, abi::kOCreat | abi::kORdWr, 0755).value();
    mm::BufferSrc src(std::as_bytes(std::span(bytes)));
    ASSERT_EQ(file->Write(caller, src, 0).value(), bytes.size());
  }

  // The wait status.
  int Run(const std::string& path) {
    kernel::KernelConfig config{.memory_file = memory_,
                                .platform = platform::FindPlatform("auto")->create().value(),
                                .vdso = loader::Vdso::Create(memory_, true).value(),
                                .hooks = {.dispatch = &Dispatch},
                                .limits = {}};
    const std::unique_ptr<kernel::Kernel> kernel = kernel::Kernel::Create(std::move(config)).value();
    kernel::InitArgs args{.executable = path,
                          .argv = {path},
                          .envp = {},
                          .fs = MakeRef<vfs::FsContext>(mounts_, mounts_->root(), mounts_->root(), 022u),
                          .fds = MakeRef<vfs::FdTable>(),
                          .creds = auth::Credentials::Root()};
    args.limits[static_cast<size_t>(abi::Resource::kCore)].cur = 0;  // no core dumps: the statuses below have no flag for them
    const Result<Ref<kernel::ThreadGroup>> init = kernel->StartInit(std::move(args));
    if (!init.ok()) {
      ADD_FAILURE() << ErrnoName(init.error());
      return -1;
    }
    return kernel->WaitForInit();
  }

 private:
  Ref<mm::MemoryFile> memory_;
  Ref<vfs::Filesystem> fs_;
  Ref<vfs::Inode> root_;
  Ref<vfs::MountNamespace> mounts_;
};

int RunProgram(const char* begin, const char* end) {
  Sandbox sandbox;
  sandbox.AddFile("/exit", Elf(program_exit, program_exit_end));
  sandbox.AddFile("/program", Elf(begin, end));
  return sandbox.Run("/program");
}

TEST(Process, ExitGroupGivesItsCode) { EXPECT_EQ(RunProgram(program_exit, program_exit_end), abi::ExitedStatus(42)); }
TEST(Process, ForkAndWait) { EXPECT_EQ(RunProgram(program_fork, program_fork_end), abi::ExitedStatus(107)); }
TEST(Process, HandlerRunsAndRegistersSurvive) { EXPECT_EQ(RunProgram(program_signal, program_signal_end), abi::ExitedStatus(20)); }
TEST(Process, ThreadSharesMemoryAndClearsItsTid) { EXPECT_EQ(RunProgram(program_thread, program_thread_end), abi::ExitedStatus(5)); }
TEST(Process, VforkAndExec) { EXPECT_EQ(RunProgram(program_exec, program_exec_end), abi::ExitedStatus(43)); }
TEST(Process, WildReadIsSegv) { EXPECT_EQ(RunProgram(program_fault, program_fault_end), abi::KilledStatus(abi::kSigSegv, false)); }
TEST(Process, SignalEndsPause) { EXPECT_EQ(RunProgram(program_pause, program_pause_end), abi::ExitedStatus(abi::kSigTerm)); }
TEST(Process, JobsOfPidOneAreNotOrphaned) { EXPECT_EQ(RunProgram(program_tstp, program_tstp_end), abi::ExitedStatus(abi::kSigTstp)); }
TEST(Process, BadSignalFrameIsSegv) {
  EXPECT_EQ(RunProgram(program_badframe, program_badframe_end), abi::KilledStatus(abi::kSigSegv, false));
}
TEST(Process, StopContinueKill) { EXPECT_EQ(RunProgram(program_stop, program_stop_end), abi::ExitedStatus(7)); }

}  // namespace
}  // namespace rampart::syscalls
