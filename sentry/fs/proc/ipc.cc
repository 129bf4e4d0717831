// What proc shows of IPC: /proc/sysvipc, and the settings of System V IPC and of message queues, which can be changed.
#include <charconv>
#include <functional>
#include <limits>
#include <vector>

#include "sentry/fs/proc/internal.h"
#include "sentry/kernel/introspect.h"
#include "sentry/kernel/namespaces.h"

namespace rampart::fs::proc {
namespace {

using Text = Result<std::string>;

// Numbers in a text, as proc_dointvec takes them: at most `most`, apart by white space. EINVAL.
template <class T>
Result<std::vector<T>> ParseNumbers(std::string_view text, size_t most) {
  std::vector<T> numbers;
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\0'; };
  while (numbers.size() < most) {
    while (!text.empty() && blank(text.front())) text.remove_prefix(1);
    if (text.empty()) break;
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) return Errno::kEINVAL;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    if (!text.empty() && !blank(text.front())) return Errno::kEINVAL;
    numbers.push_back(value);
  }
  if (numbers.empty()) return Errno::kEINVAL;
  return numbers;
}

// The namespace of whoever reads or writes: each file shows the reader's.
ipc::Namespace& Current(const ProcFilesystem& fs, Caller& caller) {
  return caller.task() != nullptr ? *caller.task()->namespaces().ipc : *fs.kernel().namespaces().ipc;
}

// One number of `limits()`, which `store` puts back; in [low, high].
template <class Limits, class T>
Ref<vfs::Inode> Number(const Ref<ProcFilesystem>& fs, std::function<Limits(Caller&)> load, std::function<void(Caller&, const Limits&)> store, T Limits::*field,
                       T low = 0, T high = std::numeric_limits<T>::max()) {
  return MakeRef<pseudo::FunctionFile>(
      fs, 0644, [load, field](Caller& caller) -> Text { return std::to_string(load(caller).*field) + "\n"; },
      [load, store, field, low, high](Caller& caller, std::string_view text) -> Result<void> {
        const std::vector<T> numbers = TRY(ParseNumbers<T>(text, 1));
        if (numbers[0] < low || numbers[0] > high) return Errno::kEINVAL;
        Limits limits = load(caller);
        limits.*field = numbers[0];
        store(caller, limits);
        return Ok();
      });
}

Ref<vfs::Inode> SemFile(const Ref<ProcFilesystem>& fs) {
  return MakeRef<pseudo::FunctionFile>(
      fs, 0644,
      [fs](Caller& caller) -> Text {
        ipc::SemTable& table = Current(*fs, caller).sem();
        const ipc::SemLimits l = table.limits();
        std::string out;
        Append(out, "%d\t%d\t%d\t%d\n", l.per_set, l.all, l.per_operation, l.sets);
        return out;
      },
      [fs](Caller& caller, std::string_view text) -> Result<void> {
        ipc::SemTable& table = Current(*fs, caller).sem();
        const std::vector<int32_t> numbers = TRY(ParseNumbers<int32_t>(text, 4));
        ipc::SemLimits l = table.limits();
        int32_t* const fields[] = {&l.per_set, &l.all, &l.per_operation, &l.sets};
        for (size_t i = 0; i < numbers.size(); ++i) *fields[i] = numbers[i];
        if (l.sets < 0 || l.sets > ipc::kMaxIds) return Errno::kERANGE;  // sem_check_semmni
        if (l.per_set < 0 || l.all < 0 || l.per_operation < 0) return Errno::kEINVAL;
        table.SetLimits(l);
        return Ok();
      });
}

Ref<vfs::Inode> RemoveForcedFile(const Ref<ProcFilesystem>& fs) {
  return MakeRef<pseudo::FunctionFile>(
      fs, 0644, [fs](Caller& caller) -> Text { return Current(*fs, caller).shm().limits().remove_forced ? "1\n" : "0\n"; },
      [fs](Caller& caller, std::string_view text) -> Result<void> {
        ipc::ShmTable& table = Current(*fs, caller).shm();
        const std::vector<int32_t> numbers = TRY(ParseNumbers<int32_t>(text, 1));
        if (numbers[0] != 0 && numbers[0] != 1) return Errno::kEINVAL;
        ipc::ShmLimits limits = table.limits();
        limits.remove_forced = numbers[0] == 1;
        table.SetLimits(limits);
        return Ok();
      });
}

}  // namespace

void AddIpcSettings(pseudo::PseudoDirectory& directory, const Ref<ProcFilesystem>& fs) {
  const std::function<ipc::ShmLimits(Caller&)> shm = [fs](Caller& c) { return Current(*fs, c).shm().limits(); };
  const std::function<void(Caller&, const ipc::ShmLimits&)> set_shm = [fs](Caller& c, const ipc::ShmLimits& l) { Current(*fs, c).shm().SetLimits(l); };
  directory.Add("shmmax", Number(fs, shm, set_shm, &ipc::ShmLimits::max));
  directory.Add("shmall", Number(fs, shm, set_shm, &ipc::ShmLimits::all));
  directory.Add("shmmni", Number(fs, shm, set_shm, &ipc::ShmLimits::count, 0, ipc::kMaxIds));
  directory.Add("shm_rmid_forced", RemoveForcedFile(fs));
  directory.Add("sem", SemFile(fs));
  const std::function<ipc::MsgLimits(Caller&)> msg = [fs](Caller& c) { return Current(*fs, c).msg().limits(); };
  const std::function<void(Caller&, const ipc::MsgLimits&)> set_msg = [fs](Caller& c, const ipc::MsgLimits& l) { Current(*fs, c).msg().SetLimits(l); };
  directory.Add("msgmax", Number(fs, msg, set_msg, &ipc::MsgLimits::message));
  directory.Add("msgmnb", Number(fs, msg, set_msg, &ipc::MsgLimits::queue));
  directory.Add("msgmni", Number(fs, msg, set_msg, &ipc::MsgLimits::queues, 0, ipc::kMaxIds));
  directory.Add("auto_msgmni", MakeRef<pseudo::FunctionFile>(fs, 0644, [](Caller&) -> Text { return "0\n"; },
                                                             [](Caller&, std::string_view text) -> Result<void> {
                                                               const std::vector<int32_t> n = TRY(ParseNumbers<int32_t>(text, 1));
                                                               return n[0] == 0 || n[0] == 1 ? Result<void>(Ok()) : Errno::kEINVAL;  // has no effect
                                                             }));
}

Ref<vfs::Inode> NewMqueueSettings(const Ref<ProcFilesystem>& fs) {
  const std::function<ipc::MqLimits(Caller&)> load = [fs](Caller& c) { return Current(*fs, c).mq().limits(); };
  const std::function<void(Caller&, const ipc::MqLimits&)> store = [fs](Caller& c, const ipc::MqLimits& l) { Current(*fs, c).mq().SetLimits(l); };
  auto d = MakeRef<pseudo::PseudoDirectory>(fs);
  d->Add("msg_default", Number(fs, load, store, &ipc::MqLimits::default_messages, 1, ipc::kMqHardMessages));
  d->Add("msg_max", Number(fs, load, store, &ipc::MqLimits::messages, 1, ipc::kMqHardMessages));
  d->Add("msgsize_default", Number(fs, load, store, &ipc::MqLimits::default_size, ipc::kMqLeastSize, ipc::kMqHardSize));
  d->Add("msgsize_max", Number(fs, load, store, &ipc::MqLimits::message_size, ipc::kMqLeastSize, ipc::kMqHardSize));
  d->Add("queues_max", Number(fs, load, store, &ipc::MqLimits::queues, std::numeric_limits<int32_t>::min()));
  return d;
}

Ref<vfs::Inode> NewSysvipcDirectory(const Ref<ProcFilesystem>& fs) {
  auto d = MakeRef<pseudo::PseudoDirectory>(fs);
  d->Add("msg", MakeRef<pseudo::FunctionFile>(fs, 0444, [fs](Caller& c) -> Text { return Current(*fs, c).msg().ProcText([&c](abi::Pid pid) { return kernel::SeenPid(c, pid); }); }));
  d->Add("sem", MakeRef<pseudo::FunctionFile>(fs, 0444, [fs](Caller& c) -> Text { return Current(*fs, c).sem().ProcText(); }));
  d->Add("shm", MakeRef<pseudo::FunctionFile>(fs, 0444, [fs](Caller& c) -> Text { return Current(*fs, c).shm().ProcText([&c](abi::Pid pid) { return kernel::SeenPid(c, pid); }); }));
  return d;
}

}  // namespace rampart::fs::proc
