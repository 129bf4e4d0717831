// hooks.startContainer of the OCI specification: programs that run inside a container, one after the other, before its first program does.
// Thread safety: any thread.
#pragma once

#include "abi/types.h"
#include "sentry/boot/boot.h"
#include "sentry/boot/program_starter.h"

namespace rampart::sentry::boot {

// Runs them as the container's program would run: its user, rights, filter, limits and directory; each has the container's state on its standard input. Sleeps
// until all have ended well, or one has not: the error names it, and what it wrote. What they leave running is killed. With hooks *pid becomes a number that is
// reserved for the first program; without, nothing happens.
StartError RunStartHooks(const BootConfig& config, ProgramStarter& starter, abi::Pid& pid);

}  // namespace rampart::sentry::boot
