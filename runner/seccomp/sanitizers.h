// What a sanitizer's runtime asks of the host beyond a policy. Only for builds of the presets asan and tsan, which are for tests.
#pragma once

#include "runner/seccomp/policy.h"

namespace rampart::seccomp {

// The policy as it is, unless this build has a sanitizer in it.
Policy WithSanitizerCalls(Policy policy);

}  // namespace rampart::seccomp
