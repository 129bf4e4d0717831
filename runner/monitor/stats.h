// Prints what --stats asks for.
#pragma once

#include <string>

#include "sentry/boot/control.h"

namespace rampart::runner {

// A table for people: totals, then system calls by time, most expensive first. Every number comes from the sentry: any value is printed.
std::string FormatStats(const sentry::boot::StatsReport& report);

}  // namespace rampart::runner
