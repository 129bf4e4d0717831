#include "runner/namespaces/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

constexpr int kHighestCapability = 63;

bool GetCapabilities(__user_cap_data_struct (&data)[2]) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  return ::syscall(SYS_capget, &header, data) == 0;
}

bool SetCapabilities(const __user_cap_data_struct (&data)[2]) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  return ::syscall(SYS_capset, &header, data) == 0;
}

CapabilitySet Join(uint32_t low, uint32_t high) { return uint64_t{low} | uint64_t{high} << 32; }

}  // namespace

bool RaiseAmbientCapabilities() {
  __user_cap_data_struct data[2]{};
  if (!GetCapabilities(data)) return false;
  for (auto& half : data) half.inheritable = half.permitted;
  if (!SetCapabilities(data)) return false;
  const CapabilitySet all = Join(data[0].permitted, data[1].permitted);
  for (int cap = 0; cap <= kHighestCapability; ++cap) {
    if ((all >> cap & 1) != 0 && ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) != 0) return false;
  }
  return true;
}

absl::Status BecomeUser(uint32_t uid, uint32_t gid, bool drop_groups) {
  if (drop_groups && ::setgroups(0, nullptr) != 0) return SystemError("drop supplementary groups");
  if (::setresgid(gid, gid, gid) != 0) return SystemError(absl::StrCat("become group ", gid));
  if (::setresuid(uid, uid, uid) != 0) return SystemError(absl::StrCat("become user ", uid));
  return absl::OkStatus();
}

absl::Status DropCapabilities(CapabilitySet keep) {
  for (int cap = 0; cap <= kHighestCapability; ++cap) {
    if ((keep >> cap & 1) != 0) continue;
    if (::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0) {
      if (errno == EINVAL) break;  // past the kernel's last capability
      return SystemError(absl::StrCat("drop capability ", cap, " from the bounding set"));
    }
  }
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return SystemError("clear the ambient capabilities");
  __user_cap_data_struct data[2]{};
  if (!GetCapabilities(data)) return SystemError("read capabilities");
  for (int half = 0; half < 2; ++half) {
    const auto mask = static_cast<uint32_t>(keep >> (32 * half));
    data[half].permitted &= mask;
    data[half].effective = data[half].permitted;
    data[half].inheritable = 0;
  }
  if (!SetCapabilities(data)) return SystemError("drop capabilities");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return SystemError("set no_new_privs");
  return absl::OkStatus();
}

absl::Status DieWithParent() {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return SystemError("ask to die with the runner");
  return absl::OkStatus();
}

absl::Status LimitResources() {
  struct Limit {
    __rlimit_resource resource;
    rlim_t value;
    const char* name;
  };
  const Limit limits[] = {{RLIMIT_CORE, 0, "RLIMIT_CORE"},
                          {RLIMIT_MEMLOCK, 0, "RLIMIT_MEMLOCK"},
                          {RLIMIT_MSGQUEUE, 0, "RLIMIT_MSGQUEUE"},
                          {RLIMIT_RTPRIO, 0, "RLIMIT_RTPRIO"}};
  for (const Limit& limit : limits) {
    const rlimit value{limit.value, limit.value};
    if (::setrlimit(limit.resource, &value) != 0) return SystemError(absl::StrCat("limit ", limit.name));
  }
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return SystemError("read RLIMIT_NOFILE");
  files.rlim_cur = files.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &files) != 0) return SystemError("raise RLIMIT_NOFILE");
  return absl::OkStatus();
}

Privileges ReadPrivileges() {
  Privileges out;
  __user_cap_data_struct data[2]{};
  if (GetCapabilities(data)) {
    out.effective = Join(data[0].effective, data[1].effective);
    out.permitted = Join(data[0].permitted, data[1].permitted);
    out.inheritable = Join(data[0].inheritable, data[1].inheritable);
  }
  for (int cap = 0; cap <= kHighestCapability; ++cap) {
    if (::prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1) out.bounding |= uint64_t{1} << cap;
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1) out.ambient |= uint64_t{1} << cap;
  }
  out.no_new_privs = ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
  return out;
}

}  // namespace rampart::runner
