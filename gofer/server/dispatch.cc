// One table from message number to handler: what is not in it is EOPNOTSUPP.
#include <array>

#include "base/log.h"
#include "gofer/server/handlers.h"

namespace rampart::gofer {
namespace {

size_t EncodeError(uint16_t tag, Errno error, Call& call) {
  call.fds.Clear();
  return EncodeMessage(tag, Rlerror{static_cast<uint32_t>(error)}, call.out);
}

using Handler = size_t (*)(Session&, const Frame&, Call&);

template <class Request>
size_t Handle(Session& session, const Frame& frame, Call& call) {
  const auto request = DecodeBody<Request>(frame);
  if (!request.ok()) return EncodeError(frame.tag, request.error(), call);
  const auto reply = On(session, *request, call);
  if (!reply.ok()) return EncodeError(frame.tag, reply.error(), call);
  const size_t size = EncodeMessage(frame.tag, *reply, call.out);
  return size != 0 ? size : EncodeError(frame.tag, Errno::kEMSGSIZE, call);
}

template <class... Request>
constexpr std::array<Handler, 256> MakeTable() {
  std::array<Handler, 256> table{};
  ((table[static_cast<uint8_t>(Request::kType)] = &Handle<Request>), ...);
  return table;
}

constexpr std::array<Handler, 256> kHandlers =
    MakeTable<Tversion, Tauth, Tattach, Tflush, Tclunk, Twalk, Treadlink, Tlopen, Tlcreate, Tread, Twrite, Tfsync, Tlock, Tgetlock, Tgetattr,
              Tsetattr, Tstatfs, Txattrwalk, Txattrcreate, Treaddir, Tsymlink, Tmknod, Tmkdir, Tlink, Trename, Trenameat, Tunlinkat, Tremove,
              Teattach, Teclunk, Telane, Teconnect, Tewalk, Teopen, Teopenat, Tecreate, Tesync, Tegetattr, Tesetattr, Tegetxattr, Tesetxattr,
              Telistxattr, Teremovexattr, Tereaddir, Tesymlink, Temknod, Temkdir, Telink, Terename>();

constexpr uint8_t kFirstExtension = static_cast<uint8_t>(MsgType::kTeattach);

}  // namespace

size_t HandleMessage(Session& session, const Frame& request, Call& call) {
  const auto number = static_cast<uint8_t>(request.type);
  const Handler handler = kHandlers[number];
  if (handler == nullptr) return EncodeError(request.tag, Errno::kEOPNOTSUPP, call);
  if (request.type != MsgType::kTversion && session.msize.load(std::memory_order_relaxed) == 0)
    return EncodeError(request.tag, Errno::kEPROTO, call);
  if (number >= kFirstExtension && !session.extended.load(std::memory_order_relaxed))
    return EncodeError(request.tag, Errno::kEOPNOTSUPP, call);
  const size_t size = handler(session, request, call);
  if (LogEnabled(LogLevel::kDebug)) Log(LogLevel::kDebug, "%s tag %u: %zu bytes back", MsgName(request.type), request.tag, size);
  return size;
}

}  // namespace rampart::gofer
