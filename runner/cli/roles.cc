#include "runner/cli/roles.h"

#include <cstring>

#include "runner/cli/sentry_run.h"
#include "runner/sandbox/child_config.h"
#include "runner/sandbox/confine.h"

namespace rampart::runner {

int RunRole(int argc, char** argv) {
  const char* name = argc > 0 ? argv[0] : "";
  if (std::strcmp(name, kBootName) == 0) return BootMain();
  if (std::strcmp(name, kGoferName) == 0) return GoferMain();
  return SentryRunMain(argc, argv);
}

}  // namespace rampart::runner
