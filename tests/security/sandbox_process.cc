#include "tests/security/sandbox_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cctype>
#include <fstream>
#include <sstream>

namespace rampart::security {
namespace {

constexpr int kPatience = 1000;  // times 10 ms

void Pause() { ::usleep(10'000); }

std::string ReadAll(int fd) {
  std::string text;
  char block[4096];
  ssize_t n = 0;
  off_t at = 0;
  while ((n = ::pread(fd, block, sizeof(block), at)) > 0) {
    text.append(block, static_cast<size_t>(n));
    at += n;
  }
  return text;
}

pid_t Start(std::vector<std::string> args, int output) {
  args.insert(args.begin(), SENTRY_RUN);
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::dup2(output, 1);
  ::dup2(output, 2);
  // A caller that leaks: none of these may arrive in a child.
  ::dup2(::open("/", O_RDONLY | O_DIRECTORY), 33);
  ::dup2(::open("/etc/passwd", O_RDONLY), 200);
  ::execv(argv[0], argv.data());
  ::_exit(99);
}

std::vector<pid_t> Children(pid_t pid) {
  const std::string directory = "/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children";
  std::ifstream file(directory);
  std::vector<pid_t> children;
  for (pid_t child = 0; file >> child;) children.push_back(child);
  return children;
}

}  // namespace

std::string StatusLine(pid_t pid, const std::string& name) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(name + ":\t", 0) == 0) return line.substr(name.size() + 2);
  }
  return "";
}

bool Vanishes(pid_t pid) {
  for (int i = 0; i < kPatience / 2; ++i) {
    if (::kill(pid, 0) != 0 || StatusLine(pid, "State").rfind("Z", 0) == 0) return true;
    Pause();
  }
  return false;
}

SandboxProcess::SandboxProcess(std::vector<std::string> options) : output_(::memfd_create("output", MFD_CLOEXEC)) {
  options.insert(options.end(), {"--self-test", "hold", "true"});
  runner_ = Start(options, output_);
  for (int i = 0; i < kPatience && !ready(); ++i) {
    if (::waitid(P_PID, static_cast<id_t>(runner_), nullptr, WEXITED | WNOHANG | WNOWAIT) == 0 && StatusLine(runner_, "State").rfind("Z", 0) == 0) return;
    for (const pid_t child : Children(runner_)) {
      if (StatusLine(child, "Seccomp") != "2") continue;
      if (StatusLine(child, "Name") == "sentry") sentry_ = child;
      if (StatusLine(child, "Name") == "gofer") gofer_ = child;
    }
    Pause();
  }
}

SandboxProcess::~SandboxProcess() {
  for (const pid_t pid : {runner_, sentry_, gofer_}) {
    if (pid > 0 && ::kill(pid, 0) == 0) ::kill(pid, SIGKILL);
  }
  if (runner_ > 0) ::waitpid(runner_, nullptr, 0);
  ::close(output_);
}

std::string SandboxProcess::output() const { return ReadAll(output_); }

int SandboxProcess::WaitForEnd() {
  for (int i = 0; i < kPatience; ++i) {
    int status = 0;
    if (::waitpid(runner_, &status, WNOHANG) == runner_) {
      runner_ = -1;
      return status;
    }
    Pause();
  }
  return -1;
}

Finished RunSentryRun(const std::vector<std::string>& args) {
  const int output = ::memfd_create("output", MFD_CLOEXEC);
  const pid_t pid = Start(args, output);
  int status = 0;
  ::waitpid(pid, &status, 0);
  Finished finished{WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadAll(output)};
  ::close(output);
  return finished;
}

}  // namespace rampart::security
