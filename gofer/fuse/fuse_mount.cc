#include "gofer/fuse/fuse_mount.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace rampart::gofer {
namespace {

constexpr FidNum kRootFid{0};

timespec ToTimespec(const WireTime& time) { return {time.sec, static_cast<long>(time.nsec)}; }

struct stat ToStat(const FileAttr& attr) {
  struct stat st {};
  st.st_mode = attr.mode;
  st.st_uid = attr.uid;
  st.st_gid = attr.gid;
  st.st_nlink = attr.nlink;
  st.st_ino = attr.ino;
  st.st_size = static_cast<off_t>(attr.size);
  st.st_blocks = static_cast<blkcnt_t>(attr.blocks);
  st.st_blksize = static_cast<blksize_t>(attr.blksize);
  st.st_rdev = makedev(attr.rdev_major, attr.rdev_minor);
  st.st_atim = ToTimespec(attr.atime);
  st.st_mtim = ToTimespec(attr.mtime);
  st.st_ctim = ToTimespec(attr.ctime);
  return st;
}

// A node: the kernel's number for it is the object's address.
struct FuseNode {
  FidNum fid{};
  uint64_t lookups = 0;  // guarded by State::mutex
  uint64_t device = 0, ino = 0;
};

struct OpenDirectory {
  std::vector<std::pair<std::string, struct stat>> entries;
};

}  // namespace

struct FuseMount::State {
  std::unique_ptr<Client> client;
  Options options;
  std::string where;
  fuse_session* session = nullptr;
  bool mounted = false;
  FuseNode root{kRootFid, 1};

  absl::Mutex mutex;
  // One node for each file, so that hard links are one to the kernel too.
  absl::flat_hash_map<std::pair<uint64_t, uint64_t>, FuseNode*> nodes ABSL_GUARDED_BY(mutex);

  // The node of a file just looked up; takes over `fid`.
  FuseNode* NodeFor(const FileAttr& attr, FidNum fid) {
    const std::pair<uint64_t, uint64_t> key(makedev(attr.dev_major, attr.dev_minor), attr.ino);
    FidNum spare = kNoFid;
    FuseNode* node = nullptr;
    {
      absl::MutexLock lock(&mutex);
      FuseNode*& slot = nodes[key];
      if (slot == nullptr) {
        slot = new FuseNode{fid, 0, key.first, key.second};
      } else {
        spare = fid;
      }
      node = slot;
      ++node->lookups;
    }
    client->Clunk(spare);
    return node;
  }

  void Forget(FuseNode* node, uint64_t count) {
    if (node == &root) return;
    {
      absl::MutexLock lock(&mutex);
      node->lookups -= std::min(count, node->lookups);
      if (node->lookups != 0) return;
      nodes.erase({node->device, node->ino});
    }
    client->Clunk(node->fid);
    delete node;
  }
};

namespace {

FuseMount::State& StateOf(fuse_req_t request) { return *static_cast<FuseMount::State*>(fuse_req_userdata(request)); }

FuseNode* NodeOf(fuse_req_t request, fuse_ino_t ino) {
  // SAFETY: the kernel gives back only numbers that NodeFor made, and FUSE_ROOT_ID.
  return ino == FUSE_ROOT_ID ? &StateOf(request).root : reinterpret_cast<FuseNode*>(ino);
}
FidNum FidOf(fuse_req_t request, fuse_ino_t ino) { return NodeOf(request, ino)->fid; }

void Fail(fuse_req_t request, Errno error) { fuse_reply_err(request, static_cast<int>(error)); }

void ReplyDone(fuse_req_t request, const Result<void>& result) { fuse_reply_err(request, result.ok() ? 0 : static_cast<int>(result.error())); }

// Makes a call whose reply holds nothing.
template <class Request>
Result<void> Do(fuse_req_t request, const Request& message) {
  TRY(StateOf(request).client->Call(message));
  return Ok();
}

fuse_entry_param EntryFor(FuseMount::State& state, const FileAttr& attr, FidNum fid) {
  fuse_entry_param entry{};
  // SAFETY: see NodeOf.
  entry.ino = reinterpret_cast<fuse_ino_t>(state.NodeFor(attr, fid));
  entry.attr = ToStat(attr);
  entry.attr_timeout = entry.entry_timeout = state.options.cache_seconds;
  return entry;
}

// Calls `make` with a new fid; it returns the attributes of what the fid is then bound to.
template <class Make>
Result<fuse_entry_param> NewEntry(fuse_req_t request, Make make) {
  FuseMount::State& state = StateOf(request);
  const FidNum fid = TRY(state.client->NewFid());
  Result<FileAttr> attr = make(fid);
  if (!attr.ok()) {
    state.client->ReturnUnused(fid);
    return attr.error();
  }
  if (!IsValid(*attr)) return Errno::kEIO;
  return EntryFor(state, *attr, fid);
}

void ReplyEntry(fuse_req_t request, const Result<fuse_entry_param>& entry) {
  if (!entry.ok()) return Fail(request, entry.error());
  fuse_reply_entry(request, &*entry);
}

template <class Request>
Result<FileAttr> CallForAttr(fuse_req_t request, const Request& message) {
  return TRY(StateOf(request).client->Call(message))->attr;
}

void Lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  ReplyEntry(request, NewEntry(request, [&](FidNum fid) -> Result<FileAttr> {
               const auto walked = TRY(StateOf(request).client->Call(Tewalk{FidOf(request, parent), {{fid, name}}}));
               if (walked->attrs.size() == 1) return walked->attrs[0];
               return walked->end == WalkEnd::kMissing ? Errno::kENOENT : ErrnoFromHost(static_cast<int>(walked->ecode));
             }));
}

void Forget(fuse_req_t request, fuse_ino_t ino, uint64_t count) {
  StateOf(request).Forget(NodeOf(request, ino), count);
  fuse_reply_none(request);
}

void ReplyAttr(fuse_req_t request, const Result<FileAttr>& attr) {
  if (!attr.ok()) return Fail(request, attr.error());
  const struct stat st = ToStat(*attr);
  fuse_reply_attr(request, &st, StateOf(request).options.cache_seconds);
}

void GetAttr(fuse_req_t request, fuse_ino_t ino, fuse_file_info*) {
  ReplyAttr(request, CallForAttr(request, Tegetattr{FidOf(request, ino)}));
}

void ChangeAttr(fuse_req_t request, fuse_ino_t ino, struct stat* st, int what, fuse_file_info*) {
  SetAttr set;
  set.mode = st->st_mode;
  set.uid = st->st_uid;
  set.gid = st->st_gid;
  set.size = static_cast<uint64_t>(st->st_size);
  set.atime_sec = st->st_atim.tv_sec;
  set.atime_nsec = static_cast<uint64_t>(st->st_atim.tv_nsec);
  set.mtime_sec = st->st_mtim.tv_sec;
  set.mtime_nsec = static_cast<uint64_t>(st->st_mtim.tv_nsec);
  const auto map = [&](int fuse_bit, uint32_t bits) { set.valid |= (what & fuse_bit) != 0 ? bits : 0; };
  map(FUSE_SET_ATTR_MODE, kSetMode);
  map(FUSE_SET_ATTR_UID, kSetUid);
  map(FUSE_SET_ATTR_GID, kSetGid);
  map(FUSE_SET_ATTR_SIZE, kSetSize);
  map(FUSE_SET_ATTR_ATIME, kSetAtime | kSetAtimeValue);
  map(FUSE_SET_ATTR_MTIME, kSetMtime | kSetMtimeValue);
  if ((what & FUSE_SET_ATTR_ATIME_NOW) != 0) set.valid = (set.valid | kSetAtime) & ~kSetAtimeValue;
  if ((what & FUSE_SET_ATTR_MTIME_NOW) != 0) set.valid = (set.valid | kSetMtime) & ~kSetMtimeValue;
  ReplyAttr(request, CallForAttr(request, Tesetattr{FidOf(request, ino), set}));
}

void ReadLink(fuse_req_t request, fuse_ino_t ino) {
  std::string target;
  {
    const auto reply = StateOf(request).client->Call(Treadlink{FidOf(request, ino)});
    if (!reply.ok()) return Fail(request, reply.error());
    target = (*reply)->target;
  }
  fuse_reply_readlink(request, target.c_str());
}

void MakeNode(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) {
  const fuse_ctx* who = fuse_req_ctx(request);
  ReplyEntry(request, NewEntry(request, [&](FidNum fid) {
               return CallForAttr(request, Temknod{FidOf(request, parent), fid, name, mode, major(device), minor(device), who->uid, who->gid});
             }));
}

void MakeDirectory(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  const fuse_ctx* who = fuse_req_ctx(request);
  ReplyEntry(request, NewEntry(request, [&](FidNum fid) {
               return CallForAttr(request, Temkdir{FidOf(request, parent), fid, name, mode, who->uid, who->gid});
             }));
}

void MakeSymlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  const fuse_ctx* who = fuse_req_ctx(request);
  ReplyEntry(request, NewEntry(request, [&](FidNum fid) {
               return CallForAttr(request, Tesymlink{FidOf(request, parent), fid, name, target, who->uid, who->gid});
             }));
}

void Unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  ReplyDone(request, Do(request, Tunlinkat{FidOf(request, parent), name, 0}));
}
void RemoveDirectory(fuse_req_t request, fuse_ino_t parent, const char* name) {
  constexpr uint32_t kRemoveDir = 0x200;
  ReplyDone(request, Do(request, Tunlinkat{FidOf(request, parent), name, kRemoveDir}));
}
void Rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent, const char* new_name, unsigned flags) {
  ReplyDone(request, Do(request, Terename{FidOf(request, parent), name, FidOf(request, new_parent), new_name, flags}));
}

void Link(fuse_req_t request, fuse_ino_t ino, fuse_ino_t new_parent, const char* new_name) {
  const auto attr = CallForAttr(request, Telink{FidOf(request, new_parent), FidOf(request, ino), new_name});
  if (!attr.ok()) return Fail(request, attr.error());
  const fuse_entry_param entry = EntryFor(StateOf(request), *attr, kNoFid);  // the node exists: the kernel named it
  fuse_reply_entry(request, &entry);
}

void Open(fuse_req_t request, fuse_ino_t ino, fuse_file_info* info) {
  UniqueFd fd;
  {
    auto opened = StateOf(request).client->Call(Teopen{FidOf(request, ino), static_cast<uint32_t>(info->flags)});
    auto donated = opened.ok() ? opened->TakeFd() : Result<UniqueFd>(opened.error());
    if (!donated.ok()) return Fail(request, donated.error());
    fd = std::move(*donated);
  }
  info->fh = static_cast<uint64_t>(fd.Release());
  if (fuse_reply_open(request, info) != 0) UniqueFd(static_cast<int>(info->fh)).Reset();
}

void Create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* info) {
  const fuse_ctx* who = fuse_req_ctx(request);
  UniqueFd fd;
  const auto entry = NewEntry(request, [&](FidNum fid) -> Result<FileAttr> {
    const auto flags = static_cast<uint32_t>(info->flags);
    auto made = TRY(StateOf(request).client->Call(Tecreate{FidOf(request, parent), fid, name, flags, mode, who->uid, who->gid}));
    fd = TRY(made.TakeFd());
    return made->attr;
  });
  if (!entry.ok()) return Fail(request, entry.error());
  info->fh = static_cast<uint64_t>(fd.Release());
  fuse_reply_create(request, &*entry, info);
}

int FdOf(const fuse_file_info* info) { return static_cast<int>(info->fh); }

// As FUSE_BUFVEC_INIT, which is C.
fuse_bufvec OneBuffer(size_t size) {
  fuse_bufvec vector{};
  vector.count = 1;
  vector.buf[0].size = size;
  vector.buf[0].fd = -1;
  return vector;
}

void Read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  fuse_bufvec data = OneBuffer(size);
  data.buf[0].flags = static_cast<fuse_buf_flags>(FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK);
  data.buf[0].fd = FdOf(info);
  data.buf[0].pos = offset;
  fuse_reply_data(request, &data, FUSE_BUF_SPLICE_MOVE);
}

void Write(fuse_req_t request, fuse_ino_t, fuse_bufvec* from, off_t offset, fuse_file_info* info) {
  fuse_bufvec to = OneBuffer(fuse_buf_size(from));
  to.buf[0].flags = static_cast<fuse_buf_flags>(FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK);
  to.buf[0].fd = FdOf(info);
  to.buf[0].pos = offset;
  const ssize_t n = fuse_buf_copy(&to, from, static_cast<fuse_buf_copy_flags>(0));
  if (n < 0) {
    fuse_reply_err(request, static_cast<int>(-n));
  } else {
    fuse_reply_write(request, static_cast<size_t>(n));
  }
}

void Release(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  UniqueFd(FdOf(info)).Reset();
  fuse_reply_err(request, 0);
}

void Sync(fuse_req_t request, fuse_ino_t, int data_only, fuse_file_info* info) {
  fuse_reply_err(request, (data_only != 0 ? ::fdatasync(FdOf(info)) : ::fsync(FdOf(info))) == 0 ? 0 : errno);
}

void Allocate(fuse_req_t request, fuse_ino_t, int mode, off_t offset, off_t length, fuse_file_info* info) {
  fuse_reply_err(request, ::fallocate(FdOf(info), mode, offset, length) == 0 ? 0 : errno);
}

void OpenDir(fuse_req_t request, fuse_ino_t ino, fuse_file_info* info) {
  auto directory = std::make_unique<OpenDirectory>();
  uint8_t restart = 1;
  for (bool end = false; !end; restart = 0) {
    const auto reply = StateOf(request).client->Call(Tereaddir{FidOf(request, ino), restart, 0});
    if (!reply.ok()) return Fail(request, reply.error());
    end = (*reply)->end != 0;
    for (const EntryAttr& entry : (*reply)->entries) {
      struct stat st {};
      st.st_ino = entry.ino;
      st.st_mode = static_cast<mode_t>(entry.type) << 12;  // DT_* are the file-type bits
      directory->entries.emplace_back(std::string(entry.name), st);
    }
  }
  // SAFETY: ReadDir and ReleaseDir get the same number back.
  info->fh = reinterpret_cast<uint64_t>(directory.release());
  fuse_reply_open(request, info);
}

void ReadDir(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  const auto& entries = reinterpret_cast<const OpenDirectory*>(info->fh)->entries;
  std::vector<char> buffer(size);
  size_t used = 0;
  for (auto i = static_cast<size_t>(offset); i < entries.size(); ++i) {
    const size_t n = fuse_add_direntry(request, buffer.data() + used, size - used, entries[i].first.c_str(), &entries[i].second,
                                       static_cast<off_t>(i + 1));
    if (n > size - used) break;
    used += n;
  }
  fuse_reply_buf(request, buffer.data(), used);
}

void ReleaseDir(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  delete reinterpret_cast<OpenDirectory*>(info->fh);
  fuse_reply_err(request, 0);
}

void SyncDir(fuse_req_t request, fuse_ino_t ino, int data_only, fuse_file_info*) {
  ReplyDone(request, Do(request, Tesync{FidOf(request, ino), data_only != 0 ? SyncKind::kData : SyncKind::kFile}));
}

void StatFs(fuse_req_t request, fuse_ino_t ino) {
  struct statvfs out {};
  {
    const auto reply = StateOf(request).client->Call(Tstatfs{FidOf(request, ino)});
    if (!reply.ok()) return Fail(request, reply.error());
    out.f_bsize = out.f_frsize = (*reply)->bsize;
    out.f_blocks = (*reply)->blocks;
    out.f_bfree = (*reply)->bfree;
    out.f_bavail = (*reply)->bavail;
    out.f_files = (*reply)->files;
    out.f_ffree = (*reply)->ffree;
    out.f_namemax = (*reply)->namelen;
  }
  fuse_reply_statfs(request, &out);
}

// getxattr and listxattr: the bytes, or only how many when the caller has no room yet.
void ReplyBytes(fuse_req_t request, Bytes bytes, size_t room) {
  if (room == 0) {
    fuse_reply_xattr(request, bytes.size());
  } else if (bytes.size() > room) {
    fuse_reply_err(request, ERANGE);
  } else {
    // SAFETY: any byte is a char.
    fuse_reply_buf(request, reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
}

void GetXattr(fuse_req_t request, fuse_ino_t ino, const char* name, size_t size) {
  const auto reply = StateOf(request).client->Call(Tegetxattr{FidOf(request, ino), name});
  if (!reply.ok()) return Fail(request, reply.error());
  ReplyBytes(request, (*reply)->value.bytes, size);
}
void SetXattr(fuse_req_t request, fuse_ino_t ino, const char* name, const char* value, size_t size, int flags) {
  const Bytes bytes = std::as_bytes(std::span(value, size));
  ReplyDone(request, Do(request, Tesetxattr{FidOf(request, ino), name, {bytes}, static_cast<uint32_t>(flags)}));
}
void ListXattr(fuse_req_t request, fuse_ino_t ino, size_t size) {
  const auto reply = StateOf(request).client->Call(Telistxattr{FidOf(request, ino)});
  if (!reply.ok()) return Fail(request, reply.error());
  ReplyBytes(request, (*reply)->names.bytes, size);
}
void RemoveXattr(fuse_req_t request, fuse_ino_t ino, const char* name) {
  ReplyDone(request, Do(request, Teremovexattr{FidOf(request, ino), name}));
}

fuse_lowlevel_ops Operations() {
  fuse_lowlevel_ops ops{};
  ops.lookup = Lookup;
  ops.forget = Forget;
  ops.getattr = GetAttr;
  ops.setattr = ChangeAttr;
  ops.readlink = ReadLink;
  ops.mknod = MakeNode;
  ops.mkdir = MakeDirectory;
  ops.unlink = Unlink;
  ops.rmdir = RemoveDirectory;
  ops.symlink = MakeSymlink;
  ops.rename = Rename;
  ops.link = Link;
  ops.open = Open;
  ops.create = Create;
  ops.read = Read;
  ops.write_buf = Write;
  ops.release = Release;
  ops.fsync = Sync;
  ops.fallocate = Allocate;
  ops.opendir = OpenDir;
  ops.readdir = ReadDir;
  ops.releasedir = ReleaseDir;
  ops.fsyncdir = SyncDir;
  ops.statfs = StatFs;
  ops.getxattr = GetXattr;
  ops.setxattr = SetXattr;
  ops.listxattr = ListXattr;
  ops.removexattr = RemoveXattr;
  return ops;
}

}  // namespace

FuseMount::FuseMount(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<FuseMount>> FuseMount::Create(std::unique_ptr<Client> client, const std::string& where, const Options& options) {
  auto state = std::make_unique<State>();
  state->client = std::move(client);
  state->options = options;
  state->where = where;
  {
    const auto attached = TRY(state->client->Call(Teattach{kRootFid, options.attach}));
    if ((attached->attr.mode & S_IFMT) != S_IFDIR) return Errno::kENOTDIR;
  }
  std::string flags = "default_permissions,fsname=gofer,subtype=rampart";
  if (options.allow_other) flags += ",allow_other";
  char name[] = "gofer-mount", option[] = "-o";
  char* arguments[] = {name, option, flags.data()};
  fuse_args args = FUSE_ARGS_INIT(3, arguments);
  const fuse_lowlevel_ops ops = Operations();
  state->session = fuse_session_new(&args, &ops, sizeof(ops), state.get());
  fuse_opt_free_args(&args);
  if (state->session == nullptr) return Errno::kEIO;
  std::unique_ptr<FuseMount> mount(new FuseMount(std::move(state)));
  if (fuse_session_mount(mount->state_->session, where.c_str()) != 0) return Errno::kEIO;
  mount->state_->mounted = true;
  return mount;
}

FuseMount::~FuseMount() {
  if (state_->session == nullptr) return;
  if (state_->mounted) fuse_session_unmount(state_->session);
  fuse_session_destroy(state_->session);
  absl::MutexLock lock(&state_->mutex);
  for (auto& [key, node] : state_->nodes) delete node;
}

void FuseMount::Serve() {
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_session_loop_mt(state_->session, config);
  fuse_loop_cfg_destroy(config);
}

void FuseMount::Stop() {
  fuse_session_exit(state_->session);
  ::umount2(state_->where.c_str(), MNT_DETACH);
}

}  // namespace rampart::gofer
