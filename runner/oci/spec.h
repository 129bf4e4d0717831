// The OCI runtime specification (1.1) as structs: what a container is made of, before anything of it exists. `sentry-run` fills one from
// its options, `runsc` parses one from config.json; the launcher reads only this.
//
// Names and meanings are those of the specification's config.md and config-linux.md. An optional member is one whose absence means
// something else than its zero. What is not here is ignored by the parser, as the specification asks.
//
// Thread safety: values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace rampart::oci {

struct User {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::optional<uint32_t> umask;
  std::vector<uint32_t> additional_gids;
};

struct ConsoleSize {
  uint32_t height = 0;
  uint32_t width = 0;
};

struct Rlimit {
  std::string type;  // "RLIMIT_NOFILE"
  uint64_t soft = 0;
  uint64_t hard = 0;
};

// Names as "CAP_NET_RAW".
struct Capabilities {
  std::vector<std::string> bounding;
  std::vector<std::string> effective;
  std::vector<std::string> inheritable;
  std::vector<std::string> permitted;
  std::vector<std::string> ambient;
};

struct Process {
  bool terminal = false;
  std::optional<ConsoleSize> console_size;
  User user;
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::string cwd;
  std::optional<Capabilities> capabilities;
  std::vector<Rlimit> rlimits;
  bool no_new_privileges = false;
  std::optional<int> oom_score_adj;
};

struct Root {
  std::string path;
  bool readonly = false;
};

struct Mount {
  std::string destination;
  std::string type;
  std::string source;
  std::vector<std::string> options;
};

struct Namespace {
  std::string type;  // "pid", "network", "ipc", "uts", "mount", "user", "cgroup", "time"
  std::string path;  // "" = a new one
};

struct IdMapping {
  uint32_t container_id = 0;
  uint32_t host_id = 0;
  uint32_t size = 0;
};

struct MemoryResources {
  std::optional<int64_t> limit;  // bytes; -1 = unlimited
  std::optional<int64_t> reservation;
  std::optional<int64_t> swap;   // memory and swap together
};

struct CpuResources {
  std::optional<uint64_t> shares;
  std::optional<int64_t> quota;    // microseconds of processor time in each period; -1 = unlimited
  std::optional<uint64_t> period;  // microseconds
  std::string cpus;                // "0-3,7"
  std::string mems;
};

struct PidsResources {
  int64_t limit = 0;  // 0 or -1 = unlimited
};

struct Resources {
  std::optional<MemoryResources> memory;
  std::optional<CpuResources> cpu;
  std::optional<PidsResources> pids;
};

struct LinuxConfig {
  std::vector<Namespace> namespaces;
  std::vector<IdMapping> uid_mappings;
  std::vector<IdMapping> gid_mappings;
  std::optional<Resources> resources;
  std::string cgroups_path;
  std::map<std::string, std::string> sysctl;
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
};

struct Spec {
  std::string oci_version = "1.1.0";
  std::optional<Process> process;
  std::optional<Root> root;
  std::string hostname;
  std::string domainname;
  std::vector<Mount> mounts;
  std::map<std::string, std::string> annotations;
  LinuxConfig linux_config;  // "linux" in JSON
};

}  // namespace rampart::oci
