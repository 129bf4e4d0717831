#include "runner/control/client.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "runner/util/status.h"
#include "sentry/boot/control_api.pb.h"
#include "sentry/boot/control_frame.h"

namespace rampart::runner {
namespace {

absl::Status Gone() { return absl::UnavailableError("the container has ended"); }

// What comes from the sandbox goes to a terminal or a log.
std::string Printable(const std::string& text) {
  std::string out;
  for (const char c : text.substr(0, 1000)) out.push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c);
  return out;
}

}  // namespace

absl::StatusOr<ControlClient> ControlClient::Connect(const std::string& address) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (address.size() >= sizeof(name.sun_path)) return UsageError(absl::StrCat("the path of the control socket is too long: ", address));
  std::memcpy(name.sun_path, address.data(), address.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return SystemError("make a socket");
  // SAFETY: the address family's own struct, as connect(2) wants it.
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) {
    if (errno == ECONNREFUSED || errno == ENOENT) return Gone();
    return SystemError("connect to the sandbox");
  }
  return ControlClient(std::move(socket));
}

void ControlClient::LimitWaits(int seconds) {
  const timeval limit{seconds, 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

absl::StatusOr<uint64_t> ControlClient::Send(control::Request& request, const std::vector<int>& fds) {
  const uint64_t id = next_id_++;
  request.set_id(id);
  const Result<void> sent = sentry::boot::SendFrame(socket_.get(), request.SerializeAsString(), fds);
  if (sent.ok()) return id;
  if (sent.error() == Errno::kEPIPE || sent.error() == Errno::kECONNRESET) return Gone();
  return SystemError("send a request to the sandbox", sent.error());
}

absl::Status ControlClient::Receive(control::Response& response) {
  const Result<sentry::boot::Frame> frame = sentry::boot::ReceiveFrame(socket_.get(), /*take_fds=*/false);
  if (!frame.ok()) {
    if (frame.error() == Errno::kEPIPE || frame.error() == Errno::kECONNRESET) return Gone();
    if (frame.error() == Errno::kEAGAIN) return absl::DeadlineExceededError("the sandbox does not answer");
    return SystemError("read the sandbox's answer", frame.error());
  }
  if (!response.ParseFromArray(frame->message.data(), static_cast<int>(frame->message.size()))) {
    return absl::InternalError("the sandbox's answer is malformed");
  }
  return absl::OkStatus();
}

absl::Status ControlClient::Call(control::Request& request, control::Response& response, const std::vector<int>& fds) {
  const uint64_t id = TRY_STATUS(Send(request, fds));
  do {
    TRY_STATUS(Receive(response));
  } while (response.id() != id);
  last_errno_ = response.error();
  if (response.error() == 0) return absl::OkStatus();
  const int error = response.error() > 0 && response.error() < 134 ? response.error() : EIO;
  return absl::Status(absl::ErrnoToStatusCode(error), Printable(response.text().empty() ? std::strerror(error) : response.text()));
}

}  // namespace rampart::runner
