// Opening, reading and writing files.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "gofer/server/handlers.h"

namespace rampart::gofer {
namespace {

Result<void> OpenFid(Session& session, Fid& fid, UniqueFd file, uint32_t flags) {
  Ref<OpenFile> opened = MakeRef<OpenFile>(std::move(file), flags, TRY(FilePermit::Take(session.host)));
  absl::MutexLock lock(&fid.mutex);
  if (fid.file || fid.xattr.kind != XattrTransfer::Kind::kNone) return Errno::kEBADF;
  fid.file = std::move(opened);
  fid.dir_position = 0;
  return Ok();
}

constexpr uint32_t kDonatedFlags = O_ACCMODE | O_TRUNC;

// The end of the range as flock wants it: length 0 is "to the end" for both.
Result<struct flock> ToFlock(LockType type, uint64_t start, uint64_t length) {
  if (start > INT64_MAX || length > INT64_MAX) return Errno::kEINVAL;
  struct flock lock {};
  switch (type) {
    case LockType::kRead:
      lock.l_type = F_RDLCK;
      break;
    case LockType::kWrite:
      lock.l_type = F_WRLCK;
      break;
    case LockType::kUnlock:
      lock.l_type = F_UNLCK;
      break;
    default:
      return Errno::kEINVAL;
  }
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(start);
  lock.l_len = static_cast<off_t>(length);
  return lock;
}

}  // namespace

Result<Rlopen> On(Session& session, const Tlopen& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  UniqueFd file = TRY(fid->node->Open(request.flags));
  TRY(OpenFid(session, *fid, std::move(file), request.flags));
  return Rlopen{QidOf(TRY(fid->node->Stat())), 0};
}

Result<Rlcreate> On(Session& session, const Tlcreate& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  auto created = CreateFile(*fid->node, request.name, request.flags, request.mode, {fid->uid, request.gid});
  Ref<Node> node = fid->node;
  UniqueFd file;
  if (created.ok()) {
    node = created->found.node;
    file = std::move(created->file);
  } else if (created.error() == Errno::kEEXIST && (request.flags & O_EXCL) == 0) {
    node = TRY(fid->node->Child(request.name)).node;
    file = TRY(node->Open(request.flags));
  } else {
    return created.error();
  }
  Ref<Fid> opened = MakeRef<Fid>(node, fid->uid);
  TRY(OpenFid(session, *opened, std::move(file), request.flags));
  TRY(session.fids.Replace(request.fid, std::move(opened)));
  return Rlcreate{QidOf(TRY(node->Stat())), 0};
}

Result<Rread> On(Session& session, const Tread& request, Call& call) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  const MutableBytes place = call.PayloadPlace(request.count);
  {
    absl::MutexLock lock(&fid->mutex);
    if (fid->xattr.kind == XattrTransfer::Kind::kRead) {
      const std::string& value = fid->xattr.value;
      if (request.offset >= value.size()) return Rread{};
      const size_t n = std::min(place.size(), value.size() - static_cast<size_t>(request.offset));
      std::memcpy(place.data(), value.data() + request.offset, n);
      return Rread{Payload{place.first(n)}};
    }
  }
  const Ref<OpenFile> file = TRY(fid->Opened());
  if (request.offset > INT64_MAX) return Errno::kEINVAL;
  const ssize_t n = ::pread(file->fd(), place.data(), place.size(), static_cast<off_t>(request.offset));
  if (n < 0) return ErrnoFromHost(errno);
  return Rread{Payload{place.first(static_cast<size_t>(n))}};
}

Result<Rwrite> On(Session& session, const Twrite& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  const Bytes bytes = request.data.bytes;
  {
    absl::MutexLock lock(&fid->mutex);
    XattrTransfer& xattr = fid->xattr;
    if (xattr.kind == XattrTransfer::Kind::kWrite) {
      if (request.offset != xattr.value.size() || bytes.size() > xattr.expected - xattr.value.size()) return Errno::kEINVAL;
      // SAFETY: any byte is a char.
      xattr.value.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return Rwrite{static_cast<uint32_t>(bytes.size())};
    }
  }
  const Ref<OpenFile> file = TRY(fid->Opened());
  if (request.offset > INT64_MAX) return Errno::kEINVAL;
  const ssize_t n = ::pwrite(file->fd(), bytes.data(), bytes.size(), static_cast<off_t>(request.offset));
  if (n < 0) return ErrnoFromHost(errno);
  return Rwrite{static_cast<uint32_t>(n)};
}

Result<Rfsync> On(Session& session, const Tfsync& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  const Ref<OpenFile> file = TRY(fid->Opened());
  if (::fsync(file->fd()) != 0) return ErrnoFromHost(errno);  // also for the data alone: one host call less to allow
  return Rfsync{};
}

// Locks belong to the open file (F_OFD_*), so two fids conflict even though one process holds both. A lock that is taken is kBlocked:
// the client waits and asks again, as 9P has it.
Result<Rlock> On(Session& session, const Tlock& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  const Ref<OpenFile> file = TRY(fid->Opened());
  struct flock lock = TRY(ToFlock(request.type, request.start, request.length));
  if (::fcntl(file->fd(), F_OFD_SETLK, &lock) == 0) return Rlock{LockStatus::kSuccess};
  if (errno == EAGAIN || errno == EACCES) return Rlock{LockStatus::kBlocked};
  return ErrnoFromHost(errno);
}

Result<Rgetlock> On(Session& session, const Tgetlock& request, Call& call) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  const Ref<OpenFile> file = TRY(fid->Opened());
  struct flock lock = TRY(ToFlock(request.type, request.start, request.length));
  if (request.type == LockType::kUnlock) return Errno::kEINVAL;
  if (::fcntl(file->fd(), F_OFD_GETLK, &lock) != 0) return ErrnoFromHost(errno);
  call.text = request.client_id;
  Rgetlock reply{LockType::kUnlock, request.start, request.length, request.proc_id, call.text};
  if (lock.l_type == F_UNLCK) return reply;
  reply.type = lock.l_type == F_RDLCK ? LockType::kRead : LockType::kWrite;
  reply.start = static_cast<uint64_t>(lock.l_start);
  reply.length = static_cast<uint64_t>(lock.l_len);
  reply.proc_id = lock.l_pid > 0 ? static_cast<uint32_t>(lock.l_pid) : 0;
  return reply;
}

Result<Reopen> On(Session& session, const Teopen& request, Call& call) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  if (fid->node->is_dir()) return Errno::kEISDIR;  // a directory's descriptor would open more than itself
  UniqueFd file = TRY(fid->node->Open(request.flags & kDonatedFlags));
  const Reopen reply{TRY(StatAt(file.get(), ""))};
  call.fds.Add(std::move(file));
  return reply;
}

Result<Reopenat> On(Session& session, const Teopenat& request, Call& call) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.dfid));
  Node::Opened opened = TRY(fid->node->OpenChild(request.name, request.flags));
  call.fds.Add(std::move(opened.fd));
  return Reopenat{opened.attr};
}

Result<Recreate> On(Session& session, const Tecreate& request, Call& call) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.dfid));
  const Owner owner{request.uid, request.gid};
  const uint32_t flags = request.flags & kDonatedFlags;
  auto made = request.name.empty() ? CreateUnnamedFile(*fid->node, flags, request.mode, owner)
                                   : CreateFile(*fid->node, request.name, flags, request.mode, owner);
  Created created = TRY(std::move(made));
  TRY(session.fids.Insert(request.newfid, MakeRef<Fid>(created.found.node, fid->uid)));
  call.fds.Add(std::move(created.file));
  return Recreate{created.found.attr};
}

Result<Resync> On(Session& session, const Tesync& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  const UniqueFd file = TRY(fid->node->Open(O_RDONLY));
  int result = 0;
  switch (request.kind) {
    case SyncKind::kFile:
    case SyncKind::kData:
      result = ::fsync(file.get());
      break;
    case SyncKind::kFilesystem:
      result = ::syncfs(file.get());
      break;
    default:
      return Errno::kEINVAL;
  }
  if (result != 0) return ErrnoFromHost(errno);
  return Resync{};
}

}  // namespace rampart::gofer
