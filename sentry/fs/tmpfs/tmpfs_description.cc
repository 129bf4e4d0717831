#include "sentry/fs/tmpfs/tmpfs_file.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {


class TmpfsDescription final : public vfs::FileDescription {
 public:
  TmpfsDescription(Ref<TmpfsFile> file, vfs::Path path, uint32_t flags) : FileDescription(std::move(path), flags), file_(std::move(file)) {}

  Result<size_t> PRead(Caller&, mm::IoDst& dst, uint64_t offset, uint32_t) override {
    Result<size_t> n = file_->ReadAt(dst, offset);
    file_->TouchAccess(*this);  // also when nothing could be given
    return n;
  }
  Result<size_t> PWrite(Caller& caller, mm::IoSrc& src, uint64_t offset, uint32_t rwf, uint64_t* end) override {
    const bool append = abi::Appends(flags(), rwf);
    uint64_t ended = offset;
    const size_t n = TRY(file_->WriteAt(src, offset, append, ended));
    if (end != nullptr) *end = ended;
    if (n > 0) TRY(vfs::DropPrivilegeBits(caller, *file_));
    return n;
  }
  Result<uint64_t> Seek(Caller& caller, int64_t offset, int whence) override {
    if (whence != abi::kSeekData && whence != abi::kSeekHole) return FileDescription::Seek(caller, offset, whence);
    absl::MutexLock lock(&position_mu_);
    if (offset < 0) return Errno::kENXIO;
    const uint64_t found = TRY(file_->SeekData(static_cast<uint64_t>(offset), whence == abi::kSeekData));
    position_.store(found, std::memory_order_relaxed);
    return found;
  }
  Result<void> ConfigureMMap(const Caller&, mm::MMapArgs& args) override {
    // A memfd that is sealed against writing can still be mapped shared, for reading for ever.
    if (args.shared && (file_->seals() & (kSealWrite | kSealFutureWrite)) != 0) {
      if (platform::Any(args.prot & platform::Prot::kWrite)) return Errno::kEPERM;
      args.max_prot = args.max_prot & ~platform::Prot::kWrite;
    }
    TRY(vfs::ConfigureFileMMap(*this, args, file_));
    file_->TouchAccess(*this);  // a mapping is an access
    return Ok();
  }
  Result<void> Allocate(const Caller&, uint32_t mode, uint64_t offset, uint64_t length) override { return file_->Allocate(mode, offset, length); }
  Result<uint64_t> Fcntl(Caller& caller, uint32_t command, uint64_t argument) override {
    if (command == abi::kFGetSeals) return uint64_t{file_->seals()};
    if (command != abi::kFAddSeals || !writable()) return FileDescription::Fcntl(caller, command, argument);
    if ((argument & ~uint64_t{kSealSeal | kSealShrink | kSealGrow | kSealWrite | kSealFutureWrite | kSealExec}) != 0) return Errno::kEINVAL;
    TRY(file_->AddSeals(static_cast<uint32_t>(argument)));
    return uint64_t{0};
  }

 private:
  const Ref<TmpfsFile> file_;
};

// memfd_secret(2): memory that is only there for those who map it. Its size is set once.
class SecretDescription final : public vfs::FileDescription {
 public:
  SecretDescription(Ref<TmpfsFile> file, vfs::Path path) : FileDescription(std::move(path), abi::kORdWr), file_(std::move(file)) {}
  bool seekable() const override { return false; }
  bool has_read() const override { return false; }
  bool has_write() const override { return false; }
  Result<size_t> Read(Caller&, mm::IoDst&, uint32_t) override { return Errno::kEINVAL; }
  Result<size_t> Write(Caller&, mm::IoSrc&, uint32_t) override { return Errno::kEINVAL; }
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return Errno::kESPIPE; }
  Result<void> ConfigureMMap(const Caller&, mm::MMapArgs& args) override {
    if (!args.shared) return Errno::kEINVAL;
    args.locked = true;
    return vfs::ConfigureFileMMap(*this, args, file_);
  }
  Result<void> Truncate(Caller& caller, uint64_t size) override {
    if (file_->size() != 0) return Errno::kEINVAL;
    return FileDescription::Truncate(caller, size);
  }

 private:
  const Ref<TmpfsFile> file_;
};

// The instance that unnamed memory files belong to, one per memory file (in practice one).
Ref<Tmpfs> MemfdFilesystem(const Ref<mm::MemoryFile>& memory) {
  static absl::Mutex mu(absl::kConstInit);
  static RefPtr<Tmpfs>* const instance = new RefPtr<Tmpfs>;
  absl::MutexLock lock(&mu);
  if (*instance == nullptr || !((*instance)->memory() == memory)) {
    *instance = MakeRef<Tmpfs>(memory, TmpfsOptions{.inodes = 0}, "tmpfs");
  }
  return instance->ToRef();
}

}  // namespace

Result<Ref<vfs::FileDescription>> TmpfsFile::Open(Caller&, const vfs::Path& path, uint32_t flags) {
  return Ref<vfs::FileDescription>(MakeRef<TmpfsDescription>(ShareRef(this), path, flags));
}

Result<Ref<vfs::FileDescription>> NewMemfd(Caller& caller, const Ref<mm::MemoryFile>& memory, std::string_view name, uint32_t flags) {
  const Ref<Tmpfs> fs = MemfdFilesystem(memory);
  vfs::CreateArgs args;
  args.permissions = (flags & kMfdNoexecSeal) != 0 ? 0666 : 0777;
  args.uid = caller.creds().fsuid;
  args.gid = caller.creds().fsgid;
  Ref<TmpfsInode> inode = TRY(fs->NewInode(args));
  inode->AddLinks(-1);
  auto& file = dynamic_cast<TmpfsFile&>(*inode);
  if ((flags & kMfdNoexecSeal) != 0) {
    file.InitSeals(kSealExec);
  } else if ((flags & kMfdAllowSealing) != 0) {
    file.InitSeals(0);
  }
  const vfs::Path path = vfs::NewAnonymousPath(inode, "/memfd:" + std::string(name) + " (deleted)");
  Ref<vfs::FileDescription> description = TRY(inode->Open(caller, path, abi::kORdWr | abi::kOLargefile));
  TRY(inode->AcquireWriteAccess());
  TRY(description->path().mount->AcquireWrite());
  description->AdoptWriteAccess();
  return description;
}

Result<Ref<vfs::FileDescription>> NewSecretMemory(Caller& caller, const Ref<mm::MemoryFile>& memory) {
  vfs::CreateArgs args;
  args.permissions = 0600;
  args.uid = caller.creds().fsuid;
  args.gid = caller.creds().fsgid;
  Ref<TmpfsInode> inode = TRY(MemfdFilesystem(memory)->NewInode(args));
  inode->AddLinks(-1);
  auto& file = dynamic_cast<TmpfsFile&>(*inode);
  file.MarkSecret();
  const vfs::Path path = vfs::NewAnonymousPath(inode, "/secretmem (deleted)");
  return Ref<vfs::FileDescription>(MakeRef<SecretDescription>(ShareRef(&file), path));
}

}  // namespace rampart::fs
