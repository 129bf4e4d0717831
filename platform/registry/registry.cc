#include "platform/registry/registry.h"

#include "platform/ptrace/ptrace_platform.h"

namespace rampart::platform {
namespace {

constexpr const PlatformInfo* kPlatforms[] = {&ptrace::kPtracePlatform};

}  // namespace

std::span<const PlatformInfo* const> Platforms() { return kPlatforms; }

const PlatformInfo* FindPlatform(std::string_view name) {
  const bool any = name == "auto";
  const PlatformInfo* found = nullptr;
  for (const PlatformInfo* info : kPlatforms) {
    if (any) {
      found = info;
      if (info->why_unavailable().empty()) break;
    } else if (name == info->name) {
      found = info;
    }
  }
  return found;
}

}  // namespace rampart::platform
