// The sockets that descriptors were made for, and what is told of each: sock_diag(7) and /proc/net read them here.
//
// Model. A weak list in the order of creation: a socket leaves it with its last reference. A report is taken of one socket at a time, so that a
// listing is no snapshot of all of them at one moment, as on Linux.
// Thread safety: any thread. The list's lock is a leaf; reports are made without it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/net/socket/socket.h"

namespace rampart::net {

struct SocketReport {
  // TCP's states; other protocols have kEstablished (connected) and kClose.
  enum State : uint8_t { kEstablished = 1, kSynSent = 2, kFinWait2 = 5, kClose = 7, kCloseWait = 8, kListen = 10 };
  int family = 0, type = 0, protocol = 0;
  uint64_t inode = 0;
  abi::Uid uid = 0;
  uint8_t state = kClose;
  uint8_t shutdown = 0;              // 1: receives no more, 2: sends no more
  bool v6_only = false;
  std::string local, peer;           // sockaddr; empty: none
  uint64_t receive_queue = 0, send_queue = 0;  // a listener's: connections that wait, and how many may
  int32_t receive_buffer = 0, send_buffer = 0;
  std::string tcp_info;              // struct tcp_info; empty: not TCP
  uint64_t peer_inode = 0;           // AF_UNIX
  uint64_t path_inode = 0, path_device = 0;  // AF_UNIX: of a name that is a path
  std::vector<uint32_t> waiting;     // AF_UNIX: inodes of those that wait to be accepted
  uint32_t groups = 0;               // AF_NETLINK
};

class SocketList {
 public:
  static SocketList& Get();
  // Once for each socket, when it is whole.
  void Add(Socket& socket);
  void Remove(Socket& socket);
  // In the order of creation. The references are to be dropped without locks.
  std::vector<Ref<Socket>> All();
  // Reports of those of `family`.
  std::vector<SocketReport> Reports(int family);

 private:
  absl::Mutex mu_;
  uint64_t next_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<uint64_t, Socket*> sockets_ ABSL_GUARDED_BY(mu_);
};

}  // namespace rampart::net
