// CHECK: assertions that stay on in release. For what only a defect of ours can cause; never for what an application, a peer or a
// configuration can cause. A failed check logs file, line and condition, and aborts.
#pragma once

namespace rampart {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);
}  // namespace rampart

#define CHECK(condition) (__builtin_expect(!!(condition), 1) ? (void)0 : ::rampart::CheckFailed(__FILE__, __LINE__, #condition))
#define UNREACHABLE() ::rampart::CheckFailed(__FILE__, __LINE__, "unreachable")
