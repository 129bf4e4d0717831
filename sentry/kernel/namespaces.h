// Namespaces: those of a task that clone(2), unshare(2) and setns(2) change, beside its mounts, which its FsContext has (namespaces(7)).
//
// Model: Linux's nsproxy: an immutable set of references that a task replaces as a whole. A task's own PID namespace never changes and is not among them
// (pid_namespace.h). Of user, network, time and cgroup namespaces there is one of each, which nothing makes another of.
// Thread safety: any thread. Ownership: counted; a namespace lives as long as a task is in it or a file means it (namespace_file.h).
#pragma once

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/ref.h"
#include "sentry/ipc/namespace.h"
#include "sentry/kernel/pid_namespace.h"

namespace rampart::kernel {

// uname(2)'s names.
class UtsNamespace final : public RefCounted {
 public:
  UtsNamespace(std::string hostname, std::string domainname);
  uint64_t id() const { return id_; }  // never used twice
  Ref<UtsNamespace> Clone() const;
  std::string hostname() const;
  std::string domainname() const;
  void SetHostname(std::string name);
  void SetDomainname(std::string name);

 private:
  const uint64_t id_;
  mutable absl::Mutex mu_;
  std::string hostname_ ABSL_GUARDED_BY(mu_);
  std::string domainname_ ABSL_GUARDED_BY(mu_);
};

struct Namespaces final : public RefCounted {
  Namespaces(Ref<UtsNamespace> u, Ref<ipc::Namespace> i, Ref<PidNamespace> p) : uts(std::move(u)), ipc(std::move(i)), pid_for_children(std::move(p)) {}
  const Ref<UtsNamespace> uts;
  const Ref<ipc::Namespace> ipc;
  const Ref<PidNamespace> pid_for_children;
};

}  // namespace rampart::kernel
