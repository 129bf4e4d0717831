// The names of AF_UNIX sockets: abstract ones, and inodes that sockets are bound to.
//
// Model. A Node is what a name leads to and what outlives a description while peers hold it: a receiver of datagrams, or a listener. The tables are
// weak: a node's owner takes it out.
// Thread safety: any thread. Lock order: the table's lock is a leaf.
#pragma once

#include <deque>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/net/socket/packet_queue.h"
#include "sentry/net/socket/socket.h"
#include "sentry/net/socket/stream_queue.h"

namespace rampart::net {

class UnixNode;

// One end of a connection of either kind: what it receives and what it sends into.
struct UnixLink {
  RefPtr<StreamQueue> stream_rx, stream_tx;
  RefPtr<PacketQueue> packet_rx, packet_tx;
  RefPtr<Side> peer;
  abi::Ucred peer_credentials{0, ~0u, ~0u};
  std::string peer_name;        // of the listener, where the peer is the end that it accepted
  RefPtr<UnixNode> peer_node;   // else: may be bound at any time
  std::string PeerName() const;
  explicit operator bool() const { return stream_rx != nullptr || packet_rx != nullptr; }
};

// A connection that waits in a backlog: the end that accept(2) will give.
struct UnixPending {
  Ref<Side> side;
  UnixLink link;
};

class UnixNode final : public RefCounted {
 public:
  UnixNode(int node_type, Ref<Side> node_side, abi::Ucred node_owner)
      : type(node_type), side(std::move(node_side)), owner(node_owner), datagrams(MakeRef<PacketQueue>(side, kDefaultBuffer, PacketQueue::Count::kLocal)) {}

  const int type;
  const Ref<Side> side;
  const abi::Ucred owner;
  const Ref<PacketQueue> datagrams;  // SOCK_DGRAM

  absl::Mutex mu;  // order: InFlightMutex → mu → a queue's lock
  std::string name ABSL_GUARDED_BY(mu);          // sockaddr; empty: none
  bool listening ABSL_GUARDED_BY(mu) = false, closed ABSL_GUARDED_BY(mu) = false, shut ABSL_GUARDED_BY(mu) = false;
  abi::Ucred listener_credentials ABSL_GUARDED_BY(mu){};
  size_t backlog_limit ABSL_GUARDED_BY(mu) = 0;
  std::deque<UnixPending> backlog ABSL_GUARDED_BY(mu);
  std::vector<Ref<Side>> waiting ABSL_GUARDED_BY(mu);   // connects that found it full
  RefPtr<UnixNode> peer ABSL_GUARDED_BY(mu);             // SOCK_DGRAM: connected to; cleared when the owner closes

  std::string Name() {
    absl::MutexLock lock(&mu);
    return name;
  }
  RefPtr<UnixNode> Peer() {
    absl::MutexLock lock(&mu);
    return peer;
  }
};

// The part of sockaddr_un after the family; a path ends at its first NUL. EINVAL.
Result<std::string_view> UnixNameIn(std::string_view address);
std::string UnixAddress(std::string_view name, bool is_path);

// A name that a node has taken; gives it back when it goes.
class UnixName {
 public:
  UnixName() = default;
  ~UnixName();
  UnixName(const UnixName&) = delete;
  UnixName& operator=(const UnixName&) = delete;
  // REQUIRES: no name yet. EADDRINUSE.
  Result<void> TakeAbstract(UnixNode& node, std::string name);
  // The next free of 2^20: ENOSPC.
  Result<void> TakeAutomatic(UnixNode& node);
  void TakePath(UnixNode& node, vfs::Path path, std::string_view shown);
  const std::optional<vfs::Path>& path() const { return path_; }

 private:
  std::string abstract_;             // as the table has it
  std::optional<vfs::Path> path_;  // keeps the inode
};

// ECONNREFUSED: nobody has it; errors of the path walk.
// A path may lead to a node of another type.
Result<Ref<UnixNode>> FindUnixNode(const vfs::Walk& walk, std::string_view address, int type);

}  // namespace rampart::net
