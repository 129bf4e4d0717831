#include "sentry/fs/pipe/pipe_file.h"

#include <string>

#include "absl/container/flat_hash_map.h"
#include "abi/ioctl.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

class PipeFilesystem final : public vfs::Filesystem {
 public:
  PipeFilesystem() : Filesystem("pipefs") {}
  Ref<vfs::Inode> root() override { return vfs::NewAnonymousInode(vfs::FileType::kDirectory, 0500, 0, 0); }
  Result<vfs::FsStats> StatFs(const Caller&) override {
    vfs::FsStats stats;
    stats.magic = 0x50495045;  // PIPEFS_MAGIC
    return stats;
  }
};

Ref<vfs::Filesystem> PipeFs() {
  static PipeFilesystem* const fs = MakeRef<PipeFilesystem>().Leak();
  return Ref<vfs::Filesystem>::Share(fs);
}

// The inode of an unnamed pipe; keeps the pipe, so that /proc/self/fd/N can be opened again.
class PipeInode final : public vfs::Inode {
 public:
  PipeInode(Ref<Pipe> pipe, abi::Uid uid, abi::Gid gid)
      : Inode(PipeFs(), vfs::NextInodeNumber(), vfs::FileType::kFifo), pipe_(std::move(pipe)), now_(RealtimeNow()), uid_(uid), gid_(gid) {}
  Result<vfs::Attr> GetAttr(const Caller&) override {
    absl::MutexLock lock(&mu_);
    vfs::Attr attr;
    attr.type = vfs::FileType::kFifo;
    attr.permissions = permissions_;
    attr.ino = ino();
    attr.uid = uid_;
    attr.gid = gid_;
    attr.atime = attr.mtime = attr.ctime = now_;
    return attr;
  }
  Result<void> SetAttr(const Caller&, const vfs::AttrChange& change) override {
    absl::MutexLock lock(&mu_);
    if (change.size) return Errno::kEINVAL;
    if (change.permissions) permissions_ = *change.permissions;
    if (change.uid) uid_ = *change.uid;
    if (change.gid) gid_ = *change.gid;
    return Ok();
  }
  const Ref<Pipe>& pipe() const { return pipe_; }

 private:
  const Ref<Pipe> pipe_;
  const Nanos now_;
  absl::Mutex mu_;
  uint32_t permissions_ ABSL_GUARDED_BY(mu_) = 0600;
  abi::Uid uid_ ABSL_GUARDED_BY(mu_);
  abi::Gid gid_ ABSL_GUARDED_BY(mu_);
};

// FIFO nodes that are open, by inode. Weak: a FifoPipe takes itself out.
class FifoTable;
class FifoPipe final : public Pipe {
 public:
  explicit FifoPipe(vfs::Inode* key) : key_(key) {}

 private:
  void OnLastRef() override;
  vfs::Inode* const key_;  // only compared
};
class FifoTable {
 public:
  static FifoTable& Get() {
    static FifoTable* const table = new FifoTable;
    return *table;
  }
  Ref<Pipe> FindOrMake(vfs::Inode& inode) {
    absl::MutexLock lock(&mu_);
    FifoPipe*& slot = pipes_[&inode];
    if (RefPtr<FifoPipe> found = TryRef(slot)) return std::move(found).ToRef();
    Ref<FifoPipe> made = MakeRef<FifoPipe>(&inode);
    slot = made.get();
    return made;
  }
  void Forget(vfs::Inode* key, FifoPipe* pipe) {
    absl::MutexLock lock(&mu_);
    const auto it = pipes_.find(key);
    if (it != pipes_.end() && it->second == pipe) pipes_.erase(it);
  }

 private:
  absl::Mutex mu_;
  absl::flat_hash_map<vfs::Inode*, FifoPipe*> pipes_ ABSL_GUARDED_BY(mu_);
};

void FifoPipe::OnLastRef() {
  FifoTable::Get().Forget(key_, this);
  Pipe::OnLastRef();
}

bool Reads(uint32_t flags) { return (flags & abi::kOAccMode) != abi::kOWrOnly; }
bool Writes(uint32_t flags) { return (flags & abi::kOAccMode) != abi::kORdOnly; }

}  // namespace

PipeFile::PipeFile(vfs::Path path, uint32_t flags, Ref<Pipe> pipe, bool fifo)
    : FileDescription(std::move(path), flags), pipe_(std::move(pipe)), is_reader_(Reads(flags)), is_writer_(Writes(flags)) {
  const Pipe::Ends before = pipe_->ends();
  if (fifo && is_reader_ && !is_writer_ && before.writers == 0) {
    if ((flags & abi::kONonblock) != 0) {
      hangup_from_ = before.writer_openings;
    } else {
      awaited_writers_ = before.writer_openings;
    }
  }
  if (fifo && is_writer_ && !is_reader_ && before.readers == 0) awaited_readers_ = before.reader_openings;
  pipe_->AddEnds(is_reader_, is_writer_);
}

PipeFile::~PipeFile() { pipe_->RemoveEnds(is_reader_, is_writer_); }

Result<size_t> PipeFile::Read(Caller&, mm::IoDst& dst, uint32_t) { return pipe_->Read(dst); }

Result<size_t> PipeFile::Write(Caller&, mm::IoSrc& src, uint32_t) { return pipe_->Write(src, (flags() & abi::kODirect) != 0); }

Result<uint64_t> PipeFile::Seek(Caller&, int64_t, int) { return Errno::kESPIPE; }

wait::EventMask PipeFile::Readiness(wait::EventMask mask) {
  return pipe_->Readiness(is_reader_, is_writer_, hangup_from_) & (mask | abi::kPollErr | abi::kPollHup);
}

void PipeFile::EventRegister(wait::WaitEntry& entry, wait::EventMask mask) { pipe_->queue().Register(entry, mask); }
void PipeFile::EventUnregister(wait::WaitEntry& entry) { pipe_->queue().Unregister(entry); }

Result<void> PipeFile::FinishOpen(Caller&) {
  constexpr uint64_t kNobody = ~uint64_t{0};
  if (awaited_readers_ == kNobody && awaited_writers_ == kNobody) return Ok();
  const Pipe::Ends now = pipe_->ends();
  if (awaited_readers_ != kNobody && now.reader_openings == awaited_readers_) return Errno::kEAGAIN;
  if (awaited_writers_ != kNobody && now.writer_openings == awaited_writers_) return Errno::kEAGAIN;
  return Ok();
}

Result<uint64_t> PipeFile::Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) {
  if (command != abi::kFionread) return FileDescription::Ioctl(caller, memory, command, argument);
  TRY(memory.CopyOut(UserOut<int32_t>(argument), static_cast<int32_t>(pipe_->bytes())));
  return uint64_t{0};
}

Result<uint64_t> PipeFile::Fcntl(Caller& caller, uint32_t command, uint64_t argument) {
  if (command == abi::kFGetPipeSize) return pipe_->capacity();
  if (command != abi::kFSetPipeSize) return FileDescription::Fcntl(caller, command, argument);
  return pipe_->SetCapacity(static_cast<uint32_t>(argument), caller.creds().HasCapability(abi::Capability::kSysResource));
}

Result<std::pair<Ref<PipeFile>, Ref<PipeFile>>> NewPipe(Caller& caller, uint32_t flags) {
  const uint32_t kept = flags & abi::kONonblock;
  Ref<Pipe> pipe = MakeRef<Pipe>();
  Ref<vfs::Inode> inode = MakeRef<PipeInode>(pipe, caller.creds().fsuid, caller.creds().fsgid);
  const vfs::Path path = vfs::NewAnonymousPath(inode, "pipe:[" + std::to_string(inode->ino()) + "]");
  Ref<PipeFile> reader = MakeRef<PipeFile>(path, abi::kORdOnly | kept, pipe, false);
  Ref<PipeFile> writer = MakeRef<PipeFile>(path, abi::kOWrOnly | kept | (flags & abi::kODirect), pipe, false);
  return std::pair(std::move(reader), std::move(writer));
}

Result<Ref<vfs::FileDescription>> OpenFifo(Caller&, const vfs::Path& path, uint32_t flags) {
  const RefPtr<vfs::Inode> inode = path.dentry->inode();
  if (!inode) return Errno::kENOENT;
  if ((flags & abi::kOAccMode) == abi::kOAccMode) return Errno::kEINVAL;
  auto* const unnamed = dynamic_cast<PipeInode*>(inode.get());
  Ref<Pipe> pipe = unnamed != nullptr ? unnamed->pipe() : FifoTable::Get().FindOrMake(*inode);
  const bool fifo = unnamed == nullptr;
  const bool only_writes = Writes(flags) && !Reads(flags);
  if (fifo && only_writes && (flags & abi::kONonblock) != 0 && pipe->ends().readers == 0) return Errno::kENXIO;
  return Ref<vfs::FileDescription>(MakeRef<PipeFile>(path, flags, std::move(pipe), fifo));
}

void RegisterPipes() { vfs::RegisterFifoOpener(&OpenFifo); }

}  // namespace rampart::fs
