#include "sentry/boot/program_starter.h"

#include <algorithm>

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

}  // namespace

ProgramStarter::ProgramStarter(kernel::Kernel& kernel, Ref<vfs::MountNamespace> mounts, std::vector<abi::SockFilter> filter, bool memory_limited, uint32_t container)
    : kernel_(kernel), mounts_(std::move(mounts)), filter_(std::move(filter)), memory_limited_(memory_limited), container_(container) {}

// argv[0] as execvp(3) finds it: with a slash as it is, else along PATH. EACCES when something was found that may not be run.
Result<std::string> ProgramStarter::FindProgram(const Program& program, const vfs::Walk& walk) const {
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

RefPtr<kernel::ThreadGroup> ProgramStarter::Start(const Program& program, Ref<vfs::FdTable> fds, RefPtr<fs::HostTerminal> console, bool first,
                                                  StartError& error) {
  const Ref<const auth::Credentials> creds = CredentialsOf(program.identity);
  KernelCaller caller(creds);
  const vfs::Path root = mounts_->root();
  const Result<vfs::Path> cwd = vfs::Lookup({caller, *mounts_, root, root}, program.cwd, {.want_directory = true});
  if (!cwd.ok()) {
    error = {StartFailure::kSandbox, cwd.error(), "the working directory " + program.cwd + ": " + ErrnoText(cwd.error())};
    return nullptr;
  }
  const Result<std::string> executable = FindProgram(program, {caller, *mounts_, root, *cwd});
  Result<Ref<kernel::ThreadGroup>> started = executable.ok() ? Result<Ref<kernel::ThreadGroup>>(Errno::kENOENT) : executable.error();
  const Ref<vfs::FsContext> fs = MakeRef<vfs::FsContext>(mounts_, root, *cwd, program.umask);
  if (executable.ok()) {
    kernel::InitArgs args{.executable = *executable,
                          .argv = program.argv,
                          .envp = program.environment,
                          .fs = fs,
                          .fds = std::move(fds),
                          .creds = creds,
                          .ignored_signals = program.ignored_signals,
                          .blocked_signals = program.blocked_signals,
                          .terminal = console,
                          .filter = filter_,
                          .container = container_};
    for (size_t i = 0; i < std::min<size_t>(program.rlimits.size(), abi::kResourceCount); ++i) {
      args.limits[i] = {program.rlimits[i].soft, program.rlimits[i].hard};
    }
    started = first ? kernel_.StartInit(std::move(args)) : kernel_.StartProcess(std::move(args));
  }
  if (started.ok()) return *started;
  const Errno why = started.error();
  error.error = why;
  error.kind = why == Errno::kENOENT || why == Errno::kENOTDIR ? StartFailure::kNotFound : StartFailure::kNotExecutable;
  error.text = program.argv[0] + ": ";
  if (!first && (why == Errno::kEAGAIN || why == Errno::kESRCH)) {
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
