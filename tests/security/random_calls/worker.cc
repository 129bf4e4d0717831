#include "tests/security/random_calls/worker.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "tests/security/random_calls/arguments.h"
#include "tests/security/random_calls/raw_call.h"
#include "tests/security/random_calls/shapes.h"

namespace random_calls {
namespace {

// A thread or process of a worker. Lives on the stack of whoever runs it, and is copied to a child's.
struct Actor {
  Rng rng;
  Arguments* arguments;
  Slot* slot;
  uint64_t left;
  uint32_t generation;
  bool trace;
};

constexpr uint32_t kMaxGeneration = 2;

[[noreturn]] void Act(Actor actor);

void Handler(int) {}

// For the fault handler: who goes on after a fault, and how often yet. Threads share it without order: any of its values will do.
Actor* g_actor = nullptr;
volatile int g_faults_left = 40;

// A fault is no end: a new life begins on top of the old one's stack, with new pools in place of those that were unmapped.
void FaultHandler(int) {
  if (g_faults_left <= 0 || g_actor == nullptr) RawCall(SYS_exit_group, 1);
  g_faults_left = g_faults_left - 1;
  Actor next = *g_actor;
  next.rng = Rng(next.rng.Next());
  next.left = next.left < 300 ? next.left : 300;
  next.arguments->MapPools();
  Act(next);
}

[[noreturn]] void ChildMain(const Actor* parent, uint64_t seed) {
  Actor child = *parent;
  child.rng = Rng(seed);
  child.left = child.rng.Below(80);
  ++child.generation;
  Act(child);
}

// clone(2) of a child that goes on in ChildMain, on its own stack when it shares memory.
void Clone(Actor& actor, uint64_t flags) {
  const uint64_t seed = actor.rng.Next();
  const bool shared = (flags & CLONE_VM) != 0;
  const uint64_t stack = shared ? actor.arguments->StackTop(actor.rng) - 256 : 0;
  const uint64_t parent_tid = actor.arguments->Make(actor.rng, 'b');
  const uint64_t child_tid = actor.arguments->Make(actor.rng, 'b');
  register uint64_t r10 asm("r10") = child_tid;
  register uint64_t r8 asm("r8") = actor.arguments->Make(actor.rng, 'b');
  register const Actor* self asm("r12") = &actor;
  register uint64_t child_seed asm("r13") = seed;
  register void* entry asm("r14") = reinterpret_cast<void*>(&ChildMain);
  int64_t result;
  // SAFETY: the child never returns into this frame: it calls ChildMain, which does not return, on a stack of its own or on its copy.
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "and $-16, %%rsp\n\t"
      "mov %%r12, %%rdi\n\t"
      "mov %%r13, %%rsi\n\t"
      "call *%%r14\n\t"
      "ud2\n"
      "1:"
      : "=a"(result)
      : "a"(SYS_clone), "D"(flags), "S"(stack), "d"(parent_tid), "r"(r10), "r"(r8), "r"(self), "r"(child_seed), "r"(entry)
      : "rcx", "r11", "memory", "cc");
}

// Instructions that a compiler does not emit. Most of them end the worker.
void OddInstruction(Actor& actor) {
  switch (actor.rng.Below(14)) {
    case 0: asm volatile("ud2"); break;
    case 1: asm volatile("int3"); break;
    case 2: asm volatile("int $0x80" : : "a"(20) : "memory"); break;
    case 3: asm volatile("hlt"); break;
    case 4: asm volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; nop" : : : "memory", "cc"); break;    // TF
    case 5: asm volatile("pushfq; orq $0x40000, (%%rsp); popfq" : : : "memory", "cc"); break;            // AC
    case 6: asm volatile("pushfq; orq $0x400, (%%rsp); popfq; syscall; cld" : : "a"(39) : "rcx", "r11", "memory", "cc"); break;  // DF
    case 7: asm volatile("mov %0, %%ds; mov %0, %%es" : : "r"(actor.rng.OneIn(2) ? 0 : 0x2b)); break;
    case 8: asm volatile("mov %0, %%fs" : : "r"(actor.rng.Below(64))); break;
    case 9: asm volatile("sysenter" : : "a"(39) : "memory"); break;
    case 10: {
      const uint64_t page = 0xffffffffff600000 + 0x400 * actor.rng.Below(4);
      asm volatile("call *%0" : : "r"(page), "D"(uint64_t{0}), "S"(uint64_t{0}) : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "memory");
      break;
    }
    case 11: {  // somewhere in the highest user pages, where a platform may have something of its own
      const uint64_t at = 0x7fff'ffff'f000 - actor.rng.Below(1 << 14) * 16;
      asm volatile("call *%0" : : "r"(at) : "memory", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11");
      break;
    }
    case 12: {
      volatile uint64_t* at = reinterpret_cast<volatile uint64_t*>(0x7fff'ffff'f000 - actor.rng.Below(1 << 14) * 16);
      *at = *at + 1;
      break;
    }
    default: asm volatile("xor %%eax, %%eax; mov %%rax, %%rsp; push %%rax" : : : "rax", "memory"); break;  // no stack
  }
}

void Trace(const Actor& actor, int64_t number, const uint64_t (&args)[6]) {
  if (!actor.trace) return;
  char line[256];
  const int n = std::snprintf(line, sizeof(line), "%d: %ld(%#lx, %#lx, %#lx, %#lx, %#lx, %#lx)\n", static_cast<int>(RawCall(SYS_gettid)), number, args[0],
                              args[1], args[2], args[3], args[4], args[5]);
  RawCall(SYS_write, 2, reinterpret_cast<uint64_t>(line), static_cast<uint64_t>(n));
}

// These end or stop the worker itself: seldom, so that the rest is reached.
bool TooEarly(Actor& actor, int64_t number) {
  switch (number) {
    case SYS_exit:
    case SYS_exit_group:
    case SYS_rt_sigreturn:
    case SYS_pause:
    case SYS_rt_sigsuspend: return !actor.rng.OneIn(20);
    case SYS_munmap:
    case SYS_mprotect:
    case SYS_mremap:
    case SYS_execve:
    case SYS_execveat:
    case SYS_arch_prctl:
    case 436:  // close_range
    case SYS_setrlimit:
    case SYS_prlimit64: return !actor.rng.OneIn(4);
    case SYS_reboot:
    case SYS_kill: return !actor.rng.OneIn(3);
    default: return false;
  }
}

// The one thing that is left out: the supervisor is an ordinary program, and to kill or stop it says nothing about the kernel.
bool EndsTheRun(int64_t number, const uint64_t (&args)[6]) {
  const auto deadly = [](uint64_t signal) { return static_cast<int32_t>(signal) == SIGKILL || static_cast<int32_t>(signal) == SIGSTOP; };
  const auto is_init = [](uint64_t pid) { return static_cast<int32_t>(pid) == 1; };
  switch (number) {
    case SYS_kill:
    case SYS_tkill:
    case SYS_rt_sigqueueinfo: return is_init(args[0]) && deadly(args[1]);
    case SYS_tgkill:
    case SYS_rt_tgsigqueueinfo: return is_init(args[1]) && deadly(args[2]);
    case SYS_prlimit64: return is_init(args[0]);
    default: return false;
  }
}

void OneCall(Actor& actor) {
  const auto shapes = Shapes();
  if (actor.rng.OneIn(400)) return OddInstruction(actor);
  const Shape& shape = shapes[actor.rng.Below(shapes.size())];
  int64_t number = shape.number;
  const char* letters = shape.arguments;
  if (actor.rng.OneIn(50)) {  // a number that may not exist
    number = static_cast<int64_t>(actor.rng.OneIn(2) ? actor.rng.Below(600) : actor.rng.OneIn(2) ? actor.rng.Next() : 0x4000'0000 + actor.rng.Below(550));
    letters = "";
  }
  if (TooEarly(actor, number)) return;
  const bool fresh = number == SYS_fork || number == SYS_vfork || number == SYS_clone || number == 435;
  if (fresh) {
    if (actor.generation >= kMaxGeneration) return;
    const uint64_t flags = number == SYS_fork ? SIGCHLD : number == SYS_vfork ? CLONE_VM | CLONE_VFORK | SIGCHLD : actor.arguments->Make(actor.rng, 'C');
    if (number != 435) return Clone(actor, flags);
  }
  uint64_t args[6];
  size_t i = 0;
  for (; i < 6 && letters[i] != 0; ++i) args[i] = actor.arguments->Make(actor.rng, letters[i]);
  for (; i < 6; ++i) args[i] = actor.arguments->Anything(actor.rng);
  if (EndsTheRun(number, args)) return;
  Trace(actor, number, args);
  RawCall(number, args);
}

void Act(Actor actor) {
  if (actor.generation == 0) g_actor = &actor;
  for (; actor.left > 0; --actor.left) {
    OneCall(actor);
    actor.slot->calls = actor.slot->calls + 1;
  }
  for (;;) RawCall(actor.generation == 0 ? SYS_exit_group : SYS_exit, 0);
}

void HandleSignals() {
  struct sigaction action {};
  action.sa_handler = Handler;
  for (const int signal : {SIGALRM, SIGUSR1, SIGUSR2, SIGPIPE, SIGHUP, SIGIO, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG}) {
    ::sigaction(signal, &action, nullptr);
  }
  action.sa_handler = FaultHandler;
  action.sa_flags = SA_NODEFER;
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS}) ::sigaction(signal, &action, nullptr);
  action.sa_handler = Handler;
  action.sa_flags = 0;
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) ::sigaction(signal, &action, nullptr);
}

// Something of each kind among the low descriptors.
void OpenDescriptors(Rng& rng) {
  constexpr mode_t kMode = 0600;
  int ends[2];
  (void)!::pipe2(ends, O_NONBLOCK);
  (void)!::pipe2(ends, 0);
  ::open("/tmp/a", O_RDWR | O_CREAT, kMode);
  ::open("/tmp/b", O_RDWR | O_CREAT | O_APPEND, kMode);
  ::open("/etc/passwd", O_RDONLY);
  ::open("/tmp", O_RDONLY | O_DIRECTORY);
  ::open("/proc/self", O_PATH);
  ::socketpair(AF_UNIX, rng.OneIn(2) ? SOCK_STREAM : SOCK_SEQPACKET, 0, ends);
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  ::listen(listener, 2);
  ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  ::socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  const int epoll = ::epoll_create1(0);
  epoll_event event{EPOLLIN, {}};
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event);
  ::syscall(SYS_eventfd2, 1, O_NONBLOCK);
  ::syscall(SYS_timerfd_create, 1, O_NONBLOCK);
  ::syscall(SYS_inotify_init1, O_NONBLOCK);
  ::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
  const int memory = ::memfd_create("m", MFD_ALLOW_SEALING);
  (void)!::ftruncate(memory, 10000);
}

}  // namespace

void RunWorker(const WorkerOptions& options) {
  static Arguments arguments;
  Rng rng(options.seed);
  HandleSignals();
  if (!options.keep_streams) {
    const int null = ::open("/dev/null", O_RDWR);
    for (int fd = 0; fd <= (options.trace ? 1 : 2); ++fd) ::dup2(null, fd);
    ::close(null);
  }
  ::mkdir("/tmp/dir", 0755);
  ::symlink("/tmp/a", "/tmp/link");
  ::symlink("/tmp/loop", "/tmp/loop");
  ::mkfifo("/tmp/fifo", 0600);
  OpenDescriptors(rng);
  arguments.MapPools();
  arguments.SetPeers(options.board->pids, kMaxWorkers);
  if (rng.OneIn(2)) ::chdir("/tmp");
  if (!rng.OneIn(8)) {
    const rlimit small{4 << 20, 4 << 20};  // else the memory is soon full of files
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  if (rng.OneIn(4)) ::setsid();
  if (rng.OneIn(2)) (void)!::setuid(1000);
  Act({rng, &arguments, &options.board->slots[options.slot], options.calls, 0, options.trace});
}

}  // namespace random_calls
