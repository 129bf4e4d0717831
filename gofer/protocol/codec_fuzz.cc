// Any bytes as a message, for every message of the protocol: decoding must not fail in any other way than with an error, and what was
// decoded must encode to the same bytes.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "gofer/protocol/codec.h"

namespace rampart::gofer {
namespace {

template <class Message>
void Try(Bytes body) {
  const auto message = DecodeBody<Message>(Frame{Message::kType, 1, body});
  if (!message.ok()) return;
  std::vector<std::byte> again(kHeaderSize + body.size());
  const size_t size = EncodeMessage(1, *message, again);
  if (size != again.size() || std::memcmp(again.data() + kHeaderSize, body.data(), body.size()) != 0) std::abort();
}

template <class Request>
void TryBoth(Bytes body) {
  Try<Request>(body);
  Try<typename Request::Reply>(body);
}

template <class... Request>
void TryAll(Bytes body) {
  (TryBoth<Request>(body), ...);
}

void TryEvery(Bytes bytes) {
  (void)ParseFrame(bytes);
  TryAll<Tversion, Tauth, Tattach, Tflush, Tclunk, Twalk, Treadlink, Tlopen, Tlcreate, Tread, Twrite, Tfsync, Tlock, Tgetlock, Tgetattr,
         Tsetattr, Tstatfs, Txattrwalk, Txattrcreate, Treaddir, Tsymlink, Tmknod, Tmkdir, Tlink, Trename, Trenameat, Tunlinkat, Tremove, Teattach,
         Teclunk, Telane, Teconnect, Tewalk, Teopen, Teopenat, Tecreate, Tesync, Tegetattr, Tesetattr, Tegetxattr, Tesetxattr, Telistxattr,
         Teremovexattr, Tereaddir, Tesymlink, Temknod, Temkdir, Telink, Terename>(bytes);
  Try<Rlerror>(bytes);
}

}  // namespace
void FuzzOne(Bytes bytes) { TryEvery(bytes); }
}  // namespace rampart::gofer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  rampart::gofer::FuzzOne(std::as_bytes(std::span(data, size)));
  return 0;
}
