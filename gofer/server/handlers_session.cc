// Version, attach, clunk, lanes, and connections to the host's sockets.
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdio>

#include "gofer/server/handlers.h"

namespace rampart::gofer {
namespace {

Result<const AttachPoint*> FindAttachPoint(const Session& session, std::string_view name) {
  if (session.attach_points.empty()) return Errno::kENOENT;
  for (const AttachPoint& point : session.attach_points) {
    if (point.name == name) return &point;
  }
  if (name.empty() || name == "/") return &session.attach_points.front();
  return Errno::kENOENT;
}

// What must happen when a fid goes: an attribute that was written through it is set now.
Result<void> Finish(Fid& fid) {
  absl::MutexLock lock(&fid.mutex);
  XattrTransfer& xattr = fid.xattr;
  if (xattr.kind != XattrTransfer::Kind::kWrite) return Ok();
  if (xattr.value.size() != xattr.expected) return Errno::kEINVAL;
  constexpr uint32_t kReplace = 2;  // XATTR_REPLACE
  // Linux's client removes an attribute by replacing it with nothing.
  if (xattr.expected == 0 && (xattr.flags & kReplace) != 0) return RemoveXattr(*fid.node, xattr.name);
  return SetXattr(*fid.node, xattr.name, std::as_bytes(std::span(xattr.value)), xattr.flags);
}

}  // namespace

Result<Rversion> On(Session& session, const Tversion& request, Call& call) {
  if (!call.first_lane) return Errno::kEPROTO;
  if (request.msize < kMinMessage) return Errno::kEINVAL;
  session.fids.Clear();  // 9P: a session begins anew
  const uint32_t msize = std::min(request.msize, kMaxMessage);
  session.extended = false;
  if (!request.version.starts_with(kVersionLinux)) {
    session.msize = 0;
    return Rversion{msize, kVersionUnknown};
  }
  session.msize = msize;
  if (request.version != kVersionRampart || msize < kMinMessageExtended) return Rversion{msize, kVersionLinux};
  session.extended = true;
  return Rversion{msize, kVersionRampart};
}

// No authentication: the channel is the right. ENOENT is how 9P2000.L clients expect to hear that.
Result<Rauth> On(Session&, const Tauth&, Call&) { return Errno::kENOENT; }

Result<Rattach> On(Session& session, const Tattach& request, Call&) {
  if (request.afid != kNoFid) return Errno::kEINVAL;
  const AttachPoint* point = TRY(FindAttachPoint(session, request.aname));
  const Node::Found root = TRY(Node::Root(session.host, *point));
  TRY(session.fids.Insert(request.fid, MakeRef<Fid>(root.node, request.n_uname)));
  return Rattach{QidOf(root.attr)};
}

Result<Reattach> On(Session& session, const Teattach& request, Call&) {
  const AttachPoint* point = TRY(FindAttachPoint(session, request.name));
  const Node::Found root = TRY(Node::Root(session.host, *point));
  TRY(session.fids.Insert(request.fid, MakeRef<Fid>(root.node, uint32_t{Owner::kKeep})));
  Reattach reply{root.attr, 0};
  if (point->read_only) reply.flags |= kAttachReadOnly;
  if (point->host_sockets && session.host.proc_self_fd.valid()) reply.flags |= kAttachHostSockets;
  if (point->devices) reply.flags |= kAttachDevices;
  return reply;
}

// The connection layer holds the answer back until the request it names has been answered.
Result<Rflush> On(Session&, const Tflush&, Call&) { return Rflush{}; }

Result<Rclunk> On(Session& session, const Tclunk& request, Call&) {
  const RefPtr<Fid> fid = session.fids.Remove(request.fid);
  if (!fid) return Errno::kEBADF;
  TRY(Finish(*fid));
  return Rclunk{};
}

Result<Reclunk> On(Session& session, const Teclunk& request, Call&) {
  for (const FidNum number : request.fids) {
    const RefPtr<Fid> fid = session.fids.Remove(number);
    if (fid) (void)Finish(*fid);
  }
  return Reclunk{};
}

Result<Relane> On(Session& session, const Telane& request, Call& call) {
  if (session.lanes == nullptr) return Errno::kEOPNOTSUPP;
  Relane reply;
  TRY(session.lanes->MakeLane(session, request.shared == 1, call.fds, reply.shared_size));
  return reply;
}

Result<Reconnect> On(Session& session, const Teconnect& request, Call& call) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  Node& node = *fid->node;
  if (!node.attach().host_sockets || !session.host.proc_self_fd.valid()) return Errno::kECONNREFUSED;
  if (!node.is_socket()) return Errno::kECONNREFUSED;  // as unix(7) says of a path that is no socket
  if (request.type != SOCK_STREAM && request.type != SOCK_DGRAM && request.type != SOCK_SEQPACKET) return Errno::kEPROTOTYPE;
  UniqueFd socket = TRY(FdFromHost(::socket(AF_UNIX, static_cast<int>(request.type) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
  // The working directory is /proc/self/fd (PrepareGofer): the number leads to the socket that the descriptor holds, under any name.
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof(address.sun_path), "%d", node.fd());
  // SAFETY: the sockets API takes every address family through sockaddr.
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return ErrnoFromHost(errno);
  call.fds.Add(std::move(socket));
  return Reconnect{};
}

}  // namespace rampart::gofer
