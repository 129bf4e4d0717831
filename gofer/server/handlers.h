// The handler of each request: decoded message in, reply or errno out. Registered in dispatch.cc.
#pragma once

#include "gofer/server/session.h"

namespace rampart::gofer {

// handlers_session.cc
Result<Rversion> On(Session& session, const Tversion& request, Call& call);
Result<Rauth> On(Session& session, const Tauth& request, Call& call);
Result<Rattach> On(Session& session, const Tattach& request, Call& call);
Result<Rflush> On(Session& session, const Tflush& request, Call& call);
Result<Rclunk> On(Session& session, const Tclunk& request, Call& call);
Result<Reattach> On(Session& session, const Teattach& request, Call& call);
Result<Reclunk> On(Session& session, const Teclunk& request, Call& call);
Result<Relane> On(Session& session, const Telane& request, Call& call);
Result<Reconnect> On(Session& session, const Teconnect& request, Call& call);

// handlers_walk.cc
Result<Rwalk> On(Session& session, const Twalk& request, Call& call);
Result<Rewalk> On(Session& session, const Tewalk& request, Call& call);
Result<Rreadlink> On(Session& session, const Treadlink& request, Call& call);

// handlers_file.cc
Result<Rlopen> On(Session& session, const Tlopen& request, Call& call);
Result<Rlcreate> On(Session& session, const Tlcreate& request, Call& call);
Result<Rread> On(Session& session, const Tread& request, Call& call);
Result<Rwrite> On(Session& session, const Twrite& request, Call& call);
Result<Rfsync> On(Session& session, const Tfsync& request, Call& call);
Result<Rlock> On(Session& session, const Tlock& request, Call& call);
Result<Rgetlock> On(Session& session, const Tgetlock& request, Call& call);
Result<Reopen> On(Session& session, const Teopen& request, Call& call);
Result<Reopenat> On(Session& session, const Teopenat& request, Call& call);
Result<Recreate> On(Session& session, const Tecreate& request, Call& call);
Result<Resync> On(Session& session, const Tesync& request, Call& call);

// handlers_attr.cc
Result<Rgetattr> On(Session& session, const Tgetattr& request, Call& call);
Result<Rsetattr> On(Session& session, const Tsetattr& request, Call& call);
Result<Rstatfs> On(Session& session, const Tstatfs& request, Call& call);
Result<Rxattrwalk> On(Session& session, const Txattrwalk& request, Call& call);
Result<Rxattrcreate> On(Session& session, const Txattrcreate& request, Call& call);
Result<Regetattr> On(Session& session, const Tegetattr& request, Call& call);
Result<Resetattr> On(Session& session, const Tesetattr& request, Call& call);
Result<Regetxattr> On(Session& session, const Tegetxattr& request, Call& call);
Result<Resetxattr> On(Session& session, const Tesetxattr& request, Call& call);
Result<Relistxattr> On(Session& session, const Telistxattr& request, Call& call);
Result<Reremovexattr> On(Session& session, const Teremovexattr& request, Call& call);

// handlers_dir.cc
Result<Rreaddir> On(Session& session, const Treaddir& request, Call& call);
Result<Rereaddir> On(Session& session, const Tereaddir& request, Call& call);

// handlers_names.cc
Result<Rsymlink> On(Session& session, const Tsymlink& request, Call& call);
Result<Rmknod> On(Session& session, const Tmknod& request, Call& call);
Result<Rmkdir> On(Session& session, const Tmkdir& request, Call& call);
Result<Rlink> On(Session& session, const Tlink& request, Call& call);
Result<Rrename> On(Session& session, const Trename& request, Call& call);
Result<Rrenameat> On(Session& session, const Trenameat& request, Call& call);
Result<Runlinkat> On(Session& session, const Tunlinkat& request, Call& call);
Result<Rremove> On(Session& session, const Tremove& request, Call& call);
Result<Resymlink> On(Session& session, const Tesymlink& request, Call& call);
Result<Remknod> On(Session& session, const Temknod& request, Call& call);
Result<Remkdir> On(Session& session, const Temkdir& request, Call& call);
Result<Relink> On(Session& session, const Telink& request, Call& call);
Result<Rerename> On(Session& session, const Terename& request, Call& call);

}  // namespace rampart::gofer
