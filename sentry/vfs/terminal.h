// Terminal: what can be a session's controlling terminal: a pty's slave side, or a host terminal that the runner donated. /dev/tty opens it again.
// Thread safety: any thread.
#pragma once

#include "sentry/vfs/file_description.h"

namespace rampart::vfs {

class Terminal : public virtual RefCounted {
 public:
  // A new description of the terminal (open("/dev/tty")). EIO: it hung up.
  virtual Result<Ref<FileDescription>> OpenTerminal(Caller& caller, uint32_t flags) = 0;
  // Its dev_t, for /proc/PID/stat.
  virtual uint64_t terminal_device() const = 0;
};

}  // namespace rampart::vfs
