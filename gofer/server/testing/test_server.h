// For tests: a Gofer over a temporary directory, in this process.
#pragma once

#include <string>
#include <thread>
#include <vector>

#include "gofer/protocol/client.h"
#include "gofer/server/config.h"

namespace rampart::gofer {

class TestServer {
 public:
  struct Options {
    SocketKind kind = SocketKind::kSeqPacket;
    bool read_only = false;
    bool host_sockets = false;
    bool proc = true;  // with /proc/self/fd
    uint32_t max_files = 0;
    uint32_t max_fids = 1u << 20;
  };
  explicit TestServer(const Options& options);
  // Ends the session (the client's descriptor must be closed by now, or owned by us) and waits for the server.
  ~TestServer();

  // The client's end; the caller's from now on.
  UniqueFd TakeSocket() { return std::move(client_end_); }
  // The directory above the exported one, and the exported one.
  const std::string& outside() const { return outside_; }
  const std::string& root() const { return root_; }

 private:
  std::string outside_, root_;
  UniqueFd client_end_;
  std::thread thread_;
};

// A client of plain 9P2000.L: encodes a request, sends it, and waits for the reply, whose views live until the next call.
class RawClient {
 public:
  RawClient(UniqueFd fd, SocketKind kind) : socket_(std::move(fd), kind), in_(kMaxMessage), out_(kMaxMessage) {}

  template <class Request>
  Result<typename Request::Reply> Call(const Request& request, uint16_t tag = 1) {
    TRY(Send(request, tag));
    const Frame frame = TRY(Receive());
    if (frame.tag != tag) return Errno::kEPROTO;
    return DecodeReply<Request>(frame);
  }
  template <class Request>
  Result<void> Send(const Request& request, uint16_t tag) {
    const size_t size = EncodeMessage(tag, request, out_);
    CHECK(size != 0);
    return SendBytes(Bytes(out_).first(size));
  }
  Result<void> SendBytes(Bytes bytes) { return socket_.Send(bytes, FdList()); }
  Result<Frame> Receive() {
    const size_t size = TRY(socket_.Receive(in_, nullptr));
    return ParseFrame(Bytes(in_).first(size));
  }
  // Version and attach: fid 0 is the root.
  Result<void> Begin(std::string_view version = kVersionLinux) {
    const Rversion agreed = TRY(Call(Tversion{kMaxMessage, version}, kNoTag));
    if (agreed.version != version) return Errno::kEPROTONOSUPPORT;
    TRY(Call(Tattach{FidNum{0}, kNoFid, "nobody", "", 0xffffffff}));
    return Ok();
  }
  Result<void> Walk(uint32_t from, uint32_t to, std::vector<std::string_view> names) {
    const size_t wanted = names.size();
    const Rwalk walked = TRY(Call(Twalk{FidNum{from}, FidNum{to}, std::move(names)}));
    if (walked.qids.size() != wanted) return Errno::kENOENT;
    return Ok();
  }

 private:
  MessageSocket socket_;
  std::vector<std::byte> in_, out_;
};

void WriteFile(const std::string& path, std::string_view text);
std::string ReadFile(const std::string& path);

}  // namespace rampart::gofer
