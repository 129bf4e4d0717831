#include "platform/registry/registry.h"

#include "platform/kvm/kvm_platform.h"
#include "platform/ptrace/ptrace_platform.h"

namespace rampart::platform {
namespace {

constexpr const PlatformInfo* kPlatforms[] = {&kvm::kKvmPlatform, &ptrace::kPtracePlatform};

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

void PreparePlatforms(std::string_view name) {
  for (const PlatformInfo* info : kPlatforms) {
    if (name == "auto" || name == info->name) info->prepare();
  }
}

const PlatformInfo* ChoosePlatform(std::string_view name, std::string* why) {
  why->clear();
  std::string names = "auto";
  for (const PlatformInfo* info : kPlatforms) {
    names += ", " + std::string(info->name);
    if (name != "auto" && name != info->name) continue;
    const std::string reason = info->why_unavailable();
    if (reason.empty()) return info;
    info->discard();
    *why += (why->empty() ? "" : "; ") + reason;
    if (name == info->name) return nullptr;
  }
  if (name != "auto") *why = "there is no platform '" + std::string(name) + "' (known: " + names + ")";
  return nullptr;
}

}  // namespace rampart::platform
