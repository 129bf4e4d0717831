#include "sentry/boot/start_hooks.h"

#include <algorithm>
#include <span>
#include <thread>

#include "sentry/context/caller.h"
#include "sentry/fs/host/host_file.h"
#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/mm/io.h"
#include "sentry/wait/wait.h"

namespace rampart::sentry::boot {
namespace {

constexpr size_t kMostText = 400;  // of what a hook says

// Standard input with `state` to be read; output and errors together in *output.
Result<Ref<vfs::FdTable>> MakeStreams(kernel::Kernel& kernel, const std::string& state, RefPtr<vfs::FileDescription>& output) {
  KernelCaller caller;
  const Ref<vfs::FileDescription> input = TRY(fs::NewMemfd(caller, kernel.memory_file(), "container-state", 0));
  mm::BufferSrc source(std::as_bytes(std::span(state)));
  TRY(input->PWrite(caller, source, 0, 0, nullptr));
  const Ref<vfs::FileDescription> out = TRY(fs::NewMemfd(caller, kernel.memory_file(), "hook-output", 0));
  Ref<vfs::FdTable> fds = MakeRef<vfs::FdTable>();
  constexpr uint64_t kMostFds = 3;
  TRY(fds->InstallAt(Fd{0}, input, false, kMostFds));
  TRY(fds->InstallAt(Fd{1}, out, false, kMostFds));
  TRY(fds->InstallAt(Fd{2}, out, false, kMostFds));
  output = out;
  return fds;
}

// For a message of one line.
std::string TextOf(vfs::FileDescription& output) {
  KernelCaller caller;
  std::string text(kMostText, '\0');
  mm::BufferDst dst(std::as_writable_bytes(std::span(text)));
  const Result<size_t> n = output.PRead(caller, dst, 0, 0);
  text.resize(n.ok() ? *n : 0);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::replace_if(text.begin(), text.end(), [](char c) { return c >= 0 && c < ' '; }, ' ');
  return text;
}

// False: its time is over.
bool AwaitEnd(kernel::ThreadGroup& group, Deadline deadline) {
  wait::Sleeper sleeper;
  wait::SleeperEntry entry(sleeper);
  group.exit_events().Register(entry, abi::kPollIn);
  bool in_time = true;
  while (!group.exited() && in_time) in_time = sleeper.SleepUninterruptible(deadline) != wait::Sleeper::Outcome::kTimedOut;
  group.exit_events().Unregister(entry);
  return in_time || group.exited();
}

StartError RunHook(const StartHook& hook, const std::string& name, const BootConfig& config, ProgramStarter& starter, const std::string& state) {
  Program program = config;
  program.executable = hook.path;
  program.argv = hook.argv.empty() ? std::vector<std::string>{hook.path} : hook.argv;
  program.environment = hook.environment;
  program.terminal_is_controlling = false;
  RefPtr<vfs::FileDescription> output;
  const Result<Ref<vfs::FdTable>> fds = MakeStreams(starter.kernel(), state, output);
  if (!fds.ok()) return {StartFailure::kSandbox, fds.error(), name + ": " + ErrnoText(fds.error())};
  StartError error;
  const RefPtr<kernel::ThreadGroup> group = starter.Start(program, *fds, nullptr, ProgramStarter::Role::kHook, error);
  if (!group) return {StartFailure::kSandbox, error.error, name + " cannot be executed: " + error.text};
  const Deadline deadline = hook.timeout_seconds == 0 ? Deadline::Never() : Deadline::After(hook.timeout_seconds * kNanosPerSecond);
  const bool in_time = AwaitEnd(*group, deadline);
  if (!in_time) {
    group->Kill(abi::KilledStatus(abi::kSigKill, false));
    (void)AwaitEnd(*group, Deadline::Never());
  }
  const int status = group->exit_status();
  // Exited is told a moment before the process is a zombie; a number that stays in use is the worst that can come of it.
  for (int i = 0; i < 1000 && !starter.kernel().Reap(*group); ++i) std::this_thread::yield();
  if (!in_time) return {StartFailure::kSandbox, Errno::kETIMEDOUT, name + " took longer than its " + std::to_string(hook.timeout_seconds) + " s"};
  if (status == 0) return {};
  const int signo = status & 0x7f;
  const std::string said = TextOf(*output);
  const std::string how = signo != 0 ? " was ended by signal " + std::to_string(signo) : " ended with status " + std::to_string(status >> 8);
  return {StartFailure::kSandbox, Errno::kECANCELED, name + how + (said.empty() ? "" : ": " + said)};
}

}  // namespace

StartError RunStartHooks(const BootConfig& config, ProgramStarter& starter, abi::Pid& pid) {
  if (config.start_hooks.empty()) return {};
  kernel::Kernel& kernel = starter.kernel();
  const Result<abi::Pid> reserved = kernel.ReservePid(starter.pid_namespace());
  if (!reserved.ok()) return {StartFailure::kSandbox, reserved.error(), "no process number is free"};
  const std::string state = config.hook_state_before + std::to_string(kernel.NumberIn(*starter.pid_namespace(), *reserved)) + config.hook_state_after;
  StartError error;
  for (size_t i = 0; i < config.start_hooks.size() && error.ok(); ++i) {
    const StartHook& hook = config.start_hooks[i];
    error = RunHook(hook, "the hook $.hooks.startContainer[" + std::to_string(i) + "] ('" + hook.path + "')", config, starter, state);
  }
  (void)kernel.KillContainer(starter.container());
  if (error.ok()) {
    pid = *reserved;
  } else {
    kernel.UnreservePid(*reserved);
  }
  return error;
}

}  // namespace rampart::sentry::boot
