// Making, linking, renaming and removing.
#include <fcntl.h>

#include "gofer/server/handlers.h"

namespace rampart::gofer {
namespace {

// Binds a fid to what was made; kNoFid: the client wants none.
Result<void> Bind(Session& session, const Fid& parent, FidNum number, const Ref<Node>& node) {
  if (number == kNoFid) return Ok();
  return session.fids.Insert(number, MakeRef<Fid>(node, parent.uid));
}

}  // namespace

Result<Rsymlink> On(Session& session, const Tsymlink& request, Call&) {
  const Ref<Fid> dir = TRY(session.fids.Find(request.dfid));
  return Rsymlink{QidOf(TRY(MakeSymlink(*dir->node, request.name, request.target, {dir->uid, request.gid})).attr)};
}

Result<Rmknod> On(Session& session, const Tmknod& request, Call&) {
  const Ref<Fid> dir = TRY(session.fids.Find(request.dfid));
  const Owner owner{dir->uid, request.gid};
  return Rmknod{QidOf(TRY(MakeNode(*dir->node, request.name, request.mode, request.major, request.minor, owner)).attr)};
}

Result<Rmkdir> On(Session& session, const Tmkdir& request, Call&) {
  const Ref<Fid> dir = TRY(session.fids.Find(request.dfid));
  return Rmkdir{QidOf(TRY(MakeDirectory(*dir->node, request.name, request.mode, {dir->uid, request.gid})).attr)};
}

Result<Rlink> On(Session& session, const Tlink& request, Call&) {
  const Ref<Fid> dir = TRY(session.fids.Find(request.dfid));
  const Ref<Fid> file = TRY(session.fids.Find(request.fid));
  TRY(MakeLink(*dir->node, request.name, *file->node));
  return Rlink{};
}

Result<Rrename> On(Session& session, const Trename& request, Call&) {
  const Ref<Fid> file = TRY(session.fids.Find(request.fid));
  const Ref<Fid> dir = TRY(session.fids.Find(request.dfid));
  const Node::Place place = TRY(file->node->CurrentPlace());
  TRY(Rename(*place.directory, place.name, *dir->node, request.name, 0));
  file->node->MovedTo(dir->node, request.name);
  return Rrename{};
}

Result<Rrenameat> On(Session& session, const Trenameat& request, Call&) {
  const Ref<Fid> from = TRY(session.fids.Find(request.olddirfid));
  const Ref<Fid> to = TRY(session.fids.Find(request.newdirfid));
  TRY(Rename(*from->node, request.oldname, *to->node, request.newname, 0));
  return Rrenameat{};
}

Result<Runlinkat> On(Session& session, const Tunlinkat& request, Call&) {
  const Ref<Fid> dir = TRY(session.fids.Find(request.dirfd));
  if ((request.flags & ~uint32_t{AT_REMOVEDIR}) != 0) return Errno::kEINVAL;
  TRY(Unlink(*dir->node, request.name, (request.flags & AT_REMOVEDIR) != 0));
  return Runlinkat{};
}

// 9P: the fid is gone afterwards, whether or not the file is.
Result<Rremove> On(Session& session, const Tremove& request, Call&) {
  const RefPtr<Fid> fid = session.fids.Remove(request.fid);
  if (!fid) return Errno::kEBADF;
  const Node::Place place = TRY(fid->node->CurrentPlace());
  TRY(Unlink(*place.directory, place.name, fid->node->is_dir()));
  return Rremove{};
}

Result<Resymlink> On(Session& session, const Tesymlink& request, Call&) {
  const Ref<Fid> dir = TRY(session.fids.Find(request.dfid));
  const Node::Found made = TRY(MakeSymlink(*dir->node, request.name, request.target, {request.uid, request.gid}));
  TRY(Bind(session, *dir, request.newfid, made.node));
  return Resymlink{made.attr};
}

Result<Remknod> On(Session& session, const Temknod& request, Call&) {
  const Ref<Fid> dir = TRY(session.fids.Find(request.dfid));
  const Owner owner{request.uid, request.gid};
  const Node::Found made = TRY(MakeNode(*dir->node, request.name, request.mode, request.major, request.minor, owner));
  TRY(Bind(session, *dir, request.newfid, made.node));
  return Remknod{made.attr};
}

Result<Remkdir> On(Session& session, const Temkdir& request, Call&) {
  const Ref<Fid> dir = TRY(session.fids.Find(request.dfid));
  const Node::Found made = TRY(MakeDirectory(*dir->node, request.name, request.mode, {request.uid, request.gid}));
  TRY(Bind(session, *dir, request.newfid, made.node));
  return Remkdir{made.attr};
}

Result<Relink> On(Session& session, const Telink& request, Call&) {
  const Ref<Fid> dir = TRY(session.fids.Find(request.dfid));
  const Ref<Fid> file = TRY(session.fids.Find(request.fid));
  TRY(MakeLink(*dir->node, request.name, *file->node));
  return Relink{TRY(file->node->Stat())};
}

Result<Rerename> On(Session& session, const Terename& request, Call&) {
  const Ref<Fid> from = TRY(session.fids.Find(request.olddir));
  const Ref<Fid> to = TRY(session.fids.Find(request.newdir));
  TRY(Rename(*from->node, request.oldname, *to->node, request.newname, request.flags));
  return Rerename{};
}

}  // namespace rampart::gofer
