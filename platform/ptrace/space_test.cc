// Address spaces: batches of mapping changes, isolation, what keeps files alive, reuse of stub processes.
#include <dirent.h>
#include <signal.h>
#include <sys/syscall.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "platform/ptrace/context.h"
#include "platform/ptrace/test_machine.h"

namespace rampart::platform::ptrace {
namespace {

// mov (%rbx),%rdi; syscall; jmp back: reads the word at rbx.
constexpr Code kReader = CODE("\x48\x8b\x3b\x0f\x05\xeb\xf9");
// mov %rdi,(%rbx); syscall; jmp back
constexpr Code kWriter = CODE("\x48\x89\x3b\x0f\x05\xeb\xf9");

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

TEST(Space, TwoSpacesAreIsolated) {
  Machine a(kReader), b(kReader);
  auto context_a = NewContext();
  a.data(0) = 1;
  b.data(0) = 2;
  SetEntry(context_a->regs(), kCode);
  context_a->regs().rbx = kData;
  RunOn(*context_a, *a.space);
  EXPECT_EQ(context_a->regs().rdi, 1u);
  JoinedThread other([&] {
    auto context_b = NewContext();
    SetEntry(context_b->regs(), kCode);
    context_b->regs().rbx = kData;
    RunOn(*context_b, *b.space);
    EXPECT_EQ(context_b->regs().rdi, 2u);
  });
  other.Join();
  RunOn(*context_a, *a.space);
  EXPECT_EQ(context_a->regs().rdi, 1u);
}

TEST(Space, OneContextRunsSeveralSpaces) {
  Machine a(kReader), b(kReader);
  a.data(0) = 1;
  b.data(0) = 2;
  auto context = NewContext();
  for (int i = 0; i < 10; ++i) {
    Machine& machine = i % 2 == 0 ? a : b;
    SetEntry(context->regs(), kCode);
    context->regs().rbx = kData;
    RunOn(*context, *machine.space);
    EXPECT_EQ(context->regs().rdi, i % 2 == 0 ? 1u : 2u);
    context->Leave(*machine.space);
  }
}

TEST(Space, ProtectionChangesTakeEffect) {
  Machine machine(kWriter);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  context->regs().rdi = 5;
  EXPECT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
  EXPECT_EQ(machine.data(0), 5u);
  machine.space->Protect(kData, kPageSize, Prot::kRead);
  const Exit exit = RunOn(*context, *machine.space);
  EXPECT_EQ(exit.reason, ExitReason::kFault);
  EXPECT_TRUE(exit.page_was_mapped);
  machine.space->Protect(kData, kPageSize, Prot::kReadWrite);
  EXPECT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
  machine.space->Unmap(kData, kPageSize);
  const Exit gone = RunOn(*context, *machine.space);
  EXPECT_EQ(gone.reason, ExitReason::kFault);
  EXPECT_FALSE(gone.page_was_mapped);
}

TEST(Space, ManyChangesInOneBatch) {
  Machine machine(kReader);
  auto file = MakeRef<TestFile>(2000 * kPageSize);
  auto context = NewContext();
  // Every other page, backwards: nothing coalesces; more than one command page.
  for (uint64_t i = 0; i < 1000; ++i) {
    reinterpret_cast<uint64_t*>(file->view() + i * 2 * kPageSize)[0] = i;
    machine.space->Map(0x10000000 + i * 2 * kPageSize, kPageSize, Ref<BackingFile>(file), i * 2 * kPageSize, Prot::kRead, Populate::kNow);
  }
  machine.space->Protect(0x10000000, 2000 * kPageSize, Prot::kReadWrite);
  EXPECT_LT(machine.space->applied(), machine.space->queued() + 1);
  SetEntry(context->regs(), kCode);
  for (const uint64_t i : {uint64_t{0}, uint64_t{499}, uint64_t{999}}) {
    context->regs().rbx = 0x10000000 + i * 2 * kPageSize;
    ASSERT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
    EXPECT_EQ(context->regs().rdi, i);
    EXPECT_EQ(machine.space->applied(), machine.space->queued());
  }
  context->regs().rbx = 0x10000000 + kPageSize;
  EXPECT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kFault);
}

TEST(Space, CommitAppliesWithoutRunning) {
  Machine machine(kReader);
  auto context = NewContext();
  ASSERT_TRUE(context->Commit(*machine.space).ok());
  machine.space->Unmap(kData, kPageSize);
  EXPECT_LT(machine.space->applied(), machine.space->queued());
  ASSERT_TRUE(context->Commit(*machine.space).ok());
  EXPECT_EQ(machine.space->applied(), machine.space->queued());
}

TEST(Space, FilesAreReleasedWhenNoLongerMapped) {
  Machine machine(kReader);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  RunOn(*context, *machine.space);
  const int before = TestFile::live();
  machine.space->Map(0x600000, 4 * kPageSize, Ref<BackingFile>(MakeRef<TestFile>(4 * kPageSize)), 0, Prot::kRead, Populate::kOnFault);
  EXPECT_EQ(TestFile::live(), before + 1);
  RunOn(*context, *machine.space);
  machine.space->Unmap(0x600000, 2 * kPageSize);
  RunOn(*context, *machine.space);
  EXPECT_EQ(TestFile::live(), before + 1);
  machine.space->Map(0x602000, 2 * kPageSize, Ref<BackingFile>(machine.file), 0, Prot::kRead, Populate::kOnFault);
  RunOn(*context, *machine.space);
  EXPECT_EQ(TestFile::live(), before);
}

TEST(Space, ReusedProcessShowsNothingOfTheFormerSpace) {
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

TEST(Space, AThousandSpacesLeaveNoProcess) {
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

TEST(Space, ManyLiveSpacesLeaveNoProcess) {
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

TEST(Space, KilledStubGivesEsrchAndLeavesNothing) {
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

}  // namespace
}  // namespace rampart::platform::ptrace
