#include "base/errno.h"

#include <cstring>

namespace rampart {

const char* ErrnoName(Errno e) {
  switch (e) {
#define RAMPART_ERRNO_NAME(name, value) \
  case Errno::k##name:                  \
    return #name;
    RAMPART_ERRNOS(RAMPART_ERRNO_NAME)
#undef RAMPART_ERRNO_NAME
    case Errno::kERESTARTSYS:
      return "ERESTARTSYS";
    case Errno::kERESTARTNOINTR:
      return "ERESTARTNOINTR";
    case Errno::kERESTARTNOHAND:
      return "ERESTARTNOHAND";
    case Errno::kERESTART_RESTARTBLOCK:
      return "ERESTART_RESTARTBLOCK";
  }
  return "E?";
}

const char* ErrnoText(Errno e) { return strerrordesc_np(static_cast<int>(e)) ? strerrordesc_np(static_cast<int>(e)) : "Unknown error"; }

Errno ErrnoFromHost(int host_errno) {
  if (host_errno < 1 || host_errno > 133) return Errno::kEIO;
  return static_cast<Errno>(host_errno);
}

}  // namespace rampart
