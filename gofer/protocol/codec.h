// Whole messages: encoding one with its header, and decoding one that arrived.
//
//   const size_t size = EncodeMessage(tag, Twalk{...}, buffer);       // 0: it does not fit
//   const Frame frame = TRY(ParseFrame(bytes));
//   const Twalk walk = TRY(DecodeBody<Twalk>(frame));
//
// Errors: EBADMSG for bytes that are not such a message (too short, too long, a length that runs over, bytes left over).
#pragma once

#include "base/result.h"
#include "gofer/protocol/extension.h"
#include "gofer/protocol/messages.h"

namespace rampart::gofer {

struct Frame {
  MsgType type{};
  uint16_t tag = 0;
  Bytes body;
};

// Splits a message into header and body. The size in the header must be that of `message`.
Result<Frame> ParseFrame(Bytes message);

// Writes the header of a message of `size` bytes in all. REQUIRES: out.size() >= kHeaderSize.
void PutHeader(MutableBytes out, uint32_t size, MsgType type, uint16_t tag);

template <class Message>
size_t EncodeMessage(uint16_t tag, const Message& message, MutableBytes out) {
  if (out.size() < kHeaderSize) return 0;
  Writer writer(out.subspan(kHeaderSize));
  message.Visit(writer);
  if (!writer.ok()) return 0;
  const size_t size = kHeaderSize + writer.position();
  PutHeader(out, static_cast<uint32_t>(size), Message::kType, tag);
  return size;
}

// REQUIRES: frame.type is Message's (CHECK: the caller chose by type).
template <class Message>
Result<Message> DecodeBody(const Frame& frame) {
  CHECK(frame.type == Message::kType);
  Reader reader(frame.body);
  Message message;
  message.Visit(reader);
  if (!reader.ok() || reader.remaining() != 0) return Errno::kEBADMSG;
  return message;
}

// A reply to `Request`: its Reply, or the error of an Rlerror (which becomes EIO when it is no Linux errno). EBADMSG for anything else.
template <class Request>
Result<typename Request::Reply> DecodeReply(const Frame& frame) {
  using Reply = typename Request::Reply;
  if (frame.type == Reply::kType) return DecodeBody<Reply>(frame);
  if (frame.type != MsgType::kRlerror) return Errno::kEBADMSG;
  const Rlerror error = TRY(DecodeBody<Rlerror>(frame));
  return ErrnoFromHost(error.ecode > 133 ? 0 : static_cast<int>(error.ecode));
}

}  // namespace rampart::gofer
