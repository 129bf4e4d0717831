// MessageSocket: a connected UNIX socket that carries whole 9P messages, and descriptors beside them (SCM_RIGHTS).
//
// On SOCK_SEQPACKET a message is a packet; on SOCK_STREAM messages are cut by their size field, as a stock 9P client sends them.
// Thread safety: one thread may Receive while another Sends; several receivers or several senders need a lock of their own.
// Errors: EPIPE when the peer has gone, EBADMSG when what arrived cannot be a message (the stream is then useless), else the host's.
#pragma once

#include <array>
#include <cstddef>

#include "base/result.h"
#include "base/unique_fd.h"
#include "gofer/protocol/wire.h"

namespace rampart::gofer {

enum class SocketKind { kSeqPacket, kStream };

// The descriptors that travel with one message.
class FdList {
 public:
  static constexpr size_t kMax = 2;
  // False when it is full.
  bool Add(UniqueFd fd) {
    if (count_ == kMax) return false;
    fds_[count_++] = std::move(fd);
    return true;
  }
  // REQUIRES: i < size().
  UniqueFd Take(size_t i) { return std::move(fds_[i]); }
  const UniqueFd& operator[](size_t i) const { return fds_[i]; }
  size_t size() const { return count_; }
  void Clear() {
    for (UniqueFd& fd : fds_) fd.Reset();
    count_ = 0;
  }

 private:
  std::array<UniqueFd, kMax> fds_;
  size_t count_ = 0;
};

class MessageSocket {
 public:
  MessageSocket() = default;
  MessageSocket(UniqueFd fd, SocketKind kind) : fd_(std::move(fd)), kind_(kind) {}

  // One message into `buffer`; returns its size, which is the size field's. Descriptors go to `fds`, or are refused when it is null.
  // A message longer than `buffer` is EBADMSG.
  Result<size_t> Receive(MutableBytes buffer, FdList* fds) const;
  // One message and copies of `fds`.
  Result<void> Send(Bytes message, const FdList& fds) const;

  // Descriptors that were sent ahead, beside one byte: never waits. EBADMSG when there are none.
  Result<void> ReceiveFds(FdList& fds) const;

  bool valid() const { return fd_.valid(); }
  int fd() const { return fd_.get(); }

 private:
  Result<size_t> ReceiveSome(MutableBytes buffer, FdList* fds, int flags = 0) const;
  Result<void> ReceiveAll(MutableBytes buffer, FdList* fds) const;

  UniqueFd fd_;
  SocketKind kind_ = SocketKind::kSeqPacket;
};

// A connected pair, close-on-exec.
Result<std::array<UniqueFd, 2>> MakeSocketPair(SocketKind kind);

}  // namespace rampart::gofer
