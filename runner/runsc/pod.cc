#include "runner/runsc/pod.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runner/monitor/caller_signals.h"
#include "runner/util/files.h"
#include "runner/util/status.h"
#include "sentry/boot/control_api.pb.h"

namespace rampart::runner {
namespace {

struct Keys {
  const char* type;
  const char* sandbox;
};
constexpr Keys kEngines[] = {{"io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"},
                             {"io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"}};

struct Hint {
  std::string source, type, share, options;
};

void FillMount(const sentry::boot::Mount& from, control::ContainerMount& to) {
  to.set_type(from.type);
  to.set_destination(from.destination);
  to.set_attach(from.attach);
  to.set_source(from.source);
  to.set_shared(from.shared);
  to.set_attach_is_file(!from.attach_is_directory);
  to.set_readonly(from.readonly);
  to.set_nosuid(from.nosuid);
  to.set_nodev(from.nodev);
  to.set_noexec(from.noexec);
  to.set_noatime(from.noatime);
  to.set_nodiratime(from.nodiratime);
  to.set_strictatime(from.strictatime);
  to.set_nosymfollow(from.nosymfollow);
  to.set_propagation(static_cast<uint32_t>(from.propagation));
  to.set_propagation_is_recursive(from.propagation_is_recursive);
  to.set_overlay(from.overlay);
  to.set_access_shared(from.access == sentry::boot::FileAccess::kShared);
  to.set_size_limit(from.size_limit);
  to.set_mode(from.mode);
}

void FillContainer(const sentry::boot::BootConfig& boot, control::ContainerRequest& out) {
  FillProgram(boot, *out.mutable_program());
  for (const sentry::boot::Mount& mount : boot.mounts) FillMount(mount, *out.add_mounts());
  for (const sentry::boot::DeviceNode& device : boot.devices) {
    control::ContainerDevice& to = *out.add_devices();
    to.set_path(device.path);
    to.set_kind(static_cast<uint32_t>(device.kind));
    to.set_major(device.major);
    to.set_minor(device.minor);
    to.set_mode(device.mode);
    to.set_uid(device.uid);
    to.set_gid(device.gid);
  }
  for (const std::string& path : boot.masked_paths) out.add_masked_paths(path);
  for (const std::string& path : boot.readonly_paths) out.add_readonly_paths(path);
  for (const sentry::boot::StartHook& hook : boot.start_hooks) {
    control::StartHook& to = *out.add_start_hooks();
    to.set_path(hook.path);
    for (const std::string& arg : hook.argv) to.add_args(arg);
    for (const std::string& variable : hook.environment) to.add_env(variable);
    to.set_timeout_seconds(hook.timeout_seconds);
  }
  out.set_hook_state_before(boot.hook_state_before);
  out.set_hook_state_after(boot.hook_state_after);
  for (const sentry::boot::FilterInstruction& one : boot.filter) {
    out.add_filter(uint64_t{one.code} | uint64_t{one.if_true} << 16 | uint64_t{one.if_false} << 24 | uint64_t{one.value} << 32);
  }
}

// Stands for the container outside until it has ended.
class PodMonitor {
 public:
  PodMonitor(ControlClient client, CallerSignals signals, const GoferProcess& gofer, const ContainerSetting& setting)
      : client_(std::move(client)), signals_(std::move(signals)), gofer_(gofer), setting_(setting) {}

  absl::Status Make(control::Request& request, const std::vector<int>& fds) {
    control::Response response;
    const absl::Status made = client_.Call(request, response, fds);
    const std::string complaint = made.ok() ? "" : gofer_.Complaint();
    if (!complaint.empty()) return absl::FailedPreconditionError(absl::StrCat("the gofer could not start: ", complaint));
    return made;
  }

  Outcome Run() {
    control::Request wait;
    wait.mutable_wait();
    wait_ = Send(wait);
    if (setting_.ready) {
      const absl::Status status = setting_.ready();
      if (!status.ok()) {
        outcome_.kind = Outcome::Kind::kAbandoned;
        outcome_.text = std::string(status.message());
        return outcome_;
      }
    }
    if (setting_.start_at_once) {
      control::Request start;
      start.mutable_start();
      start_ = Send(start);
    }
    while (!done_) Step();
    return outcome_;
  }

 private:
  uint64_t Send(control::Request& request, const std::vector<int>& fds = {}) {
    const auto id = client_.Send(request, fds);
    if (!id.ok()) SandboxEnded();
    return id.value_or(0);
  }

  void SandboxEnded() {
    outcome_.kind = Outcome::Kind::kExited;
    outcome_.wait_status = SIGKILL;
    done_ = true;
  }

  void Step() {
    pollfd fds[] = {{signals_.fd(), POLLIN, 0},
                    {client_.fd(), POLLIN, 0},
                    {gofer_.pidfd(), POLLIN, 0},
                    {setting_.listen_fd, POLLIN, 0},
                    {committed_ ? -1 : setting_.lifeline_fd, POLLIN, 0}};
    if (::poll(fds, std::size(fds), -1) < 0) return;
    if (fds[0].revents != 0) PassSignals();
    if (!done_ && fds[1].revents != 0) ReadAnswer();
    if (!done_ && fds[2].revents != 0) {
      outcome_.kind = Outcome::Kind::kGoferDied;
      outcome_.text = gofer_.Complaint();
      done_ = true;
    }
    if (!done_ && fds[3].revents != 0) Adopt();
    if (!done_ && fds[4].revents != 0) ReadLifeline();
  }

  void PassSignals() {
    while (const auto info = signals_.Next()) {
      const int signo = static_cast<int>(info->ssi_signo);
      if (signo == SIGCHLD || done_) continue;
      control::Request request;
      request.mutable_signal()->set_signal(signo);
      request.mutable_signal()->set_foreground(info->ssi_code == SI_KERNEL);
      signalled_ = Send(request);
      signal_ = signo;
    }
  }

  void ReadAnswer() {
    control::Response response;
    if (!client_.Receive(response).ok()) return SandboxEnded();
    if (response.id() == wait_) {
      outcome_.kind = Outcome::Kind::kExited;
      outcome_.wait_status = response.wait().status();
      done_ = true;
    } else if (response.id() == start_) {
      if (response.error() == 0) {
        if (setting_.started) setting_.started();
        return;
      }
      outcome_.kind = Outcome::Kind::kStartFailed;
      outcome_.failure = static_cast<sentry::boot::StartFailure>(response.start().failure());
      outcome_.error = response.error();
      outcome_.text = response.text().substr(0, 1000);
      done_ = true;
    } else if (response.id() == signalled_ && response.error() == ESRCH) {
      // Nothing runs yet: a signal that would end the program ends what waits for it.
      if (signal_ != SIGINT && signal_ != SIGTERM && signal_ != SIGHUP && signal_ != SIGQUIT) return;
      outcome_.kind = Outcome::Kind::kInterrupted;
      outcome_.death = {true, signal_};
      done_ = true;
    }
  }

  void Adopt() {
    const UniqueFd client(::accept4(setting_.listen_fd, nullptr, nullptr, SOCK_CLOEXEC));
    if (!client.valid()) return;
    const timeval patience{10, 0};
    ::setsockopt(client.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    control::Request request;
    request.mutable_adopt();
    Send(request, {client.get()});
  }

  void ReadLifeline() {
    char byte = 0;
    const ssize_t n = ::recv(setting_.lifeline_fd, &byte, 1, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    committed_ = true;
    if (n == 1) return;
    outcome_.kind = Outcome::Kind::kAbandoned;
    done_ = true;
  }

  ControlClient client_;
  CallerSignals signals_;
  const GoferProcess& gofer_;
  const ContainerSetting& setting_;
  Outcome outcome_;
  uint64_t wait_ = 0;
  uint64_t start_ = 0;
  uint64_t signalled_ = 0;
  int signal_ = 0;
  bool committed_ = setting_.lifeline_fd < 0;
  bool done_ = false;
};

}  // namespace

absl::StatusOr<std::string> SandboxToJoin(const oci::Spec& spec) {
  for (const Keys& keys : kEngines) {
    const auto type = spec.annotations.find(keys.type);
    if (type == spec.annotations.end()) continue;
    const std::string path = absl::StrCat("$.annotations['", keys.type, "']");
    if (type->second == "sandbox") return std::string();
    if (type->second != "container") return UsageError(absl::StrCat(path, ": '", type->second, "' is neither sandbox nor container"));
    const auto sandbox = spec.annotations.find(keys.sandbox);
    if (sandbox == spec.annotations.end()) return UsageError(absl::StrCat("$.annotations['", keys.sandbox, "']: is required and missing"));
    if (const absl::Status checked = CheckId(sandbox->second); !checked.ok()) {
      return UsageError(absl::StrCat("$.annotations['", keys.sandbox, "']: ", checked.message()));
    }
    return sandbox->second;
  }
  return std::string();
}

absl::Status ApplyMountHints(const std::map<std::string, std::string>& annotations, oci::Spec& spec) {
  static constexpr absl::string_view kPrefix = "dev.gvisor.spec.mount.";
  std::map<std::string, Hint> hints;
  for (const auto& [key, value] : annotations) {
    if (!absl::StartsWith(key, kPrefix)) continue;
    const auto fault = [&](absl::string_view why) { return UsageError(absl::StrCat("$.annotations['", key, "']: ", why)); };
    const std::string rest = key.substr(kPrefix.size());
    const size_t dot = rest.rfind('.');
    if (dot == std::string::npos || dot == 0) return fault("dev.gvisor.spec.mount.NAME.FIELD is expected");
    Hint& hint = hints[rest.substr(0, dot)];
    const std::string field = rest.substr(dot + 1);
    if (field == "source") hint.source = CleanPath(absl::StartsWith(value, "/") ? value : "/" + value);
    else if (field == "type" && (value == "tmpfs" || value == "bind")) hint.type = value;
    else if (field == "share" && (value == "container" || value == "pod" || value == "shared")) hint.share = value;
    else if (field == "options") hint.options = value;
    else if (field == "type") return fault(absl::StrCat("'", value, "' is neither tmpfs nor bind"));
    else if (field == "share") return fault(absl::StrCat("'", value, "' is none of container, pod, shared"));
    else if (field != "directfs") return fault("source, type, share and options are known");
  }
  for (const auto& [name, hint] : hints) {
    for (oci::Mount& mount : spec.mounts) {
      if (hint.source.empty() || mount.source.empty() || mount.source[0] != '/' || CleanPath(mount.source) != hint.source) continue;
      if (hint.type == "tmpfs") {
        // The host's directory is empty and stays so.
        mount.type = "tmpfs";
        std::erase_if(mount.options, [](const std::string& one) { return one == "bind" || one == "rbind"; });
        if (hint.share != "container") mount.shared = name;
      } else if (hint.share == "container") {
        mount.options.emplace_back("exclusive");
      }
      for (const absl::string_view option : absl::StrSplit(hint.options, ',', absl::SkipEmpty())) mount.options.emplace_back(option);
    }
  }
  return absl::OkStatus();
}

// The further container of `sandbox` whose PID namespace is asked for by its path; "": none.
static std::string PidsOf(const Invocation& invocation, const oci::Spec& spec, const std::string& sandbox) {
  for (const oci::Namespace& ns : spec.linux_config.namespaces) {
    const std::vector<std::string> parts = absl::StrSplit(ns.path, '/');  // "/proc/PID/ns/pid"
    pid_t pid = 0;
    if (ns.type != "pid" || parts.size() != 5 || parts[1] != "proc" || !absl::SimpleAtoi(parts[2], &pid) || pid <= 0) continue;
    const auto names = ListContainers(invocation.root);
    if (!names.ok()) continue;
    for (const std::string& id : *names) {
      const auto found = FindContainer(invocation, id, /*lock=*/false);
      if (found.ok() && found->status != Status::kStopped && found->state.pid == pid && found->state.sandbox == sandbox) return id;
    }
  }
  return "";
}

absl::StatusOr<Outcome> RunPodContainer(const Invocation& invocation, Preparation& preparation, const ContainerSetting& setting) {
  CallerSignals signals = TRY_STATUS(CallerSignals::Take());
  const Found sandbox = TRY_STATUS(FindContainer(invocation, preparation.sandbox, /*lock=*/false));
  ControlClient client = TRY_STATUS(ConnectToRunning(sandbox));
  const auto gofer = TRY_STATUS(GoferProcess::Start(preparation.plan, preparation.options, invocation.caller, setting.id_maps));
  control::Request request;
  control::ContainerRequest& wanted = *request.mutable_container();
  FillContainer(preparation.plan.boot, wanted);
  const auto& namespaces = preparation.spec.linux_config.namespaces;
  wanted.set_own_pids(std::any_of(namespaces.begin(), namespaces.end(), [](const oci::Namespace& ns) { return ns.type == "pid" && ns.path.empty(); }));
  wanted.set_id(preparation.request.id);
  wanted.set_pids_of(PidsOf(invocation, preparation.spec, preparation.sandbox));
  const UniqueFd channel = gofer->TakeChannel();
  std::vector<int> fds = {channel.get()};
  std::vector<PassedFd> files = preparation.options.pass_fds;
  for (int fd = 0; fd <= 2; ++fd) files.push_back({fd, fd});
  for (const auto& [here, inside] : files) {
    if (::fcntl(here, F_GETFD) < 0) continue;
    wanted.mutable_program()->add_fds(inside);
    fds.push_back(here);
  }
  PodMonitor monitor(std::move(client), std::move(signals), *gofer, setting);
  TRY_STATUS(monitor.Make(request, fds));
  return monitor.Run();
}

}  // namespace rampart::runner
