#include "sentry/boot/program_starter.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "sentry/boot/explain_start.h"
#include "sentry/fs/host/host_file.h"
#include "sentry/vfs/operations.h"

namespace rampart::sentry::boot {
namespace {

Ref<const auth::Credentials> CredentialsOf(const Identity& identity) {
  auth::CredentialValues values;
  values.ruid = values.euid = values.suid = values.fsuid = identity.uid;
  values.rgid = values.egid = values.sgid = values.fsgid = identity.gid;
  values.groups = identity.groups;
  std::sort(values.groups.begin(), values.groups.end());
  const CapabilitySets& sets = identity.capabilities;
  values.permitted = sets.permitted & abi::kAllCapabilities;
  values.effective = sets.effective & values.permitted;
  values.inheritable = sets.inheritable & abi::kAllCapabilities;
  values.bounding = sets.bounding & abi::kAllCapabilities;
  values.ambient = sets.ambient & values.permitted & values.inheritable;
  values.no_new_privs = identity.no_new_privs;
  return MakeRef<const auth::Credentials>(values);
}

StartFailure KindOf(Errno why) { return why == Errno::kENOENT || why == Errno::kENOTDIR ? StartFailure::kNotFound : StartFailure::kNotExecutable; }

// The home of a user in a text as /etc/passwd is: "" when it has none.
std::string HomeIn(std::string_view passwd, uint32_t uid) {
  constexpr size_t kUid = 2;
  constexpr size_t kHome = 5;
  while (!passwd.empty()) {
    const std::string line(passwd.substr(0, passwd.find('\n')));
    passwd.remove_prefix(std::min(line.size() + 1, passwd.size()));
    const std::vector<std::string> fields = absl::StrSplit(line, ':');
    uint32_t number = 0;
    if (fields.size() > kHome && absl::SimpleAtoi(fields[kUid], &number) && number == uid) return fields[kHome];
  }
  return "";
}

// As much of a file as is believed to be a table of users.
std::string ReadPasswd(const vfs::Walk& walk) {
  constexpr size_t kMost = size_t{1} << 20;
  const Result<Ref<vfs::FileDescription>> file = vfs::Open(walk, "/etc/passwd", abi::kORdOnly | abi::kONonblock, 0);
  if (!file.ok()) return "";
  std::string text(kMost, '\0');
  mm::BufferDst dst(std::as_writable_bytes(std::span(text)));
  const Result<size_t> n = (*file)->PRead(walk.caller, dst, 0, 0);
  text.resize(n.ok() ? *n : 0);
  return text;
}

}  // namespace

ProgramStarter::ProgramStarter(kernel::Kernel& kernel, Ref<vfs::MountNamespace> mounts, std::vector<abi::SockFilter> filter, bool memory_limited,
                               bool sets_home, uint32_t container, RefPtr<kernel::PidNamespace> pid_namespace)
    : kernel_(kernel),
      mounts_(std::move(mounts)),
      filter_(std::move(filter)),
      memory_limited_(memory_limited),
      sets_home_(sets_home),
      container_(container),
      pid_namespace_(pid_namespace ? std::move(pid_namespace).ToRef() : kernel.pid_namespace()) {}

// argv[0] as execvp(3) finds it: with a slash as it is, else along PATH. EACCES when something was found that may not be run.
Result<std::string> ProgramStarter::FindProgram(const Program& program, const vfs::Walk& walk) const {
  if (!program.executable.empty()) return program.executable;
  const std::string& name = program.argv[0];
  if (name.find('/') != std::string::npos) return name;
  std::string path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (const std::string& variable : program.environment) {
    if (variable.starts_with("PATH=")) path = variable.substr(5);
  }
  Errno error = Errno::kENOENT;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find(':', start), path.size());
    const std::string directory = path.substr(start, end - start);
    start = end + 1;
    const std::string candidate = (directory.empty() ? "." : directory) + "/" + name;
    const Result<vfs::Path> found = vfs::Lookup(walk, candidate, vfs::WalkArgs{});
    if (!found.ok()) continue;
    const RefPtr<vfs::Inode> inode = found->dentry->inode();
    if (!inode || inode->type() != vfs::FileType::kRegular || !vfs::CheckAccess(walk.caller, *found, vfs::Access::kExecute).ok()) {
      error = Errno::kEACCES;
      continue;
    }
    return candidate;
  }
  return error;
}

struct ProgramStarter::Place {
  vfs::Path root;
  vfs::Path cwd;
  Result<std::string> executable;
};

// Errors are in `error`.
Result<ProgramStarter::Place> ProgramStarter::Enter(const Program& program, KernelCaller& caller, StartError& error) const {
  const vfs::Path root = mounts_->root();
  const Result<vfs::Path> cwd = vfs::Lookup({caller, *mounts_, root, root}, program.cwd, {.want_directory = true});
  if (!cwd.ok()) {
    error = {StartFailure::kSandbox, cwd.error(), "the working directory " + program.cwd + ": " + ErrnoText(cwd.error())};
    return cwd.error();
  }
  return Place{root, *cwd, FindProgram(program, {caller, *mounts_, root, *cwd})};
}

StartError ProgramStarter::Check(const Program& program) const {
  StartError error;
  KernelCaller caller(CredentialsOf(program.identity));
  const Result<Place> place = Enter(program, caller, error);
  if (!place.ok()) return error;
  Errno why = place->executable.ok() ? Errno{} : place->executable.error();
  if (place->executable.ok()) {
    const Result<vfs::Path> found = vfs::Lookup({caller, *mounts_, place->root, place->cwd}, *place->executable, vfs::WalkArgs{});
    if (!found.ok()) {
      why = found.error();
    } else if (found->dentry->inode() && found->dentry->inode()->type() != vfs::FileType::kRegular) {
      why = Errno::kEACCES;
    } else if (const Result<void> access = vfs::CheckAccess(caller, *found, vfs::Access::kExecute); !access.ok()) {
      why = access.error();
    }
  }
  if (why == Errno{}) return {};
  return {KindOf(why), why, program.argv[0] + ": " + ErrnoText(why)};
}

std::vector<std::string> ProgramStarter::EnvironmentOf(const Program& program, const vfs::Walk& walk) const {
  std::vector<std::string> out = program.environment;
  if (!sets_home_) return out;
  const auto home = std::find_if(out.begin(), out.end(), [](const std::string& one) { return one.starts_with("HOME="); });
  if (home != out.end() && *home != "HOME=") return out;
  std::string value = HomeIn(ReadPasswd(walk), program.identity.uid);
  if (value.empty() || value.find('\0') != std::string::npos) value.assign(1, '/');
  if (home != out.end()) out.erase(home);
  out.push_back("HOME=" + value);
  return out;
}

RefPtr<kernel::ThreadGroup> ProgramStarter::Start(const Program& program, Ref<vfs::FdTable> fds, RefPtr<fs::HostTerminal> console, Role role,
                                                  StartError& error, abi::Pid pid) {
  const Ref<const auth::Credentials> creds = CredentialsOf(program.identity);
  KernelCaller caller(creds);
  const Result<Place> place = Enter(program, caller, error);
  if (!place.ok()) return nullptr;
  const Result<std::string>& executable = place->executable;
  Result<Ref<kernel::ThreadGroup>> started = executable.ok() ? Result<Ref<kernel::ThreadGroup>>(Errno::kENOENT) : executable.error();
  const Ref<vfs::FsContext> fs = MakeRef<vfs::FsContext>(mounts_, place->root, place->cwd, program.umask);
  if (executable.ok()) {
    KernelCaller kernel;
    kernel::InitArgs args{.executable = *executable,
                          .argv = program.argv,
                          .envp = role == Role::kHook ? program.environment : EnvironmentOf(program, {kernel, *mounts_, place->root, place->root}),
                          .fs = fs,
                          .fds = std::move(fds),
                          .creds = creds,
                          .ignored_signals = program.ignored_signals,
                          .blocked_signals = program.blocked_signals,
                          .terminal = console,
                          .filter = filter_,
                          .container = container_,
                          .pid_namespace = pid_namespace_,
                          .pid = pid,
                          .before_init = role == Role::kHook && container_ == 0,
                          .sched_policy = program.scheduling.policy,
                          .reset_on_fork = program.scheduling.reset_on_fork,
                          .nice = program.scheduling.nice,
                          .oom_score_adj = program.scheduling.oom_score_adj,
                          .io_priority = program.scheduling.io_priority,
                          .personality = program.scheduling.personality};
    for (size_t i = 0; i < std::min<size_t>(program.rlimits.size(), abi::kResourceCount); ++i) {
      args.limits[i] = {program.rlimits[i].soft, program.rlimits[i].hard};
    }
    started = role == Role::kInit ? kernel_.StartInit(std::move(args)) : kernel_.StartProcess(std::move(args));
  }
  if (started.ok()) return *started;
  const Errno why = started.error();
  error = {KindOf(why), why, program.argv[0] + ": "};
  if (role != Role::kInit && (why == Errno::kEAGAIN || why == Errno::kESRCH)) {
    error.kind = StartFailure::kSandbox;
    error.text += why == Errno::kEAGAIN ? "the limit of processes is reached" : "the sandbox is ending";
  } else if (executable.ok()) {
    error.text += ExplainStart(caller, *fs, *executable, why, memory_limited_);
  } else {
    error.text += why == Errno::kENOENT ? "command not found (in the PATH of the sandbox)" : ErrnoText(why);
  }
  return nullptr;
}

Result<Ref<vfs::FdTable>> ProgramStarter::MakeFds(std::vector<UniqueFd> files, const std::vector<int32_t>& numbers,
                                                  RefPtr<fs::HostTerminal>* terminal) {
  constexpr int32_t kMostNumber = 1 << 20;
  if (files.size() != numbers.size()) return Errno::kEINVAL;
  fs::HostTerminals terminals;
  Ref<vfs::FdTable> fds = MakeRef<vfs::FdTable>();
  for (size_t i = 0; i < files.size(); ++i) {
    if (numbers[i] < 0 || numbers[i] >= kMostNumber) return Errno::kEINVAL;
    const Ref<vfs::FileDescription> description = TRY(fs::NewHostFile(std::move(files[i]), &terminals));
    TRY(fds->InstallAt(Fd{numbers[i]}, description, false, uint64_t{kMostNumber}));
  }
  *terminal = terminals.first();
  return fds;
}

}  // namespace rampart::sentry::boot
