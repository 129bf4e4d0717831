// The platforms that this build has. Thread safety: constants; the functions may be called from any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "platform/platform.h"

namespace rampart::platform {

// In order of preference.
std::span<const PlatformInfo* const> Platforms();

// The platform of that name, or null. "auto": the first that works here, else the last (whose create() will tell why it does not).
const PlatformInfo* FindPlatform(std::string_view name);

// Opens what those platforms need that ChoosePlatform(name) may find, in a process that is about to lose sight of the host's files.
void PreparePlatforms(std::string_view name);

// As FindPlatform, but only what works here: null and the reason in *why, one line for people with the remedy, otherwise. With "auto", *why says of
// each platform that was passed over why it was ("" if none). Tries them: REQUIRES as PlatformInfo::create.
const PlatformInfo* ChoosePlatform(std::string_view name, std::string* why);

}  // namespace rampart::platform
