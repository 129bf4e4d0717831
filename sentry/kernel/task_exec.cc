// execve(2) (Linux fs/exec.c: begin_new_exec, de_thread, setup_new_exec).
#include <cstring>
#include <utility>

#include "base/log.h"
#include "sentry/kernel/exec_file.h"
#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/task_ops.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/kernel/timers.h"
#include "sentry/keys/key.h"
#include "sentry/loader/loader.h"

namespace rampart::kernel {

// Everything that the point of no return needs, made before it.
struct ExecImage {
  loader::LoadedImage loaded;
  ExecIdentity identity;
  std::string name;
};

namespace {

std::string LastComponent(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

// XSAVE's initial state, with the control words that Linux gives to a new program.
std::vector<std::byte> InitialXstate(size_t size) {
  constexpr size_t kMxcsrOffset = 24, kFeaturesOffset = 512;
  std::vector<std::byte> image(size);
  const uint16_t control_word = 0x37f;
  const uint32_t mxcsr = 0x1f80;
  const uint64_t features = 3;
  std::memcpy(image.data(), &control_word, sizeof(control_word));
  std::memcpy(image.data() + kMxcsrOffset, &mxcsr, sizeof(mxcsr));
  if (size >= kFeaturesOffset + sizeof(features)) std::memcpy(image.data() + kFeaturesOffset, &features, sizeof(features));
  return image;
}

}  // namespace

Result<Ref<vfs::FileDescription>> Task::OpenForExec(vfs::Path start, const std::string& path, bool follow_last) {
  const Ref<vfs::MountNamespace> mounts = fs_->mounts();
  return OpenExecutableFile(*this, *mounts, fs_->root(), std::move(start), path, follow_last);
}

Result<ExecImage> Task::LoadImage(ExecRequest request) {
  VfsOpener opener(*this, *fs_);
  ExecIdentity identity{creds_.ToRef()};
  const auto credentials = [&](loader::ExecutableFile& executable) -> Result<loader::ExecCredentials> {
    const auto& file = static_cast<VfsExecutable&>(executable).file();
    const vfs::Attr attr = TRY(vfs::GetAttr(*this, file->path()));
    identity = TRY(CredentialsAfterExec(*creds_, attr, file->path().mount->flags().no_suid, Tracing::TracerIsUnprivileged(*this)));
    const auth::Credentials& c = *identity.creds;
    return loader::ExecCredentials{.uid = c.ruid, .euid = c.euid, .gid = c.rgid, .egid = c.egid, .secure = identity.secure};
  };
  const uint32_t personality = group_->personality.load();
  loader::LoadedImage loaded = TRY(loader::LoadProgram(loader::LoadArgs{
      .platform = kernel_.platform(),
      .memory_file = kernel_.memory_file(),
      .vdso = kernel_.config().vdso.ToRef(),
      .caller = *this,
      .opener = opener,
      .file = MakeRef<VfsExecutable>(std::move(request.file), *this),
      .filename = std::move(request.filename),
      .filename_unreachable = request.filename_unreachable,
      .argv = std::move(request.argv),
      .envp = std::move(request.envp),
      .credentials = credentials,
      .randomize = (personality & abi::kAddrNoRandomize) == 0,
      .read_implies_exec = (personality & abi::kReadImpliesExec) != 0,
  }));
  return ExecImage{std::move(loaded), std::move(identity), std::move(request.name)};
}

Result<void> Task::Exec(ExecRequest request) {
  const PidName before = pid_name();
  TRY(ReplaceProgram(std::move(request)));
  Tracing::EventAbout(*this, abi::kPtraceEventExec, before);
  return Ok();
}

Result<void> Task::ReplaceProgram(ExecRequest request) {
  const Tracing::ExecGuard guard(*this);
  ExecImage image = TRY(LoadImage(std::move(request)));
  TRY(KillSiblings());
  if (tid() != group_->pid()) TakeLeadership();
  // No way back from here.
  ReleaseRobustFutexes();
  context_->Leave(mm_->space());
  image.loaded.mm->exec_gain.store(mm_->inherited_exec_gain(), std::memory_order_relaxed);
  ReleaseMm();
  ReleaseVforkParent();
  InstallImage(image);
  (void)UnshareFds();
  for (const Ref<vfs::FileDescription>& file : fds_->RemoveRange(0, ~uint32_t{0}, true)) (void)vfs::CloseDescriptor(*this, *fds_, file);
  return Ok();
}

void Task::InstallImage(ExecImage& image) {
  {
    absl::MutexLock lock(&mu_);
    mm_ = std::move(image.loaded.mm);
    mm_users_ = MakeRef<UseCount>();
  }
  const bool same_identity = image.identity.creds->euid == creds().euid && image.identity.creds->egid == creds().egid;
  group_->dumpable.store(same_identity && !image.identity.secure ? 1 : 0);
  if (!same_identity || image.identity.secure) SetParentDeathSignal(0);
  SetCreds(image.identity.creds);
  SetName(image.name);
  SetThreadKeyring(nullptr);
  group_->SetProcessKeyring(nullptr);
  alt_stack_ = abi::SigStack{};
  SetUserDispatch({});
  restart_ = nullptr;
  {
    // A table shared with another process (CLONE_SIGHAND) stays with that one.
    absl::MutexLock lock(&group_->signal_mu_);
    group_->actions_ = group_->actions_->Clone();
    group_->actions_->ResetHandlers();
  }
  {
    absl::MutexLock lock(&kernel_.state().tree_mu);
    group_->exit_signal_ = abi::kSigChld;
  }
  if (GroupTimers* timers = group_->timers_if_any(); timers != nullptr) timers->DeletePosixTimers();
  group_->did_exec_.store(true, std::memory_order_relaxed);
  fault_ = {};
  if (context_ == nullptr) {
    // The first program: its thread has not started yet.
    start_regs_ = image.loaded.regs;
    start_xstate_ = InitialXstate(kernel_.platform().xstate_size());
    return;
  }
  const uint64_t call = context_->regs().orig_rax;
  context_->regs() = image.loaded.regs;
  context_->regs().orig_rax = call;  // until the call returns: a tracer sees it
  replaced_registers_ = true;
  const Result<void> set = context_->SetExtendedState(InitialXstate(kernel_.platform().xstate_size()));
  if (!set.ok()) PlatformFailed(set.error());
}

// The other threads of the process end. EAGAIN: the process is ending itself. Linux: de_thread.
Result<void> Task::KillSiblings() {
  {
    absl::MutexLock lock(&group_->signal_mu_);
    if (group_->exiting_ || group_->exec_task_ != nullptr) return Errno::kEAGAIN;
    if (group_->tasks_.size() == 1 && group_->unreaped_threads_ == 0) return Ok();
    group_->exec_task_ = this;
    group_->stop_count_ = 0;
    for (Task* task : group_->tasks_) {
      if (task != this) task->KillLocked();
    }
  }
  bool alone = false;
  while (true) {
    {
      absl::MutexLock lock(&group_->signal_mu_);
      alone = group_->tasks_.size() == 1 && group_->unreaped_threads_ == 0;
      if (alone || killed_) {
        group_->exec_task_ = nullptr;
        break;
      }
    }
    (void)sleeper_.SleepUninterruptible(Deadline::Never());
  }
  if (!alone) return Errno::kEAGAIN;
  return Ok();
}

// We are the only thread left, and not the first: the process keeps its number, so we take it over from the dead leader.
void Task::TakeLeadership() {
  Kernel::State& state = kernel_.state();
  RefPtr<Task> old_leader;
  absl::MutexLock lock(&state.tree_mu);
  const Ref<Task> self = ShareRef(this);
  state.pids.RemoveTask(*this, tid());
  {
    absl::MutexLock signal_lock(&group_->signal_mu_);
    old_leader = std::exchange(group_->leader_, RefPtr<Task>(self));
  }
  const abi::Pid pid = group_->pid();
  for (const Ref<ThreadGroup>& child : group_->children_) {
    if (child->parent_tid_ == tid()) child->parent_tid_ = pid;
  }
  if (old_leader) {
    Tracing::ForgetTreeLocked(*old_leader);
    state.pids.RemoveTask(*old_leader, pid);
  }
  tid_.store(pid, std::memory_order_relaxed);
  own_tid_.store(group_->own_pid(), std::memory_order_relaxed);
  state.pids.AddTask(self);
}

// PID 1's image, before its thread exists.
Result<void> Task::LoadFirstProgram(const InitArgs& args) {
  ExecRequest request{.file = TRY(OpenForExec(fs_->cwd(), args.executable, true)),
                      .filename = args.executable,
                      .name = LastComponent(args.executable),
                      .argv = args.argv,
                      .envp = args.envp};
  ExecImage image = TRY(LoadImage(std::move(request)));
  InstallImage(image);
  return Ok();
}

}  // namespace rampart::kernel
