#include "gofer/protocol/codec.h"

namespace rampart::gofer {

Result<Frame> ParseFrame(Bytes message) {
  if (message.size() < kHeaderSize) return Errno::kEBADMSG;
  Reader reader(message);
  uint32_t size = 0;
  Frame frame;
  reader(size, frame.type, frame.tag);
  if (size != message.size()) return Errno::kEBADMSG;
  frame.body = message.subspan(kHeaderSize);
  return frame;
}

void PutHeader(MutableBytes out, uint32_t size, MsgType type, uint16_t tag) {
  Writer writer(out);
  writer(size, type, tag);
  CHECK(writer.ok());
}

}  // namespace rampart::gofer
