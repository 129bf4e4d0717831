// What the runner hands to a Gofer before confinement: its channels, what it exports, and its limits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "gofer/protocol/message_socket.h"

namespace rampart::gofer {

// A directory or file that clients may attach to. Nothing outside it can be reached through it.
struct AttachPoint {
  std::string name;           // Tattach's aname; a client that names none ("" or "/") gets the first attach point
  UniqueFd root;              // O_PATH descriptor
  bool read_only = false;     // every change is EROFS, and no writable descriptor is donated
  bool host_sockets = false;  // Teconnect to UNIX sockets in the tree
  bool devices = false;       // mknod of device nodes
};

struct GoferChannel {
  UniqueFd fd;
  SocketKind kind = SocketKind::kSeqPacket;  // kStream for a stock 9P client
};

struct GoferConfig {
  std::vector<GoferChannel> channels;  // each begins a session of its own
  std::vector<AttachPoint> attach_points;
  // The directory /proc/self/fd, opened by this very process. Without it files are opened again through their parent's descriptor
  // and name, which fails with ESTALE after somebody renamed them behind our back, and Teconnect is refused.
  UniqueFd proc_self_fd;
  uint32_t uid = 0;              // the process's own: who owns what it creates
  uint32_t max_files = 0;        // host descriptors kept for clients: PrepareGofer raises it; 0: few enough for a limit of 1024
  uint32_t max_fids = 1u << 20;  // in one session
  uint32_t max_workers = 4;      // threads of one channel
};

// Before confinement, in the process that will serve, while /proc is mounted: fills in proc_self_fd (left invalid when it cannot be
// opened), uid and max_files, raises the soft limit of open files to the hard one, sets the umask to 0 (clients say the whole mode) and,
// where an attach point allows host sockets, the working directory to /proc/self/fd.
void PrepareGofer(GoferConfig& config);

// Serves until every channel has been closed by its client, then returns 0. Called after confinement (seccomp_table.h says what it
// needs); starts threads.
int ServeGofer(GoferConfig config);

}  // namespace rampart::gofer
