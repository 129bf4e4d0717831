// The global flags of runsc, under gVisor's names, and what follows from them.
// Thread safety: a value.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runner/oci/spec.h"
#include "runner/runsc/flags.h"
#include "runner/sandbox/options.h"

namespace rampart::runner {

struct Config {
  std::string root;                        // "" = chosen by ChooseRoot
  std::string log;
  std::string log_format = "text";
  bool debug = false;
  std::string debug_log;
  bool strace = false;
  std::string strace_syscalls;
  std::string platform = "auto";
  std::string network = "none";
  std::string file_access = "exclusive";
  std::string file_access_mounts = "shared";
  std::string overlay2 = "root:memory";
  bool overlay = false;
  std::string host_uds = "none";
  bool rootless = false;
  bool ignore_cgroups = false;
  bool systemd_cgroup = false;
  bool oci_seccomp = true;
  bool allow_suid = true;
  bool net_raw = false;
  bool allow_flag_override = false;
  bool show_version = false;
  bool show_help = false;
};

// `config` outlives the result.
Flags GlobalFlags(Config& config);

// As an ordinary user's engine starts us: as root, but of a user namespace.
bool InUserNamespace();

// What cannot be meant, or is not there yet. One line that names the flag.
absl::Status CheckConfig(const Config& config);

// --root, or where gVisor would look: /var/run/runsc, or $XDG_RUNTIME_DIR/runsc for an ordinary user.
absl::StatusOr<std::string> ChooseRoot(const Config& config, uint32_t uid);

// Carries out "dev.gvisor.flag.NAME" annotations: safe flags always, others with --allow-flag-override.
absl::Status ApplyAnnotations(const oci::Spec& spec, Config& config);

// The part of it that the launcher is told. `id` and `command` fill in %ID% and %COMMAND% of the debug log's name.
SandboxOptions OptionsOf(const Config& config, const std::string& id, const std::string& command);

}  // namespace rampart::runner
