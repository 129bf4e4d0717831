// Netlink's own framing (netlink(7)): the header, and messages under construction with 4-aligned attributes.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "abi/socket.h"
#include "base/errno.h"

namespace rampart::net {

struct NetlinkHeader {
  uint32_t length;
  uint16_t type;
  uint16_t flags;
  uint32_t sequence;
  uint32_t port;
};
static_assert(sizeof(NetlinkHeader) == 16);

inline constexpr uint16_t kNlmsgNoop = 1, kNlmsgError = 2, kNlmsgDone = 3, kNlmFRequest = 1, kNlmFMulti = 2, kNlmFAck = 4, kNlmFDump = 0x300;

class Message {
 public:
  // An answer to `request`, from the kernel to `port`.
  Message(uint16_t type, uint16_t flags, const NetlinkHeader& request, uint32_t port) : header_{0, type, flags, request.sequence, port} {
    bytes_.resize(sizeof(header_));
  }
  template <class T>
  Message& Put(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));  // SAFETY: the bytes of a plain value
    Align();
    return *this;
  }
  Message& Attribute(uint16_t type, std::string_view value) {
    const uint16_t head[2] = {static_cast<uint16_t>(4 + value.size()), type};
    bytes_.append(reinterpret_cast<const char*>(head), sizeof(head));  // SAFETY: as above
    bytes_.append(value);
    Align();
    return *this;
  }
  template <class T>
  Message& Number(uint16_t type, const T& value) {
    return Attribute(type, std::string_view(reinterpret_cast<const char*>(&value), sizeof(value)));  // SAFETY: as above
  }
  std::string Finish() {
    header_.length = static_cast<uint32_t>(bytes_.size());
    std::memcpy(bytes_.data(), &header_, sizeof(header_));
    return std::move(bytes_);
  }

 private:
  void Align() { bytes_.resize((bytes_.size() + 3) & ~size_t{3}); }
  NetlinkHeader header_;
  std::string bytes_;
};

// NLMSG_DONE of a dump.
inline std::string DoneMessage(const NetlinkHeader& request, uint32_t port) { return Message(kNlmsgDone, kNlmFMulti, request, port).Put(int32_t{0}).Finish(); }

// NLMSG_ERROR; with an error the whole request comes back. `body`: the request's, after its header.
inline std::string ErrorMessage(const NetlinkHeader& request, std::string_view body, uint32_t port, Errno error) {
  Message m(kNlmsgError, 0, request, port);
  m.Put(-static_cast<int32_t>(error)).Put(request);
  std::string text = m.Finish();
  if (error == Errno{}) return text;
  text.append(body.substr(0, 1024));
  text.resize((text.size() + 3) & ~size_t{3});
  const auto length = static_cast<uint32_t>(text.size());
  std::memcpy(text.data(), &length, sizeof(length));
  return text;
}

// Calls `f(type, value)` for each attribute of `attributes`. False: one is torn.
template <class F>
bool ForEachAttribute(std::string_view attributes, F f) {
  for (size_t at = 0; at + 4 <= attributes.size();) {
    uint16_t head[2];
    std::memcpy(head, attributes.data() + at, sizeof(head));
    if (head[0] < 4 || head[0] > attributes.size() - at) return false;
    f(head[1], attributes.substr(at + 4, head[0] - size_t{4}));
    at += (head[0] + size_t{3}) & ~size_t{3};
  }
  return true;
}

}  // namespace rampart::net
