// The one binary: what it is depends on the name under which it was started.
#include <cstring>

#include "runner/cli/sentry_run.h"
#include "runner/sandbox/child_config.h"
#include "runner/sandbox/confine.h"

int main(int argc, char** argv) {
  const char* name = argc > 0 ? argv[0] : "";
  if (std::strcmp(name, rampart::runner::kBootName) == 0) return rampart::runner::BootMain();
  if (std::strcmp(name, rampart::runner::kGoferName) == 0) return rampart::runner::GoferMain();
  return rampart::runner::SentryRunMain(argc, argv);
}
