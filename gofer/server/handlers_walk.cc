#include <fcntl.h>
#include <sys/stat.h>

#include "gofer/server/handlers.h"
#include "gofer/server/host_calls.h"

namespace rampart::gofer {

Result<Rwalk> On(Session& session, const Twalk& request, Call&) {
  if (request.names.size() > kMaxWalk) return Errno::kEINVAL;
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  Ref<Node> at = fid->node;
  Rwalk reply;
  for (const std::string_view name : request.names) {
    if (name == ".." || name == ".") {
      if (name == "..") at = at->Parent();
      reply.qids.push_back(QidOf(TRY(at->Stat())));
      continue;
    }
    auto found = at->Child(name);
    if (!found.ok()) {
      if (reply.qids.empty()) return found.error();
      return reply;  // 9P: what was walked, and newfid is left alone
    }
    at = found->node;
    reply.qids.push_back(QidOf(found->attr));
  }
  Ref<Fid> made = MakeRef<Fid>(at, fid->uid);
  if (request.newfid == request.fid) {
    TRY(session.fids.Replace(request.fid, std::move(made)));
  } else {
    TRY(session.fids.Insert(request.newfid, std::move(made)));
  }
  return reply;
}

namespace {

void End(Errno error, Rewalk& reply) {
  reply.end = error == Errno::kENOENT ? WalkEnd::kMissing : WalkEnd::kError;
  reply.ecode = static_cast<uint32_t>(error);
}

// Resolves one step and binds its fid; returns the node, or says in `reply` why the walk ends.
RefPtr<Node> Step(Session& session, const Fid& origin, Node& at, const WalkStep& step, Rewalk& reply) {
  auto found = at.Child(step.name);
  Result<void> bound;
  if (found.ok() && step.newfid != kNoFid) bound = session.fids.Insert(step.newfid, MakeRef<Fid>(found->node, origin.uid));
  if (found.ok() && bound.ok()) {
    reply.attrs.push_back(found->attr);
    return found->node;
  }
  End(found.ok() ? bound.error() : found.error(), reply);
  return nullptr;
}

// The last step of a walk that wants no fid, or only a directory's: attributes, a link's text, and with kWalkOpen a regular file's descriptor. False:
// a directory whose fid is wanted, nothing done.
Result<bool> Look(Node& at, const WalkStep& step, uint8_t mode, Call& call, Rewalk& reply) {
  const std::string_view name = step.name;
  if (!IsValidName(name)) return name.size() > kMaxName ? Errno::kENAMETOOLONG : Errno::kEINVAL;
  if (!at.is_dir()) return Errno::kENOTDIR;
  const CName c_name(name);
  const FileAttr attr = TRY(StatAt(at.fd(), c_name.c_str()));
  if (S_ISDIR(attr.mode) && step.newfid != kNoFid) return false;
  if (S_ISREG(attr.mode) && (mode & kWalkOpen) != 0) {
    auto opened = at.OpenChild(name, O_RDONLY, &attr);
    if (opened.ok()) {
      call.fds.Add(std::move(opened->fd));
      reply.attrs.push_back(opened->attr);
      return true;
    }
  }
  if (S_ISLNK(attr.mode)) {
    call.text = TRY(ReadLinkAt(at.fd(), c_name.c_str()));
    reply.target = call.text;
    reply.end = WalkEnd::kSymlink;
  }
  reply.attrs.push_back(attr);
  return true;
}

}  // namespace

Result<Rewalk> On(Session& session, const Tewalk& request, Call& call) {
  if (request.steps.size() > kMaxWalkFull) return Errno::kEINVAL;
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  Ref<Node> at = fid->node;
  Rewalk reply;
  reply.end = WalkEnd::kDone;
  for (size_t i = 0; i < request.steps.size(); ++i) {
    const bool lazy = request.steps[i].newfid == kNoFid || (request.mode & kWalkLazy) != 0;
    if (i + 1 == request.steps.size() && lazy) {
      const auto looked = Look(*at, request.steps[i], request.mode, call, reply);
      if (!looked.ok()) End(looked.error(), reply);
      if (!looked.ok() || *looked) return reply;
    }
    RefPtr<Node> next = Step(session, *fid, *at, request.steps[i], reply);
    if (!next) return reply;
    at = std::move(next).ToRef();
    if (at->is_symlink()) {
      auto target = at->ReadLink();
      if (target.ok()) call.text = std::move(*target);
      reply.target = call.text;
      reply.end = WalkEnd::kSymlink;
      return reply;
    }
    if (!at->is_dir() && i + 1 < request.steps.size()) {
      reply.end = WalkEnd::kNotDir;
      return reply;
    }
  }
  return reply;
}

Result<Rreadlink> On(Session& session, const Treadlink& request, Call& call) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  call.text = TRY(fid->node->ReadLink());
  return Rreadlink{call.text};
}

}  // namespace rampart::gofer
