#include "runner/runsc/console.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

absl::Status SendMaster(const std::string& path, int master) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof(name.sun_path)) return UsageError(absl::StrCat("--console-socket: the path is longer than ", sizeof(name.sun_path) - 1, " bytes"));
  std::memcpy(name.sun_path, path.data(), path.size());
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return SystemError("make a socket");
  // SAFETY: the address family's own struct, as connect(2) wants it.
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) {
    return SystemError(absl::StrCat("connect to the console socket ", path));
  }
  char text[] = "/dev/ptmx";
  iovec part{text, sizeof(text) - 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  cmsghdr* rights = CMSG_FIRSTHDR(&header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(rights), &master, sizeof(master));
  if (::sendmsg(socket.get(), &header, MSG_NOSIGNAL) < 0) return SystemError(absl::StrCat("send the terminal to ", path));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> MakeConsole(const std::string& path, const std::optional<oci::ConsoleSize>& size) {
  const UniqueFd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!master.valid() || ::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0) return SystemError("make a terminal");
  UniqueFd slave(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave.valid()) return SystemError("open a terminal");
  if (size.has_value() && (size->height != 0 || size->width != 0)) {
    winsize window{};
    window.ws_row = static_cast<unsigned short>(std::min<uint32_t>(size->height, UINT16_MAX));
    window.ws_col = static_cast<unsigned short>(std::min<uint32_t>(size->width, UINT16_MAX));
    (void)::ioctl(master.get(), TIOCSWINSZ, &window);
  }
  TRY_STATUS(SendMaster(path, master.get()));
  return slave;
}

absl::Status TakeConsole(int slave) {
  if (::setsid() < 0) return SystemError("begin a session");
  if (::ioctl(slave, TIOCSCTTY, 0) != 0) return SystemError("take the terminal");
  for (int fd = 0; fd <= 2; ++fd) {
    if (::dup2(slave, fd) < 0) return SystemError("take the terminal");
  }
  return absl::OkStatus();
}

}  // namespace rampart::runner
