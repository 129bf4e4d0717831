#include <csignal>
#include <cstdlib>

#include <ucontext.h>

#include "absl/base/call_once.h"
#include "sentry/mm/safe_copy.h"

// Each routine is one faulting instruction between two labels and a way out. rampart_safe_copy(to, from, n) and rampart_safe_zero(to, n) return
// the bytes NOT moved (rcx); the word routines return 1 on success and 0 on a fault.
// SAFETY: leaf routines of the System V ABI that touch only caller-saved registers; the direction flag is clear by that ABI.
asm(R"(
  .text
  .type rampart_safe_copy, @function
rampart_safe_copy:
  endbr64
  mov %rdx, %rcx
rampart_safe_copy_begin:
  rep movsb
rampart_safe_copy_end:
  mov %rcx, %rax
  ret
  .size rampart_safe_copy, .-rampart_safe_copy

  .type rampart_safe_zero, @function
rampart_safe_zero:
  endbr64
  mov %rsi, %rcx
  xor %eax, %eax
rampart_safe_zero_begin:
  rep stosb
rampart_safe_zero_end:
  mov %rcx, %rax
  ret
  .size rampart_safe_zero, .-rampart_safe_zero

  .type rampart_safe_load32, @function
rampart_safe_load32:
  endbr64
  xor %eax, %eax
rampart_safe_load32_begin:
  mov (%rdi), %ecx
  mov %ecx, (%rsi)
  mov $1, %eax
rampart_safe_load32_end:
  ret
  .size rampart_safe_load32, .-rampart_safe_load32

  .type rampart_safe_cas32, @function
rampart_safe_cas32:
  endbr64
  mov (%rsi), %eax
  xor %r8d, %r8d
rampart_safe_cas32_begin:
  lock cmpxchg %edx, (%rdi)
  mov %eax, (%rsi)
  mov $1, %r8d
rampart_safe_cas32_end:
  mov %r8d, %eax
  ret
  .size rampart_safe_cas32, .-rampart_safe_cas32
)");

extern "C" {
size_t rampart_safe_copy(void* to, const void* from, size_t n);
size_t rampart_safe_zero(void* to, size_t n);
int rampart_safe_load32(const uint32_t* at, uint32_t* out);
int rampart_safe_cas32(uint32_t* at, uint32_t* expected_and_old, uint32_t desired);
extern const char rampart_safe_copy_begin[], rampart_safe_copy_end[];
extern const char rampart_safe_zero_begin[], rampart_safe_zero_end[];
extern const char rampart_safe_load32_begin[], rampart_safe_load32_end[];
extern const char rampart_safe_cas32_begin[], rampart_safe_cas32_end[];
}

namespace rampart::mm {
namespace {

struct Routine {
  const char* begin;
  const char* end;  // also where a fault continues
};
const Routine kRoutines[] = {
    {rampart_safe_copy_begin, rampart_safe_copy_end},
    {rampart_safe_zero_begin, rampart_safe_zero_end},
    {rampart_safe_load32_begin, rampart_safe_load32_end},
    {rampart_safe_cas32_begin, rampart_safe_cas32_end},
};

struct sigaction g_previous_segv;
struct sigaction g_previous_bus;

void OnFault(int signo, siginfo_t* info, void* raw) {
  // SAFETY: the kernel passes a ucontext_t to an SA_SIGINFO handler.
  auto* context = static_cast<ucontext_t*>(raw);
  const auto rip = static_cast<uintptr_t>(context->uc_mcontext.gregs[REG_RIP]);
  for (const Routine& r : kRoutines) {
    if (rip >= reinterpret_cast<uintptr_t>(r.begin) && rip < reinterpret_cast<uintptr_t>(r.end)) {
      context->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(reinterpret_cast<uintptr_t>(r.end));
      return;
    }
  }
  const struct sigaction& previous = signo == SIGBUS ? g_previous_bus : g_previous_segv;
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signo, info, raw);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signo);
  } else {
    // The default again: the same instruction faults a second time and ends the process.
    struct sigaction fallback {};
    fallback.sa_handler = SIG_DFL;
    sigaction(signo, &fallback, nullptr);
  }
}

absl::once_flag g_once;

void Install() {
  struct sigaction action {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGSEGV, &action, &g_previous_segv) != 0 || sigaction(SIGBUS, &action, &g_previous_bus) != 0) std::abort();
}

}  // namespace

void InstallSafeCopy() { absl::call_once(g_once, Install); }

size_t SafeCopy(void* to, const void* from, size_t n) { return n - rampart_safe_copy(to, from, n); }

size_t SafeZero(void* to, size_t n) { return n - rampart_safe_zero(to, n); }

std::optional<uint32_t> SafeLoad32(const uint32_t* at) {
  uint32_t value = 0;
  if (rampart_safe_load32(at, &value) == 0) return std::nullopt;
  return value;
}

std::optional<uint32_t> SafeCompareExchange32(uint32_t* at, uint32_t expected, uint32_t desired) {
  if (rampart_safe_cas32(at, &expected, desired) == 0) return std::nullopt;
  return expected;
}

}  // namespace rampart::mm
