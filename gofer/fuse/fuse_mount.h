// FuseMount: mounts on the host, with libfuse3, what a Gofer exports. A tool for people who want to see what a sandbox sees, and for tests
// that put a file-system test suite on the protocol.
//
// Model. A FUSE node is a fid of the extension (protocol/extension.h); open files are donated descriptors, which the FUSE kernel module
// reads and writes through splice. The kernel checks permissions (default_permissions) and caches for a second, as the host may
// change the tree too.
// Thread safety: Serve runs libfuse's own threads; Stop from any thread.
// Errors: for people, on standard error, by libfuse.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "gofer/protocol/client.h"

namespace rampart::gofer {

class FuseMount {
 public:
  struct Options {
    std::string attach = {};        // name of the attach point; "": the first
    bool allow_other = true;        // other users too (needs root or user_allow_other)
    double cache_seconds = 1;       // how long the kernel believes names and attributes
  };
  // Mounts on the directory `where`. Errors: the Gofer's to the attach; EIO when libfuse refused (it says why on standard error).
  static Result<std::unique_ptr<FuseMount>> Create(std::unique_ptr<Client> client, const std::string& where, const Options& options);
  // Unmounts.
  ~FuseMount();
  // Serves until it is unmounted or stopped.
  void Serve();
  // Unmounts, so that Serve returns.
  void Stop();

  struct State;

 private:
  explicit FuseMount(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace rampart::gofer
