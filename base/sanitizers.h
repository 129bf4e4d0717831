// Whether this is a sanitizer's build: such a process needs more stack and a few more host calls (runner/seccomp/sanitizers.h). Never what ships.
#pragma once

namespace rampart {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RAMPART_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RAMPART_SANITIZED 1
#endif

#ifdef RAMPART_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// ThreadSanitizer must not look at the application's memory: its threads race there as they please, and copies of ours with them.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool kThreadSanitized = true;
#else
inline constexpr bool kThreadSanitized = false;
#endif
#else
inline constexpr bool kThreadSanitized = false;
#endif

}  // namespace rampart
