// The one binary and its three roles: what it is depends on the name under which it was started.
#pragma once

namespace rampart::runner {

// main() of sentry-run, of the sentry process and of the gofer process, told apart by argv[0]. Returns the exit status.
int RunRole(int argc, char** argv);

}  // namespace rampart::runner
