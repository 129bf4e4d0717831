// The Sentry's side of the control protocol (control_api.proto): a thread for each connection that the monitor hands over, and one that notices the
// ends of processes that somebody waits for.
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
#include "sentry/boot/program_starter.h"
#include "sentry/kernel/kernel.h"
#include "sentry/wait/wait.h"

namespace rampart::control {
class Request;
class Response;
class ExecRequest;
}  // namespace rampart::control

namespace rampart::sentry::boot {

class ControlServer {
 public:
  // What it serves; outlives it.
  struct Sandbox {
    kernel::Kernel& kernel;
    ProgramStarter& starter;
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

 private:
  struct Connection;
  struct Watched;

  void ServeConnection(const std::shared_ptr<Connection>& connection);
  void Handle(const std::shared_ptr<Connection>& connection, std::string_view message, std::vector<UniqueFd> fds);
  void Call(const std::shared_ptr<Connection>& connection, const control::Request& request, std::vector<UniqueFd> fds, control::Response& response,
            bool& answered);
  void Start(const std::shared_ptr<Connection>& connection, control::Response& response);
  void Signal(const control::Request& request, control::Response& response);
  void Exec(const std::shared_ptr<Connection>& connection, const control::ExecRequest& wanted, std::vector<UniqueFd> fds,
            control::Response& response);
  bool Wait(const std::shared_ptr<Connection>& connection, const control::Request& request, control::Response& response);
  void Processes(control::Response& response);
  void Stats(control::Response& response);
  void Debug(const control::Request& request, control::Response& response);
  void Resize(const control::Request& request, control::Response& response);
  void Disconnected(const std::shared_ptr<Connection>& connection);
  void WatchLoop();
  // Answers waits for processes that have ended, and lets go of those that nobody can ask about any more.
  void AnswerEnded();

  const Sandbox sandbox_;
  wait::Sleeper watch_sleeper_;  // of the thread that notices ends
  absl::Mutex mu_;
  size_t connections_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::unique_ptr<Watched>> watched_ ABSL_GUARDED_BY(mu_);  // processes of Exec that have not been let go of
  struct InitWait {
    std::weak_ptr<Connection> connection;
    uint64_t request = 0;
  };
  std::vector<InitWait> init_waits_ ABSL_GUARDED_BY(mu_);
  bool init_exited_ ABSL_GUARDED_BY(mu_) = false;
  int init_status_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace rampart::sentry::boot
