// audited-sentry-run: sentry-run whose filters report instead of allowing in silence. Each call that a filter lets through goes to a process
// beside the confined one (SECCOMP_RET_USER_NOTIF), which notes it, once for each rule, in the debug log, and lets it continue. What a filter
// forbids is forbidden here too. tests/security/unused-rules runs programs under it, and finds the rules that nothing needs.
//
//   audited-sentry-run --debug-log LOG [OPTIONS] [--] CMD       lines "… rule: POLICY CALL [aN=VALUE]…" in LOG
//   audited-sentry-run --print-rules                            every rule of every policy as such a line
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>
#include <string>

#include "base/log.h"
#include "platform/registry/registry.h"
#include "runner/cli/roles.h"
#include "runner/sandbox/gofer_policy.h"
#include "runner/seccomp/compile.h"
#include "runner/seccomp/install.h"
#include "sentry/boot/seccomp_table.h"

namespace rampart::security {
namespace {

using seccomp::AllowedSyscall;
using seccomp::ArgCheck;
using seccomp::Policy;
using seccomp::Rule;

std::string Hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%lx", static_cast<unsigned long>(value));
  return text;
}

std::string Head(const Policy& policy, const AllowedSyscall& call) {
  return policy.name + " " + abi::SysnoName(static_cast<uint32_t>(call.number));
}

// A check with several values is several rules: each value is reported by itself.
bool IsChoice(const ArgCheck& check) { return check.any_of.size() > 1; }

std::string Choice(const ArgCheck& check, uint64_t value) { return " a" + std::to_string(check.arg) + "=" + Hex(value); }

void PrintRules(const Policy& policy) {
  for (const AllowedSyscall& call : policy.allowed) {
    std::set<std::string> lines;
    if (call.rules.empty()) lines.insert(Head(policy, call));
    for (const Rule& rule : call.rules) {
      std::set<std::string> forms = {Head(policy, call)};
      for (const ArgCheck& check : rule) {
        if (!IsChoice(check)) continue;
        std::set<std::string> longer;
        for (const std::string& form : forms) {
          for (const uint64_t value : check.any_of) longer.insert(form + Choice(check, value));
        }
        forms = longer;
      }
      lines.insert(forms.begin(), forms.end());
    }
    for (const std::string& line : lines) std::printf("%s\n", line.c_str());
  }
}

bool Passes(const ArgCheck& check, const seccomp_data& data, std::string& form) {
  const uint64_t value = data.args[check.arg] & check.mask;
  for (const uint64_t allowed : check.any_of) {
    if (value != allowed) continue;
    if (IsChoice(check)) form += Choice(check, value);
    return true;
  }
  return false;
}

// The rule that lets `data` through, as PrintRules writes it.
std::string RuleOf(const Policy& policy, const seccomp_data& data) {
  const AllowedSyscall* call = seccomp::Find(policy, static_cast<abi::Sysno>(data.nr));
  if (call == nullptr) return "unknown";
  for (const Rule& rule : call->rules) {
    std::string form = Head(policy, *call);
    bool all = true;
    for (const ArgCheck& check : rule) all = all && Passes(check, data, form);
    if (all) return form;
  }
  return Head(policy, *call);
}

[[noreturn]] void Watch(const Policy& policy, std::atomic<int>& listener) {
  ::prctl(PR_SET_NAME, "rampart-audit");
  while (listener.load() < 0) {
    const timespec pause{0, 50'000};
    ::nanosleep(&pause, nullptr);
  }
  const int fd = listener.load();
#ifdef SECCOMP_IOCTL_NOTIF_SET_FLAGS
  ::ioctl(fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
#endif
  std::set<std::string> seen;
  for (;;) {
    seccomp_notif call{};
    if (::ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) {
      if (errno == EINTR || errno == ENOENT) continue;
      ::_exit(0);
    }
    const std::string rule = RuleOf(policy, call.data);
    if (seen.insert(rule).second) LogAlways("rule: %s", rule.c_str());
    seccomp_notif_resp answer{};
    answer.id = call.id;
    answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    ::ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
}

Result<void> InstallReporting(const Policy& policy) {
  seccomp::Program program = seccomp::Compile(policy);
  for (sock_filter& insn : program) {
    if (insn.code == (BPF_RET | BPF_K) && insn.k == SECCOMP_RET_ALLOW) insn.k = SECCOMP_RET_USER_NOTIF;
  }
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return ErrnoFromHost(errno);
  auto* listener = new (page) std::atomic<int>(-1);
  // Shares the descriptors, so that the listener need not be handed over by a call that would itself have to be reported.
  const long pid = ::syscall(SYS_clone, long{CLONE_FILES}, nullptr, nullptr, nullptr, 0L);
  if (pid < 0) return ErrnoFromHost(errno);
  if (pid == 0) Watch(policy, *listener);
  const sock_fprog prog{static_cast<unsigned short>(program.size()), program.data()};
  const long fd = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                            SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, &prog);
  if (fd < 0) return ErrnoFromHost(errno);
  listener->store(static_cast<int>(fd));
  return Ok();
}

void PrintAllRules() {
  for (const platform::PlatformInfo* platform : platform::Platforms()) {
    PrintRules(sentry::boot::SentryPolicy(*platform));
  }
  PrintRules(runner::GoferPolicy(/*host_sockets=*/false));
}

}  // namespace
}  // namespace rampart::security

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--print-rules") == 0) {
    rampart::security::PrintAllRules();
    return 0;
  }
  rampart::seccomp::ReplaceInstallerForTesting(&rampart::security::InstallReporting);
  return rampart::runner::RunRole(argc, argv);
}
