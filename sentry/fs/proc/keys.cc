// What proc shows of keys: /proc/keys, /proc/key-users, and their settings; and /proc/PID/numa_maps.
#include <charconv>

#include "sentry/fs/proc/internal.h"
#include "sentry/keys/registry.h"

namespace rampart::fs::proc {
namespace {

using Text = Result<std::string>;

Ref<vfs::Inode> Setting(const Ref<ProcFilesystem>& fs, std::atomic<uint32_t>& value) {
  return MakeRef<pseudo::FunctionFile>(
      fs, 0644, [&value](Caller&) -> Text { return std::to_string(value.load()) + "\n"; },
      [&value](Caller&, std::string_view text) -> Result<void> {
        while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
        uint32_t number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (error != std::errc() || end != text.data() + text.size() || number > INT32_MAX) return Errno::kEINVAL;
        value.store(number);
        return Ok();
      });
}

std::string PolicyText(const mm::NumaPolicy& policy) {
  constexpr const char* kNames[] = {"default", "prefer", "bind", "interleave", "local", "prefer (many)", "weighted interleave"};
  constexpr uint16_t kStaticNodes = 1u << 15, kRelativeNodes = 1u << 14;
  std::string text = policy.mode < std::size(kNames) ? kNames[policy.mode] : "default";
  if ((policy.flags & kStaticNodes) != 0) text += "=static";
  if ((policy.flags & kRelativeNodes) != 0) text += "=relative";
  if (policy.nodes != 0) text += ":0";
  return text;
}

}  // namespace

void AddKeyFiles(pseudo::PseudoDirectory& root, const Ref<ProcFilesystem>& fs) {
  kernel::Kernel& kernel = fs->kernel();
  root.Add("keys", MakeRef<pseudo::FunctionFile>(fs, 0444, [&kernel](Caller& caller) -> Text {
    kernel::Task* const task = caller.task();
    const keys::Subject subject{caller.creds(), task != nullptr ? task->thread_keyring() : nullptr,
                                task != nullptr ? task->group().process_keyring() : nullptr, task != nullptr ? task->session_keyring() : nullptr};
    return kernel.keys().ListFor(subject);
  }));
  root.Add("key-users", MakeRef<pseudo::FunctionFile>(fs, 0444, [&kernel](Caller&) -> Text { return kernel.keys().ListUsers(); }));
}

Ref<vfs::Inode> NewKeySettings(const Ref<ProcFilesystem>& fs) {
  keys::Limits& limits = fs->kernel().keys().limits;
  auto d = MakeRef<pseudo::PseudoDirectory>(fs);
  d->Add("maxkeys", Setting(fs, limits.max_keys));
  d->Add("maxbytes", Setting(fs, limits.max_bytes));
  d->Add("root_maxkeys", Setting(fs, limits.root_max_keys));
  d->Add("root_maxbytes", Setting(fs, limits.root_max_bytes));
  d->Add("gc_delay", Setting(fs, limits.gc_delay));
  d->Add("persistent_keyring_expiry", Setting(fs, limits.persistent_expiry));
  return d;
}

// Linux: show_numa_map.
std::string NumaMapsText(kernel::Task& task, mm::MemoryManager& mm) {
  using ULL = unsigned long long;
  std::string out;
  for (const mm::VmaInfo& vma : mm.Vmas()) {
    const mm::NumaPolicy policy = vma.policy == mm::NumaPolicy{} ? task.numa_policy() : vma.policy;
    Append(out, "%08llx %s", static_cast<ULL>(vma.range.start), PolicyText(policy).c_str());
    if (vma.name == "[heap]") {
      out += " heap";
    } else if (vma.name == "[stack]") {
      out += " stack";
    } else if (!vma.name.empty() && vma.name[0] == '/') {
      out += " file=" + vma.name;
    }
    const ULL anonymous = vma.anon_bytes / kPageSize, pages = vma.rss_bytes / kPageSize;
    if (anonymous != 0) Append(out, " anon=%llu dirty=%llu", anonymous, anonymous);
    if (pages != anonymous) Append(out, " mapped=%llu", pages);
    if (pages != 0) Append(out, " N0=%llu kernelpagesize_kB=4", pages);
    out += '\n';
  }
  return out;
}

}  // namespace rampart::fs::proc
