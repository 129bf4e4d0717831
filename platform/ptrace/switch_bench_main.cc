// What a switch and a mapping change cost here: run by hand, `bin/platform_ptrace_bench`. README.md tells what was measured and why.
#include <benchmark/benchmark.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "platform/conformance/test_machine.h"
#include "platform/ptrace/ptrace_platform.h"

namespace rampart::platform::conformance {

const PlatformInfo& ThePlatformInfo() { return ptrace::kPtracePlatform; }

namespace {

// syscall; jmp back
constexpr Code kLoop = CODE("\x0f\x05\xeb\xfc");
// A program that works between its calls: mov $N,%ecx; 1: dec %ecx; jnz 1b; syscall; jmp start
constexpr Code kWork = CODE("\xb9\x20\x4e\x00\x00\xff\xc9\x75\xfc\x0f\x05\xeb\xf3");

void Require(bool ok, benchmark::State& state) {
  if (!ok) state.SkipWithError("Switch failed");
}

void BM_NativeGetppid(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(syscall(SYS_getppid));
}
BENCHMARK(BM_NativeGetppid);

void BM_Getpid(benchmark::State& state) {
  Machine machine(kLoop);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  for (auto _ : state) {
    Require(context->Switch(*machine.space, Step::kRun).ok(), state);
    context->regs().rax = 1;
  }
}
BENCHMARK(BM_Getpid)->UseRealTime();

// N independent single-threaded programs at once; time is per call of each.
void BM_Programs(benchmark::State& state) {
  const auto count = static_cast<size_t>(state.range(0));
  const Code code = state.range(1) != 0 ? kWork : kLoop;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> calls{0};
  std::vector<std::thread> threads;
  for (size_t i = 0; i < count; ++i) {
    threads.emplace_back([&] {
      Machine machine(code);
      auto context = NewContext();
      SetEntry(context->regs(), kCode);
      while (!stop.load(std::memory_order_relaxed)) {
        if (!context->Switch(*machine.space, Step::kRun).ok()) break;
        calls.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  for (auto _ : state) std::this_thread::sleep_for(std::chrono::seconds(2));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  state.counters["calls/s"] = static_cast<double>(calls.load()) / 2;
}
BENCHMARK(BM_Programs)->ArgsProduct({{1, 2, 3, 4}, {0, 1}})->Iterations(1)->UseRealTime()->Unit(benchmark::kMillisecond);

// Two programs that wake each other by turns, as two ends of a pipe do; time is per turn.
void BM_PingPong(benchmark::State& state) {
  std::atomic<uint32_t> turn{0};
  std::atomic<bool> stop{false};
  const auto play = [&](uint32_t mine, benchmark::State* timed) {
    Machine machine(kLoop);
    auto context = NewContext();
    SetEntry(context->regs(), kCode);
    const auto once = [&] {
      for (uint32_t now = turn.load(); now % 2 != mine && !stop.load(); now = turn.load()) turn.wait(now);
      (void)context->Switch(*machine.space, Step::kRun);
      turn.fetch_add(1);
      turn.notify_one();
    };
    if (timed != nullptr) {
      for (auto _ : *timed) once();
    } else {
      while (!stop.load()) once();
    }
  };
  std::thread other([&] { play(1, nullptr); });
  play(0, &state);
  stop = true;
  turn.fetch_add(1);
  turn.notify_all();
  other.join();
}
BENCHMARK(BM_PingPong)->UseRealTime();

// Maps a batch of separate pages, then runs one call.
void BM_MapBatch(benchmark::State& state) {
  const auto pages = static_cast<uint64_t>(state.range(0));
  Machine machine(kLoop);
  auto file = MakeRef<TestFile>(4096 * kPageSize);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  uint64_t round = 0;
  for (auto _ : state) {
    ++round;
    for (uint64_t i = 0; i < pages; ++i) {
      machine.space->Map(0x10000000 + 2 * i * kPageSize, kPageSize, Ref<BackingFile>(file), ((i * 2 + round) % 4096) * kPageSize, Prot::kReadWrite,
                         Populate::kOnFault);
    }
    Require(context->Switch(*machine.space, Step::kRun).ok(), state);
  }
}
BENCHMARK(BM_MapBatch)->Arg(0)->Arg(1)->Arg(8)->Arg(64)->Arg(512)->UseRealTime();

// A space for one call, with the stub of the one before: what fork or exec costs here.
void BM_NewSpace(benchmark::State& state) {
  auto file = MakeRef<TestFile>(16 * kPageSize);
  std::memcpy(file->view(), kLoop.data(), kLoop.size());
  auto context = NewContext();
  for (auto _ : state) {
    Ref<AddressSpace> space = ThePlatform().NewAddressSpace().value();
    space->Map(kCode, kPageSize, Ref<BackingFile>(file), 0, Prot::kReadExec, Populate::kNow);
    SetEntry(context->regs(), kCode);
    Require(context->Switch(*space, Step::kRun).ok(), state);
    context->Leave(*space);
  }
}
BENCHMARK(BM_NewSpace)->UseRealTime();

// The same with a host process made for it.
void BM_NewSpaceAndProcess(benchmark::State& state) {
  auto file = MakeRef<TestFile>(16 * kPageSize);
  std::memcpy(file->view(), kLoop.data(), kLoop.size());
  for (auto _ : state) {
    auto context = NewContext();
    Ref<AddressSpace> space = ThePlatform().NewAddressSpace().value();
    space->Map(kCode, kPageSize, Ref<BackingFile>(file), 0, Prot::kReadExec, Populate::kNow);
    SetEntry(context->regs(), kCode);
    Require(context->Switch(*space, Step::kRun).ok(), state);
  }
}
BENCHMARK(BM_NewSpaceAndProcess)->UseRealTime();

void BM_Interrupt(benchmark::State& state) {
  Machine machine(kLoop);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  for (auto _ : state) {
    context->Interrupt();
    Require(context->Switch(*machine.space, Step::kRun).ok(), state);
  }
}
BENCHMARK(BM_Interrupt)->UseRealTime();

}  // namespace
}  // namespace rampart::platform::conformance

int main(int argc, char** argv) {
  rampart::platform::ptrace::ThePlatform();  // on the thread that lives longest
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
