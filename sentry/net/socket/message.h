// What travels beside the bytes of a message, and what one asks and gets when sending and receiving.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "abi/socket.h"
#include "base/ref.h"
#include "sentry/mm/io.h"
#include "sentry/vfs/file_description.h"

namespace rampart::vfs {
struct Walk;
}  // namespace rampart::vfs

namespace rampart::net {

using Files = std::vector<Ref<vfs::FileDescription>>;

struct Ancillary {
  abi::Ucred credentials{};
  Files files;
  abi::Uid payer = 0;  // the user that `files` count against while they are in a queue (in_flight.h)
};

// One control message, but for SCM_RIGHTS and SCM_CREDENTIALS.
struct Control {
  int32_t level;
  int32_t type;
  std::string bytes;
};

struct SendRequest {
  mm::IoSrc& src;
  std::string_view to;             // a sockaddr; empty: none given
  const vfs::Walk* walk = nullptr; // for names that are paths; never null where `to` is given
  Ancillary& ancillary;            // emptied when it was sent
  uint32_t flags = 0;              // MSG_…
  std::span<const Control> controls{};  // but for SCM_RIGHTS and SCM_CREDENTIALS
  uint64_t file_limit = UINT64_MAX;  // descriptors that the sender's user may have in flight
};

struct RecvResult {
  size_t copied = 0;
  size_t full_length = 0;  // of the packet, or what was discarded: MSG_TRUNC
  uint32_t flags = 0;      // for msg_flags
  bool is_message = false; // not the end: of packets, and of reads of no bytes
  std::string from;        // sockaddr of the sender; empty: none
  Ancillary ancillary;
  std::vector<Control> controls;
};

}  // namespace rampart::net
