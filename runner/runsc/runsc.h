// runsc: the OCI runtime's command line, with gVisor's command names and flags. main() of `runsc`; the sentry's and the gofer's process are told
// apart by argv[0], as in sentry-run.
#pragma once

namespace rampart::runner {

int RunscRole(int argc, char** argv);

}  // namespace rampart::runner
