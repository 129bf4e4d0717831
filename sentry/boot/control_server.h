// The Sentry's side of the control protocol (control_api.proto): a thread for each connection that the monitor hands over, and one that notices the
// ends of processes that somebody waits for. Each connection speaks about one container; a sandbox has one, and more when it is a pod (pod_container.h).
//
// Trust. A client may be anybody who could open the socket (only the sandbox's owner can), but every message is bounded and checked.
// Thread safety: any thread. Lock order: ControlServer::mu_ → all of kernel/'s; Connection::send_mu is taken alone or after mu_.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/unique_fd.h"
#include "sentry/boot/boot.h"
#include "sentry/boot/mounts.h"
#include "sentry/boot/program_starter.h"
#include "sentry/kernel/kernel.h"
#include "sentry/wait/wait.h"

namespace rampart::control {
class Request;
class Response;
class ContainerRequest;
class ExecRequest;
}  // namespace rampart::control

namespace rampart::sentry::boot {

class ControlServer {
 public:
  // What it serves; outlives it.
  struct Sandbox {
    kernel::Kernel& kernel;
    ProgramStarter& starter;
    SharedFilesystems& shared;
    const BootConfig& config;
    std::string platform;
    std::function<StartError()> start;                       // the first program, once
    std::function<void(const StartError&)> report_start;     // called after the client was told
  };
  static constexpr size_t kMostConnections = 256;

  // Lives as long as the process.
  explicit ControlServer(Sandbox sandbox);

  // Takes over a connection; beyond kMostConnections it is closed.
  void Serve(UniqueFd connection);
  // The first program has ended, and everybody else with it: answers all who wait.
  void InitExited(int status);
  static constexpr size_t kMostContainers = 1000;  // of a pod

 private:
  struct Connection;
  struct Watched;
  struct Container;
  using ContainerPtr = std::shared_ptr<Container>;

  struct InitWait {
    std::weak_ptr<Connection> connection;
    uint64_t request = 0;
  };

  void ServeConnection(const std::shared_ptr<Connection>& connection);
  void Handle(const std::shared_ptr<Connection>& connection, std::string_view message, std::vector<UniqueFd> fds);
  void Call(const std::shared_ptr<Connection>& connection, const control::Request& request, std::vector<UniqueFd> fds, control::Response& response,
            bool& answered);
  void Start(const std::shared_ptr<Connection>& connection, control::Response& response);
  StartError StartPodContainer(const ContainerPtr& container);
  void MakeContainer(const std::shared_ptr<Connection>& connection, const control::ContainerRequest& wanted, std::vector<UniqueFd> fds,
                     control::Response& response);
  void ServeFor(UniqueFd socket, ContainerPtr container);
  ContainerPtr ContainerOf(const Connection& connection);
  // That of a container that runs; ESRCH.
  Result<Ref<kernel::PidNamespace>> PidsToJoin(const std::string& id);
  // The PID namespace whose numbers the container's requests and answers have.
  const kernel::PidNamespace& PidsOf(const Container& container);
  // The process of this number (0: the container's first), if it is the container's.
  RefPtr<kernel::ThreadGroup> FindIn(const Container& container, int32_t pid);
  void Signal(const ContainerPtr& container, const control::Request& request, control::Response& response);
  void Exec(const std::shared_ptr<Connection>& connection, const control::ExecRequest& wanted, std::vector<UniqueFd> fds,
            control::Response& response);
  bool Wait(const std::shared_ptr<Connection>& connection, const control::Request& request, control::Response& response);
  void Update(const ContainerPtr& container, const control::Request& request, control::Response& response);
  void Debug(const control::Request& request, control::Response& response);
  void Resize(const ContainerPtr& container, const control::Request& request, control::Response& response);
  void Disconnected(const std::shared_ptr<Connection>& connection);
  void WatchLoop();
  // Answers waits for processes that have ended, and lets go of those that nobody can ask about any more.
  void AnswerEnded();
  // A container's first program has ended, or never will have run: what is left of it is killed, and who waits is answered.
  void ContainerEnded(const ContainerPtr& container, int status);
  static void AnswerWaits(const std::vector<InitWait>& waits, int status);

  const Sandbox sandbox_;
  const ContainerPtr first_;
  wait::Sleeper watch_sleeper_;  // of the thread that notices ends
  absl::Mutex mu_;
  size_t connections_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::unique_ptr<Watched>> watched_ ABSL_GUARDED_BY(mu_);  // processes of Exec that have not been let go of
  std::vector<std::weak_ptr<Container>> containers_ ABSL_GUARDED_BY(mu_);  // those of pods
  uint32_t next_container_ ABSL_GUARDED_BY(mu_) = 1;
};

}  // namespace rampart::sentry::boot
