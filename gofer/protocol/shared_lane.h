// SharedLane: one request and its reply at a time through a window of shared memory, woken by futexes; descriptors go beside it, over a
// socket. Several times faster than the socket alone: while both sides are busy neither enters the kernel.
//
// Model. The window is a sealed memfd, made by the server: a header, room for a request, room for a reply. `turn` says whose it is. The client writes a
// request and its size and gives the turn to the server; the server copies the request out, works, copies the reply in and gives the turn
// back. Whoever waits spins for some microseconds, then sleeps on its own bell.
// Trust: the window may change under one's hands at any time. Sizes are read once and checked, messages are copied before they are
// looked at, and the seals (checked by the client) keep the peer from cutting the memory away. All that a peer can spoil is its own session.
// Thread safety: one client thread, one server thread; Interrupt from any thread.
// Errors: EPIPE when the peer has gone; EBADMSG for sizes that cannot be.
#pragma once

#include <atomic>
#include <memory>

#include "base/time.h"
#include "gofer/protocol/message_socket.h"
#include "gofer/protocol/types.h"

namespace rampart::gofer {

class SharedLane {
 public:
  // Server: makes a window. ENOSYS, EMFILE, ENOMEM.
  static Result<UniqueFd> MakeWindow();
  static constexpr uint32_t kWindowSize = 4096 + 2 * ((kMaxMessage + 4095) / 4096) * 4096;

  // Maps `window`, beside a connected SEQPACKET `socket`. EPERM when it is not sealed as it must be, EINVAL for a wrong size.
  static Result<std::unique_ptr<SharedLane>> Create(const UniqueFd& window, MessageSocket socket);
  ~SharedLane();
  SharedLane(const SharedLane&) = delete;
  SharedLane& operator=(const SharedLane&) = delete;

  // Client: sends `request`, waits for the reply; its size. `fds` receives what came along.
  Result<size_t> Exchange(Bytes request, MutableBytes reply, FdList& fds);
  // Server: waits for a request.
  Result<size_t> ReceiveRequest(MutableBytes buffer);
  Result<void> SendReply(Bytes reply, const FdList& fds);
  // Server: makes the current and every later ReceiveRequest fail with EPIPE.
  void Interrupt();

 private:
  // At the window's beginning. The first line is written by the client, the second by the server.
  struct Header {
    alignas(64) std::atomic<uint32_t> turn;  // kClient, kServer
    alignas(64) std::atomic<uint32_t> server_bell;
    std::atomic<uint32_t> server_sleeps;
    std::atomic<uint32_t> request_size;
    alignas(64) std::atomic<uint32_t> client_bell;
    std::atomic<uint32_t> client_sleeps;
    std::atomic<uint32_t> reply_size;
    std::atomic<uint32_t> reply_fds;
  };
  static constexpr uint32_t kClient = 0, kServer = 1;
  static constexpr size_t kRequestAt = 4096;
  static constexpr size_t kReplyAt = 4096 + (kWindowSize - 4096) / 2;

  SharedLane(std::byte* memory, MessageSocket socket);
  void GiveTurn(uint32_t to, std::atomic<uint32_t>& bell, std::atomic<uint32_t>& sleeps);
  Result<void> AwaitTurn(uint32_t mine, std::atomic<uint32_t>& bell, std::atomic<uint32_t>& sleeps);
  bool Spin(uint32_t mine);
  bool PeerHasGone() const;

  std::byte* const memory_;
  Header& header_;
  const MessageSocket socket_;
  Nanos spin_;          // the waiting thread's only: how long it spins next time
  uint32_t waits_ = 0;  // likewise
  std::atomic<bool> interrupted_{false};
};

}  // namespace rampart::gofer
