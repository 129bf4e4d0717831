#include "sentry/syscalls/process.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/task_ops.h"
#include "sentry/loader/loader.h"

namespace rampart::syscalls {

using kernel::Task;

namespace {

Result<Word> DoClone(Task& task, const kernel::CloneRequest& request) { return static_cast<Word>(TRY(task.Clone(request))); }

// argv or envp: pointers up to a null one, and the strings. `space` is what Linux allows for all of them together.
Result<std::vector<std::string>> CopyInStrings(Task& task, UserIn<uint64_t> from, uint64_t& space) {
  std::vector<std::string> strings;
  if (!from) return strings;
  for (UserAddr at = from.address();; at += sizeof(uint64_t)) {
    const uint64_t pointer = TRY(task.CopyIn(UserIn<uint64_t>(at)));
    if (pointer == 0) return strings;
    std::string text = TRY(task.mm().CopyInString(pointer, loader::kMaxArgStringLength, Errno::kE2BIG));
    const uint64_t cost = text.size() + 1 + sizeof(uint64_t);
    if (cost > space) return Errno::kE2BIG;
    space -= cost;
    strings.push_back(std::move(text));
  }
}

std::string LastComponent(const std::string& path) { return path.substr(path.rfind('/') + 1); }

Result<Word> DoExec(Task& task, kernel::ExecRequest request, UserIn<uint64_t> argv, UserIn<uint64_t> envp) {
  uint64_t space = loader::ArgumentSpaceLimit(task.limit(abi::Resource::kStack));
  request.argv = TRY(CopyInStrings(task, argv, space));
  request.envp = TRY(CopyInStrings(task, envp, space));
  TRY(task.Exec(std::move(request)));
  return Word{0};
}

}  // namespace

Result<Word> SysClone(Task& task, uint64_t flags, uint64_t stack, uint64_t parent_tid, uint64_t child_tid, uint64_t tls) {
  kernel::CloneRequest request;
  request.flags = flags & 0xffffffff & ~abi::kCsignal;
  request.exit_signal = static_cast<int>(flags & abi::kCsignal);
  request.stack = stack;
  request.parent_tid = request.pidfd = parent_tid;
  request.child_tid = child_tid;
  request.tls = tls;
  if ((request.flags & abi::kClonePidfd) != 0 && (request.flags & abi::kCloneParentSettid) != 0) return Errno::kEINVAL;
  if (request.exit_signal > abi::kSigMax) return Errno::kEINVAL;
  return DoClone(task, request);
}

Result<Word> SysClone3(Task& task, uint64_t from, uint64_t size) {
  if (size > kPageSize) return Errno::kE2BIG;
  if (size < abi::kCloneArgsSizeVer0) return Errno::kEINVAL;
  std::vector<std::byte> bytes(std::max<size_t>(size, sizeof(abi::CloneArgs)));
  TRY(task.mm().CopyInBytes(from, std::span(bytes).first(size)));
  if (std::any_of(bytes.begin() + sizeof(abi::CloneArgs), bytes.end(), [](std::byte b) { return b != std::byte{0}; })) return Errno::kE2BIG;
  abi::CloneArgs args;
  std::memcpy(&args, bytes.data(), sizeof(args));
  constexpr uint64_t kKnown = 0xffffffff | abi::kCloneClearSighand | abi::kCloneIntoCgroup;
  if ((args.flags & ~kKnown) != 0 || (args.flags & (abi::kCloneDetached | (abi::kCsignal & ~abi::kCloneNewtime))) != 0) return Errno::kEINVAL;
  if ((args.exit_signal & ~abi::kCsignal) != 0 || args.exit_signal > abi::kSigMax) return Errno::kEINVAL;
  if ((args.flags & (abi::kCloneThread | abi::kCloneParent)) != 0 && args.exit_signal != 0) return Errno::kEINVAL;
  if ((args.stack == 0) != (args.stack_size == 0)) return Errno::kEINVAL;
  if (args.stack > abi::kMaxUserAddress || args.stack_size > abi::kMaxUserAddress) return Errno::kEINVAL;
  if ((args.set_tid == 0) != (args.set_tid_size == 0) || args.set_tid_size > kernel::PidNamespace::kMaxLevel) return Errno::kEINVAL;
  kernel::CloneRequest request;
  request.flags = args.flags;
  request.exit_signal = static_cast<int>(args.exit_signal);
  request.stack = args.stack == 0 ? 0 : args.stack + args.stack_size;
  request.tls = args.tls;
  request.parent_tid = args.parent_tid;
  request.child_tid = args.child_tid;
  request.pidfd = args.pidfd;
  request.set_tid = TRY(task.mm().CopyInArray(UserIn<int32_t>(args.set_tid), args.set_tid_size, kernel::PidNamespace::kMaxLevel));
  return DoClone(task, request);
}

Result<Word> SysFork(Task& task) {
  kernel::CloneRequest request;
  request.exit_signal = abi::kSigChld;
  return DoClone(task, request);
}

Result<Word> SysVfork(Task& task) {
  kernel::CloneRequest request;
  request.flags = abi::kCloneVfork | abi::kCloneVm;
  request.exit_signal = abi::kSigChld;
  return DoClone(task, request);
}

Result<Word> SysExecve(Task& task, UserPath path, UserIn<uint64_t> argv, UserIn<uint64_t> envp) {
  const std::string name = TRY(task.CopyInPath(path));
  if (name.empty()) return Errno::kENOENT;
  kernel::ExecRequest request{.file = TRY(task.OpenForExec(task.fs().cwd(), name, true)), .filename = name, .filename_unreachable = false,
                              .name = LastComponent(name), .argv = {}, .envp = {}};
  return DoExec(task, std::move(request), argv, envp);
}

Result<Word> SysExecveat(Task& task, Fd directory, UserPath path, UserIn<uint64_t> argv, UserIn<uint64_t> envp, int32_t flags) {
  if ((flags & ~(abi::kAtEmptyPath | abi::kAtSymlinkNofollow)) != 0) return Errno::kEINVAL;
  const std::string name = TRY(task.CopyInPath(path));
  if (name.empty() && (flags & abi::kAtEmptyPath) == 0) return Errno::kENOENT;
  const bool follow = (flags & abi::kAtSymlinkNofollow) == 0;
  vfs::Path start = task.fs().cwd();
  std::string shown = name;
  bool close_on_exec = false;
  if (directory != kAtFdCwd && (name.empty() || name[0] != '/')) {
    const vfs::FdTable::Entry entry = TRY(task.fds().GetEntry(directory));
    start = entry.file->path();
    close_on_exec = entry.close_on_exec;
    shown = "/dev/fd/" + std::to_string(static_cast<int32_t>(directory)) + (name.empty() ? "" : "/" + name);
  }
  kernel::ExecRequest request{.file = TRY(task.OpenForExec(start, name, follow)), .filename = shown, .filename_unreachable = close_on_exec,
                              .name = LastComponent(shown), .argv = {}, .envp = {}};
  return DoExec(task, std::move(request), argv, envp);
}

Result<Word> SysExit(Task& task, int32_t code) {
  task.PrepareExit(abi::ExitedStatus(code));
  return Word{0};
}

Result<Word> SysExitGroup(Task& task, int32_t code) {
  task.PrepareGroupExit(abi::ExitedStatus(code));
  return Word{0};
}

Result<Word> SysUnshare(Task& task, uint64_t flags) {
  constexpr uint64_t kKnown = abi::kCloneThread | abi::kCloneFs | abi::kCloneNewns | abi::kCloneSighand | abi::kCloneVm | abi::kCloneFiles |
                              abi::kCloneSysvsem | abi::kCloneNamespaces;
  if ((flags & ~kKnown) != 0) return Errno::kEINVAL;
  // Threads cannot be separated from their process; alone, there is nothing to separate.
  if ((flags & (abi::kCloneThread | abi::kCloneSighand | abi::kCloneVm)) != 0 && task.group().Tasks().size() > 1) return Errno::kEINVAL;
  TRY(task.Unshare(flags));
  return Word{0};
}

Result<Word> SysPidfdOpen(Task& task, abi::Pid pid, uint32_t flags) {
  if ((flags & ~abi::kPidfdNonblock) != 0 || pid <= 0) return Errno::kEINVAL;
  const RefPtr<kernel::ThreadGroup> group = task.FindGroup(pid);
  if (!group) {
    if (task.FindTask(pid)) return Errno::kEINVAL;  // a thread that is not the first of its process
    return Errno::kESRCH;
  }
  const Fd fd = TRY(task.fds().Install(kernel::Pidfd::Create(group.ToRef(), flags), true, task.limit(abi::Resource::kNofile)));
  return static_cast<Word>(fd);
}

Result<Word> SysPidfdGetfd(Task& task, Fd pidfd, Fd target, uint32_t flags) {
  if (flags != 0) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> file = TRY(task.fds().Get(pidfd));
  const Ref<kernel::ThreadGroup> group = TRY(kernel::GroupOfPidfd(*file));
  const RefPtr<Task> leader = group->leader();
  if (!leader) return Errno::kESRCH;
  if (!kernel::MayAccess(task, *leader, kernel::AccessMode::kRealCreds)) return Errno::kEPERM;
  const RefPtr<vfs::FdTable> table = leader->GetFds();
  if (!table) return Errno::kESRCH;
  const Ref<vfs::FileDescription> found = TRY(table->Get(target));
  return static_cast<Word>(TRY(task.fds().Install(found, true, task.limit(abi::Resource::kNofile))));
}

Result<Word> SysKcmp(Task& task, abi::Pid pid1, abi::Pid pid2, int32_t type, uint64_t index1, uint64_t index2) {
  const RefPtr<Task> a = task.FindTask(pid1), b = task.FindTask(pid2);
  if (!a || !b) return Errno::kESRCH;
  for (const RefPtr<Task>& t : {a, b}) {
    if (!kernel::MayAccess(task, *t, kernel::AccessMode::kRealCreds)) return Errno::kEPERM;
  }
  // 1: the first comes before, 2: after. The order is stable, and tells nothing of addresses.
  static const uint64_t mask = std::random_device()(), factor = uint64_t{std::random_device()()} << 32 | std::random_device()() | 1;
  const auto order = [](const void* x, const void* y) -> Word {
    // SAFETY: only for comparison.
    const uint64_t first = (reinterpret_cast<uint64_t>(x) ^ mask) * factor, second = (reinterpret_cast<uint64_t>(y) ^ mask) * factor;
    return first == second ? 0 : first < second ? 1 : 2;
  };
  switch (type) {
    case 0: {  // KCMP_FILE
      const RefPtr<vfs::FdTable> ta = a->GetFds(), tb = b->GetFds();
      if (!ta || !tb) return Errno::kESRCH;
      const Ref<vfs::FileDescription> fa = TRY(ta->Get(Fd{static_cast<int32_t>(index1)}));
      const Ref<vfs::FileDescription> fb = TRY(tb->Get(Fd{static_cast<int32_t>(index2)}));
      return order(fa.get(), fb.get());
    }
    case 1:  // KCMP_VM
      return order(a->GetMm().get(), b->GetMm().get());
    case 2:  // KCMP_FILES
      return order(a->GetFds().get(), b->GetFds().get());
    case 3:  // KCMP_FS
      return order(a->GetFs().get(), b->GetFs().get());
    case 4:  // KCMP_SIGHAND
      return order(a->group().actions_identity(), b->group().actions_identity());
    case 5:  // KCMP_IO
      return order(a->scheduling().io.get(), b->scheduling().io.get());
    case 6:  // KCMP_SYSVSEM
      return order(a->sem_undo_identity(), b->sem_undo_identity());
    default:
      return Errno::kEINVAL;
  }
}

}  // namespace rampart::syscalls
