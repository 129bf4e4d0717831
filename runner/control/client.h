// The CLI's side of the control protocol (sentry/boot/control_api.proto): one connection to a running sandbox.
// The sandbox is hostile: what it answers is bounded and checked. Thread safety: none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace rampart::control {
class Request;
class Response;
}  // namespace rampart::control

namespace rampart::runner {

class ControlClient {
 public:
  ControlClient(ControlClient&&) = default;
  ControlClient& operator=(ControlClient&&) = default;

  // `address`: ContainerDirectory::SocketAddress(). kUnavailable: nobody listens (any more).
  static absl::StatusOr<ControlClient> Connect(const std::string& address);

  // Sends `request` (its id is set here) with `fds`. Returns the id.
  absl::StatusOr<uint64_t> Send(control::Request& request, const std::vector<int>& fds = {});
  // The next answer, to whatever. kUnavailable: the sandbox has ended.
  absl::Status Receive(control::Response& response);
  // Both; an answer with an error is an error: its text, and CallErrno() its errno.
  absl::Status Call(control::Request& request, control::Response& response, const std::vector<int>& fds = {});
  // How long an answer may take from now on; then it is an error. The sandbox may be stopped, or hostile.
  void LimitWaits(int seconds);
  int last_errno() const { return last_errno_; }

  int fd() const { return socket_.get(); }

 private:
  explicit ControlClient(UniqueFd socket) : socket_(std::move(socket)) {}
  UniqueFd socket_;
  uint64_t next_id_ = 1;
  int last_errno_ = 0;
};

}  // namespace rampart::runner
