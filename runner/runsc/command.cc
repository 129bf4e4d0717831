#include "runner/runsc/command.h"

#include <sys/wait.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runner/oci/spec_json.h"
#include "runner/util/files.h"
#include "runner/util/status.h"
#include "sentry/boot/control_api.pb.h"

namespace rampart::runner {
namespace {

// A start that was killed before it could write down that it had worked.
Status AskStarted(const ContainerDirectory& directory, Status status) {
  if (status != Status::kCreated) return status;
  auto client = ControlClient::Connect(directory.SocketAddress());
  if (!client.ok()) return status;
  client->LimitWaits(5);
  control::Request request;
  control::Response response;
  request.mutable_stats();
  if (!client->Call(request, response).ok()) return status;
  return response.stats().tasks() > 0 ? Status::kRunning : status;
}

}  // namespace

absl::StatusOr<std::vector<PassedFd>> FdsToPass(int64_t preserved, const std::vector<std::string>& pairs) {
  constexpr int64_t kMost = 4096;
  std::vector<PassedFd> out;
  if (preserved < 0 || preserved > kMost) return UsageError(absl::StrCat("--preserve-fds=", preserved, ": 0 to ", kMost, " is expected"));
  for (int fd = 3; fd < 3 + preserved; ++fd) out.push_back({fd, fd});
  for (const std::string& pair : pairs) {
    const std::vector<std::string> words = absl::StrSplit(pair, ':');
    PassedFd one;
    const bool numbers = words.size() == 2 && absl::SimpleAtoi(words[0], &one.here) && absl::SimpleAtoi(words[1], &one.inside);
    if (!numbers || one.here < 3 || one.inside < 3 || one.inside > kMost) return UsageError(absl::StrCat("--pass-fd=", pair, ": M:N is expected, two descriptors from 3 on"));
    const bool taken = std::any_of(out.begin(), out.end(), [&](const PassedFd& other) { return other.inside == one.inside; });
    if (taken) return UsageError(absl::StrCat("--pass-fd=", pair, ": there is another descriptor ", one.inside, " inside"));
    out.push_back(one);
  }
  return out;
}

void Print(const std::string& text) { WriteAll(1, text); }

absl::StatusOr<std::vector<std::string>> ParseWords(const Invocation& invocation, const char* command, Flags flags) {
  auto words = flags.Parse(invocation.words);
  if (words.ok()) return words;
  return UsageError(absl::StrCat(words.status().message(), " (see runsc help ", command, ")"));
}

absl::StatusOr<std::string> OnlyId(const std::vector<std::string>& words, const char* command) {
  if (words.size() != 1) {
    return UsageError(absl::StrCat(command, ": one container is expected, ", words.size(), " are named (flags go before it; see runsc help ", command, ")"));
  }
  TRY_STATUS(CheckId(words[0]));
  return words[0];
}

absl::StatusOr<Found> FindContainer(const Invocation& invocation, const std::string& id, bool lock) {
  ContainerDirectory directory = TRY_STATUS(ContainerDirectory::Open(invocation.root, id, lock));
  ContainerState state = TRY_STATUS(directory.Load());
  const Status status = AskStarted(directory, StatusOf(state));
  return Found{std::move(directory), std::move(state), status};
}

absl::StatusOr<oci::Spec> LoadSpec(const ContainerDirectory& directory) {
  const std::string text = TRY_STATUS(directory.LoadSpec());
  return oci::ParseSpec(text);
}

absl::StatusOr<ControlClient> ConnectToRunning(const Found& found) {
  if (found.status != Status::kRunning && found.status != Status::kPaused) {
    return absl::FailedPreconditionError(absl::StrCat("container not running: '", found.state.id, "' is ", StatusName(found.status)));
  }
  return ControlClient::Connect(found.directory.SocketAddress());
}

std::string StateJson(const ContainerState& state, Status status) {
  using Json = nlohmann::ordered_json;
  Json out{{"ociVersion", state.oci_version}, {"id", state.id},           {"pid", status == Status::kStopped ? 0 : state.pid},
           {"status", StatusName(status)},    {"bundle", state.bundle},   {"rootfs", state.rootfs},
           {"created", state.created},        {"annotations", state.annotations}, {"owner", state.owner}};
  return out.dump(2, ' ', false, Json::error_handler_t::replace);
}

std::string Timestamp() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
  return absl::StrCat(text, ".", absl::Dec(now.tv_nsec, absl::kZeroPad9), "Z");
}

int ExitStatusOfWait(int wait_status) { return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status); }

}  // namespace rampart::runner
