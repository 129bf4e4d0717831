// What only this platform can show: its stub processes and what the host may do to them.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <list>
#include <string>
#include <thread>
#include <vector>

#include "platform/conformance/test_machine.h"
#include "platform/ptrace/context.h"
#include "platform/ptrace/ptrace_platform.h"

namespace rampart::platform::conformance {

const PlatformInfo& ThePlatformInfo() { return ptrace::kPtracePlatform; }

}  // namespace rampart::platform::conformance

namespace rampart::platform::ptrace {
namespace {

using conformance::Code;
using conformance::JoinedThread;
using conformance::kCode;
using conformance::kData;
using conformance::kStackSize;
using conformance::kStackTop;
using conformance::Machine;
using conformance::NewContext;
using conformance::RunOn;
using conformance::SetEntry;
using conformance::TestFile;
using conformance::ThePlatform;

// mov (%rbx),%rdi; syscall; jmp back: reads the word at rbx.
constexpr Code kReader = CODE("\x48\x8b\x3b\x0f\x05\xeb\xf9");
constexpr Code kSpin = CODE("\xeb\xfe");
// lock incq (%rbx); syscall; jmp back
constexpr Code kCount = CODE("\xf0\x48\xff\x03\x0f\x05\xeb\xf8");

PtraceContext::HostIds StubOf(const std::unique_ptr<Context>& context) { return static_cast<PtraceContext&>(*context).host_ids(); }

// Processes whose parent is this one, whatever their state.
int Children() {
  int count = 0;
  DIR* proc = opendir("/proc");
  while (const dirent* entry = readdir(proc)) {
    std::FILE* stat = std::fopen((std::string("/proc/") + entry->d_name + "/stat").c_str(), "re");
    if (stat == nullptr) continue;
    int pid = 0, parent = 0;
    if (std::fscanf(stat, "%d (%*[^)]) %*c %d", &pid, &parent) == 2 && parent == getpid()) ++count;
    (void)std::fclose(stat);
  }
  closedir(proc);
  return count;
}

TEST(StubSpace, ReusedProcessShowsNothingOfTheFormerSpace) {
  auto context = NewContext();
  {
    Machine first(kReader);
    SetEntry(context->regs(), kCode);
    context->regs().rbx = kData;
    RunOn(*context, *first.space);
    context->Leave(*first.space);
  }
  const uint64_t helpers = ThePlatform().stats().helper_processes;
  Machine second(kReader);
  second.space->Unmap(kData, kPageSize);
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  EXPECT_EQ(RunOn(*context, *second.space).reason, ExitReason::kFault);
  EXPECT_EQ(ThePlatform().stats().helper_processes, helpers);  // the same process
}

TEST(StubSpace, AThousandSpacesLeaveNoProcess) {
  ThePlatform();
  const int before = Children();
  JoinedThread thread([] {
    auto context = NewContext();
    for (int i = 0; i < 1000; ++i) {
      Machine machine(kReader);
      SetEntry(context->regs(), kCode);
      context->regs().rbx = kData;
      ASSERT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
      context->Leave(*machine.space);
    }
  });
  thread.Join();
  EXPECT_EQ(Children(), before);
}

TEST(StubSpace, ManyLiveSpacesLeaveNoProcess) {
  ThePlatform();
  const int before = Children();
  JoinedThread thread([] {
    auto context = NewContext();
    std::vector<std::unique_ptr<Machine>> machines;
    for (int i = 0; i < 50; ++i) {
      machines.push_back(std::make_unique<Machine>(kReader));
      SetEntry(context->regs(), kCode);
      context->regs().rbx = kData;
      ASSERT_EQ(RunOn(*context, *machines.back()->space).reason, ExitReason::kSyscall);
      context->Leave(*machines.back()->space);
    }
    // The Context came and went; each space must still be able to run.
    for (auto& machine : machines) {
      SetEntry(context->regs(), kCode);
      context->regs().rbx = kData;
      ASSERT_EQ(RunOn(*context, *machine->space).reason, ExitReason::kSyscall);
    }
  });
  thread.Join();
  EXPECT_EQ(Children(), before);
}

TEST(StubSpace, KilledStubGivesEsrchAndLeavesNothing) {
  ThePlatform();
  const int before = Children();
  JoinedThread thread([&] {
    Machine machine(CODE("\x0f\x05\xeb\xfe"));  // syscall; loop
    auto context = NewContext();
    SetEntry(context->regs(), kCode);
    RunOn(*context, *machine.space);
    JoinedThread killer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      kill(static_cast<PtraceContext&>(*context).host_ids().process, SIGKILL);
    });
    EXPECT_EQ(context->Switch(*machine.space, Step::kRun).error(), Errno::kESRCH);
    killer.Join();
    EXPECT_EQ(context->Switch(*machine.space, Step::kRun).error(), Errno::kESRCH);
    EXPECT_EQ(context->Commit(*machine.space).ok(), true);  // nothing to do
    context->Leave(*machine.space);
    Machine next(kReader);
    SetEntry(context->regs(), kCode);
    context->regs().rbx = kData;
    EXPECT_EQ(RunOn(*context, *next.space).reason, ExitReason::kSyscall);
  });
  thread.Join();
  EXPECT_EQ(Children(), before);
}

TEST(StubThreads, WithoutPreparationAThreadIsRefused) {
  Machine machine(kCount);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  RunOn(*context, *machine.space);
  JoinedThread thread([&] {
    auto own = NewContext();
    SetEntry(own->regs(), kCode);
    EXPECT_EQ(own->Switch(*machine.space, Step::kRun).error(), Errno::kEAGAIN);
  });
}

TEST(StubInterrupt, ForeignSignalsAreSwallowed) {
  Machine machine(kCount);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  RunOn(*context, *machine.space);
  const PtraceContext::HostIds stub = StubOf(context);
  std::atomic<bool> stop{false};
  JoinedThread other(
      [&] {
        while (!stop.load()) {
          for (const int signal : {SIGTERM, SIGSEGV, SIGTRAP, SIGSTOP, SIGCHLD, SIGURG}) syscall(SYS_tgkill, stub.process, stub.thread, signal);
        }
      },
      [&] { stop = true; });
  for (int i = 0; i < 1000; ++i) {
    const Result<Exit> exit = context->Switch(*machine.space, Step::kRun);
    ASSERT_TRUE(exit.ok());
    ASSERT_EQ(exit->reason, ExitReason::kSyscall);
    if (i % 10 == 0) machine.space->Protect(kStackTop - kStackSize, kPageSize, i % 20 == 0 ? Prot::kRead : Prot::kReadWrite);
  }
  other.Join();
  EXPECT_EQ(machine.data(0), 1001u);
}

TEST(StubInterrupt, ForeignTrapsDoNotHideTheEndOfABatch) {
  Machine machine(kCount);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  RunOn(*context, *machine.space);
  const PtraceContext::HostIds stub = StubOf(context);
  std::atomic<bool> stop{false};
  JoinedThread other(
      [&] {
        while (!stop.load()) syscall(SYS_tgkill, stub.process, stub.thread, SIGTRAP);
      },
      [&] { stop = true; });
  for (int i = 0; i < 500; ++i) {
    machine.space->Protect(kStackTop - kStackSize, kPageSize, i % 2 == 0 ? Prot::kRead : Prot::kReadWrite);
    const Result<Exit> exit = context->Switch(*machine.space, Step::kRun);
    ASSERT_TRUE(exit.ok());
    ASSERT_EQ(exit->reason, ExitReason::kSyscall);
  }
  other.Join();
  EXPECT_EQ(machine.data(0), 501u);
}

TEST(StubThreads, KilledStubEndsAllItsThreadsAndLeavesNothing) {
  ThePlatform();
  PtraceContext::HostIds stub{};
  JoinedThread main([&] {
    Machine machine(kSpin);
    auto idle = NewContext();  // has a thread in the process, but does not run when the signal comes
    SetEntry(idle->regs(), kCode);
    idle->Interrupt();
    ASSERT_TRUE(idle->Commit(*machine.space).ok());
    stub = StubOf(idle);
    std::list<JoinedThread> threads;
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(idle->PrepareSibling(*machine.space).ok());
      threads.emplace_back([&] {
        auto context = NewContext();
        SetEntry(context->regs(), kCode);
        EXPECT_EQ(context->Switch(*machine.space, Step::kRun).error(), Errno::kESRCH);
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    kill(stub.process, SIGKILL);
    for (JoinedThread& thread : threads) thread.Join();  // none waits for the idle one
    Result<Exit> exit = idle->Switch(*machine.space, Step::kRun);
    if (exit.ok()) exit = idle->Switch(*machine.space, Step::kRun);  // the interrupt from above
    EXPECT_EQ(exit.error(), Errno::kESRCH);
  });
  main.Join();
  EXPECT_EQ(kill(stub.process, 0), -1);  // not even a zombie
}

TEST(StubThreads, IdleStubKilledFromOutsideIsReplaced) {
  auto context = NewContext();
  pid_t stub = 0;
  {
    Machine machine(kCount);
    SetEntry(context->regs(), kCode);
    context->regs().rbx = kData;
    RunOn(*context, *machine.space);
    stub = StubOf(context).process;
    context->Leave(*machine.space);
  }
  kill(stub, SIGKILL);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  Machine machine(kCount);
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  EXPECT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
  EXPECT_NE(StubOf(context).process, stub);
}

TEST(StubSwitch, ErrorOfTheHostIsReturnedAndSticks) {
  Machine machine(CODE("\x0f\x05\x0f\x05"));
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  RunOn(*context, *machine.space);
  auto file = MakeRef<TestFile>(kPageSize);
  const UniqueFd read_only(open(("/proc/self/fd/" + std::to_string(file->fd())).c_str(), O_RDONLY | O_CLOEXEC));
  class ReadOnly final : public BackingFile {
   public:
    explicit ReadOnly(int fd) : fd_(fd) {}
    int fd() const override { return fd_; }
    Result<std::span<std::byte>> Window(uint64_t, uint64_t, bool) override { return Errno::kEINVAL; }
    bool stable() const override { return false; }

   private:
    int fd_;
  };
  machine.space->Map(0x700000, kPageSize, Ref<BackingFile>(MakeRef<ReadOnly>(read_only.get())), 0, Prot::kReadWrite, Populate::kOnFault);
  EXPECT_EQ(context->Switch(*machine.space, Step::kRun).error(), Errno::kEACCES);
  EXPECT_EQ(context->Commit(*machine.space).error(), Errno::kEACCES);
}

}  // namespace
}  // namespace rampart::platform::ptrace
