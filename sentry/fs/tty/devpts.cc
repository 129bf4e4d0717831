#include "sentry/fs/tty/devpts.h"

#include <charconv>
#include <map>
#include <string>

#include "sentry/fs/tty/pty.h"
#include "sentry/kernel/session.h"
#include "sentry/time/timer_queue.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs::tty {
namespace {

constexpr uint64_t kDevptsMagic = 0x1cd1;
constexpr uint64_t kRootInode = 1, kPtmxInode = 2, kFirstSlaveInode = 3;

class DevptsFilesystem;

class MasterFile final : public vfs::FileDescription {
 public:
  MasterFile(vfs::Path path, uint32_t flags, Ref<Pty> pty, Ref<DevptsFilesystem> fs);
  ~MasterFile() override;
  bool seekable() const override { return false; }
  bool pollable() const override { return true; }
  Result<size_t> Read(Caller&, mm::IoDst& dst, uint32_t) override { return pty_->MasterRead(dst); }
  Result<size_t> Write(Caller&, mm::IoSrc& src, uint32_t) override { return pty_->MasterWrite(src); }
  wait::EventMask Readiness(wait::EventMask mask) override { return pty_->MasterReadiness() & (mask | abi::kPollHup | abi::kPollErr); }
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override { pty_->master_queue().Register(entry, mask); }
  void EventUnregister(wait::WaitEntry& entry) override { pty_->master_queue().Unregister(entry); }
  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) override;

 private:
  const Ref<Pty> pty_;
  const Ref<DevptsFilesystem> fs_;
};

class SlaveFile final : public vfs::FileDescription {
 public:
  // REQUIRES: pty->SlaveOpened() succeeded for this.
  SlaveFile(vfs::Path path, uint32_t flags, Ref<Pty> pty) : FileDescription(std::move(path), flags), pty_(std::move(pty)) {}
  ~SlaveFile() override { pty_->SlaveClosed(); }
  bool seekable() const override { return false; }
  bool pollable() const override { return true; }

  Result<size_t> Read(Caller& caller, mm::IoDst& dst, uint32_t) override {
    if (caller.task() != nullptr) TRY(kernel::CheckTerminalAccess(*caller.task(), *pty_, kernel::TerminalAccess::kRead));
    Nanos deadline = vtime_deadline_.load();
    Result<size_t> done = pty_->SlaveRead(dst, deadline);
    const Nanos before = vtime_deadline_.exchange(deadline);
    if (deadline != 0 && deadline != before) Alarm(deadline);
    return done;
  }
  Result<size_t> Write(Caller& caller, mm::IoSrc& src, uint32_t) override {
    if (caller.task() != nullptr && pty_->ToStop()) TRY(kernel::CheckTerminalAccess(*caller.task(), *pty_, kernel::TerminalAccess::kWrite));
    return pty_->SlaveWrite(src);
  }
  wait::EventMask Readiness(wait::EventMask mask) override { return pty_->SlaveReadiness() & (mask | abi::kPollHup | abi::kPollErr); }
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override { pty_->slave_queue().Register(entry, mask); }
  void EventUnregister(wait::WaitEntry& entry) override { pty_->slave_queue().Unregister(entry); }
  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) override {
    return pty_->Ioctl(caller, memory, command, argument, false);
  }

 private:
  // VTIME: wakes the readers when it is over; they look at the clock themselves.
  void Alarm(Nanos at) {
    absl::MutexLock lock(&timer_mu_);
    if (!timer_) timer_ = std::make_unique<time::Timer>(pty_->kernel().timers(), [this] { pty_->slave_queue().Notify(abi::kPollIn); });
    timer_->Arm(Deadline::At(at));
  }
  const Ref<Pty> pty_;
  std::atomic<Nanos> vtime_deadline_{0};
  absl::Mutex timer_mu_;
  std::unique_ptr<time::Timer> timer_ ABSL_GUARDED_BY(timer_mu_);
};

class SlaveInode final : public vfs::Inode {
 public:
  SlaveInode(Ref<vfs::Filesystem> fs, Ref<Pty> pty, uint32_t permissions, abi::Uid uid, abi::Gid gid)
      : Inode(std::move(fs), kFirstSlaveInode + pty->index(), vfs::FileType::kCharDevice), pty_(std::move(pty)) {
    attr_.type = type();
    attr_.permissions = permissions;
    attr_.ino = ino();
    attr_.uid = uid;
    attr_.gid = gid;
    attr_.rdev = pty_->terminal_device();
    attr_.block_size = 1024;
    attr_.atime = attr_.mtime = attr_.ctime = RealtimeNow();
  }
  Result<vfs::Attr> GetAttr(const Caller&) override {
    absl::MutexLock lock(&mu_);
    return attr_;
  }
  Result<void> SetAttr(const Caller&, const vfs::AttrChange& change) override {
    absl::MutexLock lock(&mu_);
    if (change.permissions) attr_.permissions = *change.permissions;
    if (change.uid) attr_.uid = *change.uid;
    if (change.gid) attr_.gid = *change.gid;
    if (change.atime) attr_.atime = *change.atime;
    if (change.mtime) attr_.mtime = *change.mtime;
    attr_.ctime = RealtimeNow();
    return Ok();
  }
  bool OpensItself() const override { return true; }
  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override {
    TRY(pty_->SlaveOpened());
    Ref<vfs::FileDescription> file = MakeRef<SlaveFile>(path, flags, pty_);
    if ((flags & abi::kONoctty) == 0 && caller.task() != nullptr) {
      // Only a session leader without a terminal gets it; for everybody else opening is just opening.
      (void)kernel::AcquireTerminal(*caller.task(), pty_, false);
    }
    return file;
  }

 private:
  const Ref<Pty> pty_;
  absl::Mutex mu_;
  vfs::Attr attr_ ABSL_GUARDED_BY(mu_);
};

class DevptsFilesystem final : public vfs::Filesystem {
 public:
  DevptsFilesystem(kernel::Kernel& kernel, uint32_t mode, abi::Gid gid) : Filesystem("devpts"), kernel_(kernel), mode_(mode), gid_(gid) {}
  Ref<vfs::Inode> root() override;
  Result<vfs::FsStats> StatFs(const Caller&) override {
    vfs::FsStats stats;
    stats.magic = kDevptsMagic;
    return stats;
  }
  std::string Options() const override {
    char text[64];
    std::snprintf(text, sizeof(text), "gid=%u,mode=%o,ptmxmode=666", gid_, mode_);
    return text;
  }

  // A new pty, its slave owned by the caller.
  Result<Ref<vfs::FileDescription>> NewMaster(Caller& caller, vfs::Path path, uint32_t flags) {
    uint32_t index = 0;
    RefPtr<Pty> pty;
    {
      absl::MutexLock lock(&mu_);
      while (slaves_.contains(index)) ++index;
      if (index >= kMaxPtys) return Errno::kENOSPC;
      pty = MakeRef<Pty>(kernel_, index);
      slaves_.emplace(index, MakeRef<SlaveInode>(ShareRef(this), pty.ToRef(), mode_, caller.creds().fsuid, gid_));
    }
    // How TIOCGPTPEER and /dev/tty come to the slave: by its node on the mount the master was opened through.
    const vfs::Path where = path;
    const Ref<vfs::Inode> slave = *Find(index);
    pty->SetReopen([where, slave](Caller& opener, uint32_t slave_flags) -> Result<Ref<vfs::FileDescription>> {
      const vfs::Path slave_path{where.mount, vfs::Dentry::NewAnonymous(slave, "/dev/pts/" + std::to_string(slave->ino() - kFirstSlaveInode))};
      return slave->Open(opener, slave_path, slave_flags);
    });
    return Ref<vfs::FileDescription>(MakeRef<MasterFile>(std::move(path), flags, pty.ToRef(), ShareRef(this)));
  }
  void Forget(uint32_t index) {
    RefPtr<vfs::Inode> dropped;
    absl::MutexLock lock(&mu_);
    const auto it = slaves_.find(index);
    if (it == slaves_.end()) return;
    dropped = it->second;
    slaves_.erase(it);
  }
  void Show(uint32_t index, Ref<vfs::Inode> terminal) {
    if (index >= kMaxPtys) return;
    absl::MutexLock lock(&mu_);
    slaves_.emplace(index, std::move(terminal));
  }
  std::optional<Ref<vfs::Inode>> Find(uint32_t index) {
    absl::MutexLock lock(&mu_);
    const auto it = slaves_.find(index);
    if (it == slaves_.end()) return std::nullopt;
    return it->second;
  }
  std::vector<uint32_t> Indices() {
    absl::MutexLock lock(&mu_);
    std::vector<uint32_t> out;
    for (const auto& [index, slave] : slaves_) out.push_back(index);
    return out;
  }

 private:
  kernel::Kernel& kernel_;
  const uint32_t mode_;
  const abi::Gid gid_;
  absl::Mutex mu_;
  std::map<uint32_t, Ref<vfs::Inode>> slaves_ ABSL_GUARDED_BY(mu_);
};

class FixedInode : public vfs::Inode {
 public:
  FixedInode(Ref<vfs::Filesystem> fs, uint64_t ino, vfs::FileType type, uint32_t permissions, uint64_t rdev) : Inode(std::move(fs), ino, type) {
    attr_.type = type;
    attr_.permissions = permissions;
    attr_.ino = ino;
    attr_.rdev = rdev;
    attr_.nlink = type == vfs::FileType::kDirectory ? 2 : 1;
    attr_.block_size = 1024;
    attr_.atime = attr_.mtime = attr_.ctime = RealtimeNow();
  }
  Result<vfs::Attr> GetAttr(const Caller&) override { return attr_; }

 private:
  vfs::Attr attr_;
};

class PtmxInode final : public FixedInode {
 public:
  explicit PtmxInode(Ref<DevptsFilesystem> fs) : FixedInode(fs, kPtmxInode, vfs::FileType::kCharDevice, 0666, abi::MakeDev(5, 2)), devpts_(std::move(fs)) {}
  bool OpensItself() const override { return true; }
  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override {
    return devpts_->NewMaster(caller, path, flags);
  }

 private:
  const Ref<DevptsFilesystem> devpts_;
};

class RootDescription final : public vfs::FileDescription {
 public:
  RootDescription(vfs::Path path, uint32_t flags, Ref<DevptsFilesystem> fs) : FileDescription(std::move(path), flags), fs_(std::move(fs)) {}
  Result<void> Iterate(Caller&, vfs::DirentSink& sink) override {
    absl::MutexLock lock(&position_mu_);
    uint64_t at = position_.load();
    // Offsets: 0 ".", 1 "..", 2 ptmx, 3+N slave N.
    const auto add = [&](std::string_view name, uint64_t ino, vfs::FileType type, uint64_t own) {
      if (at > own) return true;
      if (!sink.Add(name, ino, type, own + 1)) return false;
      at = own + 1;
      return true;
    };
    bool more = add(".", kRootInode, vfs::FileType::kDirectory, 0) && add("..", kRootInode, vfs::FileType::kDirectory, 1) &&
                add("ptmx", kPtmxInode, vfs::FileType::kCharDevice, 2);
    for (const uint32_t index : fs_->Indices()) {
      if (!more) break;
      more = add(std::to_string(index), kFirstSlaveInode + index, vfs::FileType::kCharDevice, 3 + index);
    }
    position_.store(at);
    return Ok();
  }
  Result<uint64_t> Seek(Caller&, int64_t offset, int whence) override {
    absl::MutexLock lock(&position_mu_);
    if (whence != abi::kSeekSet && whence != abi::kSeekCur) return Errno::kEINVAL;
    const int64_t to = offset + (whence == abi::kSeekCur ? static_cast<int64_t>(position_.load()) : 0);
    if (to < 0 || to > INT32_MAX) return Errno::kEINVAL;
    position_.store(static_cast<uint64_t>(to));
    return static_cast<uint64_t>(to);
  }

 private:
  const Ref<DevptsFilesystem> fs_;
};

class RootInode final : public FixedInode {
 public:
  explicit RootInode(Ref<DevptsFilesystem> fs)
      : FixedInode(fs, kRootInode, vfs::FileType::kDirectory, 0755, 0), devpts_(fs), ptmx_(MakeRef<PtmxInode>(std::move(fs))) {}
  vfs::CachePolicy cache_policy() const override { return vfs::CachePolicy::kRevalidate; }
  Result<bool> Revalidate(const Caller&, std::string_view name, vfs::Inode* child) override {
    if (name == "ptmx") return child != nullptr;
    const std::optional<Ref<vfs::Inode>> now = Slave(name);
    return child == (now ? now->get() : nullptr);
  }
  Result<RefPtr<vfs::Inode>> Lookup(const Caller&, std::string_view name, std::string_view) override {
    if (name == "ptmx") return RefPtr<vfs::Inode>(ptmx_);
    const std::optional<Ref<vfs::Inode>> slave = Slave(name);
    return slave ? RefPtr<vfs::Inode>(*slave) : RefPtr<vfs::Inode>(nullptr);
  }
  Result<Ref<vfs::FileDescription>> Open(Caller&, const vfs::Path& path, uint32_t flags) override {
    return Ref<vfs::FileDescription>(MakeRef<RootDescription>(path, flags, devpts_));
  }

 private:
  std::optional<Ref<vfs::Inode>> Slave(std::string_view name) const {
    uint32_t index = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
    if (error != std::errc() || end != name.data() + name.size() || (name.size() > 1 && name[0] == '0')) return std::nullopt;
    return devpts_->Find(index);
  }
  const Ref<DevptsFilesystem> devpts_;
  const Ref<vfs::Inode> ptmx_;
};

Ref<vfs::Inode> DevptsFilesystem::root() { return MakeRef<RootInode>(ShareRef(this)); }

MasterFile::MasterFile(vfs::Path path, uint32_t flags, Ref<Pty> pty, Ref<DevptsFilesystem> fs)
    : FileDescription(std::move(path), flags), pty_(std::move(pty)), fs_(std::move(fs)) {}

MasterFile::~MasterFile() {
  fs_->Forget(pty_->index());
  pty_->MasterClosed();
  pty_->SetReopen(nullptr);  // it holds the inode, which holds the pty
}

Result<uint64_t> MasterFile::Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) {
  if (command == abi::kTiocGptpeer) {
    if (caller.task() == nullptr) return Errno::kENOTTY;
    const auto flags = static_cast<uint32_t>(argument);
    Ref<vfs::FileDescription> slave = TRY(pty_->OpenTerminal(caller, flags));
    const Fd fd = TRY(caller.task()->fds().Install(std::move(slave), (flags & abi::kOCloexec) != 0, caller.limit(abi::Resource::kNofile)));
    return static_cast<uint64_t>(fd);
  }
  return pty_->Ioctl(caller, memory, command, argument, true);
}

// What /dev/ptmx outside devpts opens. Set once at boot.
struct DefaultDevpts {
  absl::Mutex mu;
  RefPtr<DevptsFilesystem> fs ABSL_GUARDED_BY(mu);
};
DefaultDevpts& Default() {
  static DefaultDevpts instance;
  return instance;
}

}  // namespace

Ref<vfs::Filesystem> NewDevpts(kernel::Kernel& kernel, uint32_t mode, abi::Gid gid) { return MakeRef<DevptsFilesystem>(kernel, mode, gid); }

void SetDefaultDevpts(Ref<vfs::Filesystem> devpts) {
  absl::MutexLock lock(&Default().mu);
  Default().fs = RefPtr<DevptsFilesystem>(Ref<DevptsFilesystem>::Share(dynamic_cast<DevptsFilesystem*>(devpts.get())));
}

void ShowHostTerminal(uint32_t index, Ref<vfs::Inode> terminal) {
  RefPtr<DevptsFilesystem> fs;
  {
    absl::MutexLock lock(&Default().mu);
    fs = Default().fs;
  }
  if (fs) fs->Show(index, std::move(terminal));
}

Result<Ref<vfs::FileDescription>> OpenDevPtmx(Caller& caller, const vfs::Path& path, uint32_t flags, void* /*driver*/) {
  RefPtr<DevptsFilesystem> fs;
  {
    absl::MutexLock lock(&Default().mu);
    fs = Default().fs;
  }
  if (!fs) return Errno::kENXIO;
  return fs->NewMaster(caller, path, flags);
}

Result<Ref<vfs::FileDescription>> OpenDevTty(Caller& caller, const vfs::Path& /*path*/, uint32_t flags, void* /*driver*/) {
  if (caller.task() == nullptr) return Errno::kENXIO;
  const RefPtr<RefCounted> object = kernel::ControllingTerminal(caller.task()->group());
  auto* terminal = dynamic_cast<vfs::Terminal*>(object.get());
  if (terminal == nullptr) return Errno::kENXIO;
  return terminal->OpenTerminal(caller, flags | abi::kONoctty);
}

}  // namespace rampart::fs::tty
