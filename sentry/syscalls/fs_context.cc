// fsopen(2), fsconfig(2), fsmount(2), fspick(2): a filesystem made step by step (Linux: fs/fsopen.c, fs/fs_context.c).
#include <deque>

#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/mount.h"
#include "sentry/syscalls/mount_common.h"
#include "sentry/syscalls/mount_tree_file.h"

namespace rampart::syscalls {

using kernel::Task;

namespace {

constexpr size_t kMaxLines = 8, kMaxOptions = 256, kMaxText = 256;

// One filesystem in the making, or being changed. Its descriptor is read for messages.
class FsDescription final : public vfs::FileDescription {
 public:
  enum class Phase : uint8_t { kParameters, kAwaitingMount, kAwaitingChange, kChanging, kFailed };
  static Ref<FsDescription> Create(const vfs::FilesystemType* type, RefPtr<vfs::Mount> picked) {
    vfs::Path path = vfs::NewAnonymousPath(vfs::NewAnonymousInode(vfs::FileType::kRegular, 0600, 0, 0), "anon_inode:[fscontext]");
    return MakeRef<FsDescription>(std::move(path), type, std::move(picked));
  }
  FsDescription(vfs::Path path, const vfs::FilesystemType* type, RefPtr<vfs::Mount> picked)
      : FileDescription(std::move(path), abi::kORdWr), type_(type), picked_(std::move(picked)) {
    if (picked_ != nullptr) {
      phase_ = Phase::kChanging;
      flags_ = picked_->fs().flags();
    }
  }

  bool seekable() const override { return false; }
  bool has_write() const override { return false; }
  Result<size_t> Read(Caller&, mm::IoDst& dst, uint32_t) override {
    std::string line;
    {
      absl::MutexLock lock(&mu_);
      if (lines_.empty()) return Errno::kENODATA;
      if (lines_.front().size() > dst.remaining()) {
        lines_.pop_front();
        return Errno::kEMSGSIZE;
      }
      line = std::move(lines_.front());
      lines_.pop_front();
    }
    return dst.Write(std::as_bytes(std::span(line)));
  }

  Result<void> Set(vfs::FsOption option, bool is_text) {
    absl::MutexLock lock(&mu_);
    if (phase_ == Phase::kAwaitingChange) phase_ = Phase::kChanging;
    if (phase_ != Phase::kParameters && phase_ != Phase::kChanging) return Errno::kEBUSY;
    if (ApplyCommonOption(option, flags_)) return Ok();
    vfs::FsLog log;
    const Result<void> result = CheckLocked(option, is_text, log);
    KeepLocked(log);
    if (!result.ok()) return result;
    if (option.key != "source") options_.push_back(std::move(option));
    return Ok();
  }

  Result<void> Make(const vfs::Walk& walk, bool exclusive) {
    absl::MutexLock lock(&mu_);
    if (phase_ != Phase::kParameters) return Errno::kEBUSY;
    phase_ = Phase::kFailed;
    vfs::FsLog log;
    vfs::FsRequest request{.walk = walk, .source = source_, .options = options_, .log = log};
    Result<vfs::MadeFilesystem> made = type_->Make(request);
    KeepLocked(log);
    if (!made.ok()) return made.error();
    if (made->shared && exclusive) return Errno::kEBUSY;
    if (!made->shared) TRY(made->fs->SetFlags(flags_));
    made_ = std::move(*made);
    phase_ = Phase::kAwaitingMount;
    return Ok();
  }

  Result<void> Change() {
    absl::MutexLock lock(&mu_);
    if (phase_ != Phase::kChanging) return Errno::kEBUSY;
    phase_ = Phase::kFailed;
    vfs::Filesystem& fs = picked_ != nullptr ? picked_->fs() : *made_->fs;
    TRY(Reconfigure(fs, options_, flags_));
    options_.clear();
    phase_ = Phase::kAwaitingChange;
    return Ok();
  }

  Result<Ref<vfs::Mount>> NewMount(vfs::MountFlags flags) {
    absl::MutexLock lock(&mu_);
    if (!made_ && !picked_) return Errno::kEINVAL;
    if (phase_ != Phase::kAwaitingMount) return Errno::kEBUSY;
    phase_ = Phase::kAwaitingChange;
    options_.clear();
    return MakeRef<vfs::Mount>(made_->fs, made_->root, flags, source_.empty() ? "none" : source_);
  }

 private:
  Result<void> CheckLocked(const vfs::FsOption& option, bool is_text, vfs::FsLog& log) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const std::string name = type_ != nullptr ? type_->name() : picked_->fs().type();
    if (option.key == "source" && type_ != nullptr) {
      if (!is_text || !option.has_value) return log.Error("VFS: Non-string source"), Errno::kEINVAL;
      if (!source_.empty()) return log.Error("VFS: Multiple sources"), Errno::kEINVAL;
      source_ = option.value;
      return Ok();
    }
    if (!is_text) return log.Error(name + ": Unknown parameter '" + option.key + "'"), Errno::kEINVAL;
    if (options_.size() >= kMaxOptions) return Errno::kENOMEM;
    return type_ != nullptr ? type_->Check(option, log) : Ok();
  }
  void KeepLocked(vfs::FsLog& log) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    for (std::string& line : log.lines()) lines_.push_back(std::move(line));
    while (lines_.size() > kMaxLines) lines_.pop_front();  // the oldest are lost
  }

  const vfs::FilesystemType* const type_;  // null: picked, and of a kind that programs cannot mount
  const RefPtr<vfs::Mount> picked_;
  absl::Mutex mu_;
  Phase phase_ ABSL_GUARDED_BY(mu_) = Phase::kParameters;
  uint32_t flags_ ABSL_GUARDED_BY(mu_) = 0;
  std::string source_ ABSL_GUARDED_BY(mu_);
  std::vector<vfs::FsOption> options_ ABSL_GUARDED_BY(mu_);
  std::deque<std::string> lines_ ABSL_GUARDED_BY(mu_);
  std::optional<vfs::MadeFilesystem> made_ ABSL_GUARDED_BY(mu_);
};

Result<Ref<FsDescription>> ContextOf(Task& task, Fd fd) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  auto* const context = dynamic_cast<FsDescription*>(file.get());
  if (context == nullptr) return Errno::kEINVAL;
  return ShareRef(context);
}

// Which arguments a command has, and which must be absent.
Result<void> CheckShape(abi::FsconfigCommand command, bool key, bool value, int32_t auxiliary) {
  constexpr int32_t kMaxBinary = 1024 * 1024;
  bool good = false;
  switch (command) {
    case abi::FsconfigCommand::kSetFlag: good = key && !value && auxiliary == 0; break;
    case abi::FsconfigCommand::kSetString: good = key && value && auxiliary == 0; break;
    case abi::FsconfigCommand::kSetBinary: good = key && value && auxiliary > 0 && auxiliary <= kMaxBinary; break;
    case abi::FsconfigCommand::kSetPath:
    case abi::FsconfigCommand::kSetPathEmpty: good = key && value && (auxiliary == static_cast<int32_t>(kAtFdCwd) || auxiliary >= 0); break;
    case abi::FsconfigCommand::kSetFd: good = key && !value && auxiliary >= 0; break;
    case abi::FsconfigCommand::kCreate:
    case abi::FsconfigCommand::kReconfigure:
    case abi::FsconfigCommand::kCreateExclusive: good = !key && !value && auxiliary == 0; break;
    default: return Errno::kEOPNOTSUPP;
  }
  return good ? Result<void>(Ok()) : Errno::kEINVAL;
}

}  // namespace

Result<Word> SysFsopen(Task& task, UserPath type, uint32_t flags) {
  if (!MayMount(task)) return Errno::kEPERM;
  if ((flags & ~abi::kFsopenCloexec) != 0) return Errno::kEINVAL;
  const std::string name = TRY(task.mm().CopyInString(type.address(), kPageSize, Errno::kEINVAL));
  const vfs::FilesystemType* const found = vfs::FilesystemTypes::Get().Find(name);
  if (found == nullptr) return Errno::kENODEV;
  const Ref<vfs::FileDescription> file = FsDescription::Create(found, nullptr);
  return static_cast<Word>(TRY(task.fds().Install(file, (flags & abi::kFsopenCloexec) != 0, task.limit(abi::Resource::kNofile))));
}

Result<Word> SysFspick(Task& task, Fd directory, UserPath path, uint32_t flags) {
  if (!MayMount(task)) return Errno::kEPERM;
  if ((flags & ~(abi::kFspickCloexec | abi::kFspickNofollow | abi::kFspickNoAutomount | abi::kFspickEmpty)) != 0) return Errno::kEINVAL;
  const vfs::Path found = TRY(FindForMount(task, directory, path, (flags & abi::kFspickNofollow) == 0, (flags & abi::kFspickEmpty) != 0));
  if (!(found.dentry == found.mount->root())) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> file = FsDescription::Create(vfs::FilesystemTypes::Get().Find(found.mount->fs().type()), found.mount);
  return static_cast<Word>(TRY(task.fds().Install(file, (flags & abi::kFspickCloexec) != 0, task.limit(abi::Resource::kNofile))));
}

Result<Word> SysFsconfig(Task& task, Fd fd, uint32_t number, UserPath user_key, UserAddr user_value, int32_t auxiliary) {
  if (static_cast<int32_t>(fd) < 0) return Errno::kEINVAL;
  const auto command = static_cast<abi::FsconfigCommand>(number);
  TRY(CheckShape(command, static_cast<bool>(user_key), user_value != 0, auxiliary));
  const Ref<FsDescription> context = TRY(ContextOf(task, fd));
  vfs::FsOption option;
  if (user_key) option.key = TRY(task.mm().CopyInString(user_key.address(), kMaxText, Errno::kEINVAL));
  switch (command) {
    case abi::FsconfigCommand::kSetString:
      option.value = TRY(task.mm().CopyInString(user_value, kMaxText, Errno::kEINVAL));
      option.has_value = true;
      [[fallthrough]];
    case abi::FsconfigCommand::kSetFlag:
      TRY(context->Set(std::move(option), true));
      return Word{0};
    case abi::FsconfigCommand::kSetFd:
      TRY(task.fds().Get(Fd{auxiliary}));
      [[fallthrough]];
    case abi::FsconfigCommand::kSetBinary:
    case abi::FsconfigCommand::kSetPath:
    case abi::FsconfigCommand::kSetPathEmpty:
      TRY(context->Set(std::move(option), false));  // no filesystem here takes these
      return Word{0};
    case abi::FsconfigCommand::kReconfigure:
      if (!MayMount(task)) return Errno::kEPERM;
      TRY(context->Change());
      return Word{0};
    default: {
      if (!MayMount(task)) return Errno::kEPERM;
      const PathArg here = TRY(PathArg::Of(task, kAtFdCwd, "."));
      TRY(context->Make(here.walk(), command == abi::FsconfigCommand::kCreateExclusive));
      return Word{0};
    }
  }
}

Result<Word> SysFsmount(Task& task, Fd fd, uint32_t flags, uint32_t attributes) {
  constexpr uint64_t kKnown = abi::kMountAttrRdonly | abi::kMountAttrNosuid | abi::kMountAttrNodev | abi::kMountAttrNoexec | abi::kMountAttrAtime | abi::kMountAttrNodiratime |
                              abi::kMountAttrNosymfollow;
  if (!MayMount(task)) return Errno::kEPERM;
  if ((flags & ~abi::kFsmountCloexec) != 0 || (attributes & ~kKnown) != 0) return Errno::kEINVAL;
  const vfs::MountFlags mount_flags = TRY(FlagsOfAttributes(attributes));
  const Ref<FsDescription> context = TRY(ContextOf(task, fd));
  const Ref<vfs::Mount> mount = TRY(context->NewMount(mount_flags));
  const Ref<vfs::FileDescription> file = MakeRef<TreeDescription>(vfs::MountNamespace::NewDetached(mount));
  return static_cast<Word>(TRY(task.fds().Install(file, (flags & abi::kFsmountCloexec) != 0, task.limit(abi::Resource::kNofile))));
}

}  // namespace rampart::syscalls
