// Attributes, extended attributes and file-system statistics.
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <cerrno>

#include "gofer/server/handlers.h"

namespace rampart::gofer {
namespace {

uint64_t Nsec(const WireTime& time) { return time.nsec; }
uint64_t Sec(const WireTime& time) { return static_cast<uint64_t>(time.sec); }

constexpr uint32_t kStatxBtime = 0x800;

Payload AsPayload(const std::string& text) { return Payload{std::as_bytes(std::span(text))}; }

}  // namespace

Result<Rgetattr> On(Session& session, const Tgetattr& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  const FileAttr attr = TRY(fid->node->Stat());
  Rgetattr reply;
  reply.valid = kGetattrBasic | ((attr.mask & kStatxBtime) != 0 ? kGetattrBtime : 0);
  reply.qid = QidOf(attr);
  reply.mode = attr.mode;
  reply.uid = attr.uid;
  reply.gid = attr.gid;
  reply.nlink = attr.nlink;
  reply.rdev = makedev(attr.rdev_major, attr.rdev_minor);
  reply.size = attr.size;
  reply.blksize = attr.blksize;
  reply.blocks = attr.blocks;
  reply.atime_sec = Sec(attr.atime);
  reply.atime_nsec = Nsec(attr.atime);
  reply.mtime_sec = Sec(attr.mtime);
  reply.mtime_nsec = Nsec(attr.mtime);
  reply.ctime_sec = Sec(attr.ctime);
  reply.ctime_nsec = Nsec(attr.ctime);
  reply.btime_sec = Sec(attr.btime);
  reply.btime_nsec = Nsec(attr.btime);
  return reply;
}

Result<Rsetattr> On(Session& session, const Tsetattr& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  TRY(fid->node->SetAttributes(request.attr));
  return Rsetattr{};
}

Result<Regetattr> On(Session& session, const Tegetattr& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  return Regetattr{TRY(fid->node->Stat())};
}

Result<Resetattr> On(Session& session, const Tesetattr& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  TRY(fid->node->SetAttributes(request.set));
  return Resetattr{TRY(fid->node->Stat())};
}

Result<Rstatfs> On(Session& session, const Tstatfs& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  struct statfs out {};
  if (::fstatfs(fid->node->fd(), &out) != 0) return ErrnoFromHost(errno);
  Rstatfs reply;
  reply.type = static_cast<uint32_t>(out.f_type);
  reply.bsize = static_cast<uint32_t>(out.f_bsize);
  reply.blocks = out.f_blocks;
  reply.bfree = out.f_bfree;
  reply.bavail = out.f_bavail;
  reply.files = out.f_files;
  reply.ffree = out.f_ffree;
  std::memcpy(&reply.fsid, &out.f_fsid, sizeof(reply.fsid));
  reply.namelen = static_cast<uint32_t>(out.f_namelen);
  return reply;
}

Result<Rxattrwalk> On(Session& session, const Txattrwalk& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  Ref<Fid> made = MakeRef<Fid>(fid->node, fid->uid);
  std::string value = request.name.empty() ? TRY(ListXattr(*fid->node)) : TRY(GetXattr(*fid->node, request.name));
  const uint64_t size = value.size();
  {
    absl::MutexLock lock(&made->mutex);
    made->xattr.kind = XattrTransfer::Kind::kRead;
    made->xattr.value = std::move(value);
  }
  TRY(session.fids.Insert(request.newfid, std::move(made)));
  return Rxattrwalk{size};
}

Result<Rxattrcreate> On(Session& session, const Txattrcreate& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  TRY(fid->node->CheckWritable());
  if (request.attr_size > kMaxXattr) return Errno::kE2BIG;
  absl::MutexLock lock(&fid->mutex);
  if (fid->file || fid->xattr.kind != XattrTransfer::Kind::kNone) return Errno::kEBADF;
  fid->xattr.kind = XattrTransfer::Kind::kWrite;
  fid->xattr.name = request.name;
  fid->xattr.expected = request.attr_size;
  fid->xattr.flags = request.flags;
  return Rxattrcreate{};
}

Result<Regetxattr> On(Session& session, const Tegetxattr& request, Call& call) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  call.text = TRY(GetXattr(*fid->node, request.name));
  return Regetxattr{AsPayload(call.text)};
}

Result<Resetxattr> On(Session& session, const Tesetxattr& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  TRY(SetXattr(*fid->node, request.name, request.value.bytes, request.flags));
  return Resetxattr{};
}

Result<Relistxattr> On(Session& session, const Telistxattr& request, Call& call) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  call.text = TRY(ListXattr(*fid->node));
  return Relistxattr{AsPayload(call.text)};
}

Result<Reremovexattr> On(Session& session, const Teremovexattr& request, Call&) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  TRY(RemoveXattr(*fid->node, request.name));
  return Reremovexattr{};
}

}  // namespace rampart::gofer
