#include "sentry/loader/vdso.h"

#include <cpuid.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "absl/synchronization/mutex.h"
#include "base/log.h"
#include "base/safe_math.h"
#include "sentry/loader/vdso_blob.h"
#include "sentry/loader/vdso_params.h"

namespace rampart::loader {
namespace {

constexpr Nanos kFirstInterval = 300'000;  // good to some 100 ppm; the next call, soon after, is better
constexpr Nanos kLongestInterval = kNanosPerSecond;
constexpr Nanos kRealtimeNoise = 20'000;       // differences of two host readings below this mean nothing
constexpr Nanos kTooFarBehind = 10 * kNanosPerMilli;  // a paused machine: step forward instead of slewing

Nanos HostClock(clockid_t clock) {
  timespec ts{};
  clock_gettime(clock, &ts);
  return ts.tv_sec * kNanosPerSecond + ts.tv_nsec;
}

// One reading of everything, with the counter as it was in the middle.
struct Sample {
  uint64_t tsc = 0;
  Nanos monotonic = 0;
  Nanos raw = 0;
};

// The tightest of a few readings of a clock between two readings of the counter.
uint64_t ReadTogether(clockid_t clock, Nanos* value) {
  uint64_t best_window = UINT64_MAX;
  uint64_t best_tsc = 0;
  for (int i = 0; i < 5; ++i) {
    const uint64_t before = VdsoReadTsc();
    const Nanos now = HostClock(clock);
    const uint64_t after = VdsoReadTsc();
    if (after - before < best_window) {
      best_window = after - before;
      best_tsc = before + (after - before) / 2;
      *value = now;
    }
  }
  return best_tsc;
}

bool TscIsInvariant() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & (1u << 8)) != 0;
}

// Nanoseconds per tick, 32 fractional bits.
uint64_t MultOf(Nanos elapsed, uint64_t ticks) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>((static_cast<Wide>(elapsed) << 32) / ticks);
}

// The pages as something to map.
class VdsoPages final : public mm::Mappable {
 public:
  VdsoPages(Ref<mm::MemoryFile> file, mm::FileRange pages) : file_(std::move(file)), pages_(pages) {}
  Result<mm::Translation> Translate(mm::FileRange required, mm::FileRange optional, bool write) override {
    if (write) return Errno::kEACCES;
    if (required.end > pages_.length()) return Errno::kEFAULT;
    optional.end = std::min(optional.end, pages_.length());
    const mm::FileRange range{pages_.start + optional.start, pages_.start + optional.end};
    file_->IncRef(range);
    return mm::Translation{optional, file_, range.start, platform::Prot::kReadExec};
  }
  Result<void> AddMapping(mm::MappingSpace&, mm::FileRange, bool, bool) override { return Ok(); }
  void RemoveMapping(mm::MappingSpace&, mm::FileRange, bool, bool) override {}
  Result<void> Msync(mm::FileRange) override { return Ok(); }

 private:
  ~VdsoPages() override { file_->DecRef(pages_); }
  const Ref<mm::MemoryFile> file_;
  const mm::FileRange pages_;
};

}  // namespace

struct Vdso::State {
  State(Ref<mm::Mappable> m, VdsoParams* p, uint64_t code) : mappable(std::move(m)), params(p), code_bytes(code) {}

  const Ref<mm::Mappable> mappable;
  VdsoParams* const params;  // in the memory file; written under mu, read under its sequence
  const uint64_t code_bytes;
  absl::Mutex mu;
  Sample previous ABSL_GUARDED_BY(mu);
  Nanos interval ABSL_GUARDED_BY(mu) = 0;

  template <class T>
  static T Load(const T& field) {
    return __atomic_load_n(&field, __ATOMIC_RELAXED);
  }
  template <class T>
  static void Store(T& field, T value) {
    __atomic_store_n(&field, value, __ATOMIC_RELAXED);
  }

  // Changes the parameters so that time goes on from where it is now. The counter is read while the sequence is odd: whoever reads a later
  // counter with the old parameters sees the change and tries again.
  void Publish(uint64_t monotonic_mult, Nanos step, uint64_t raw_mult, Nanos realtime_offset, Nanos boottime_offset)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    VdsoParams& p = *params;
    __atomic_store_n(&p.sequence, p.sequence + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    const uint64_t now = VdsoReadTsc();
    Store(p.monotonic_base, VdsoScale(now, p.tsc_base, p.monotonic_mult, p.monotonic_base) + step);
    Store(p.raw_base, VdsoScale(now, p.tsc_base, p.raw_mult, p.raw_base));
    Store(p.tsc_base, std::max(now, p.tsc_base));
    Store(p.monotonic_mult, monotonic_mult);
    Store(p.raw_mult, raw_mult);
    Store(p.realtime_offset, realtime_offset);
    Store(p.boottime_offset, boottime_offset);
    __atomic_store_n(&p.sequence, p.sequence + 1, __ATOMIC_RELEASE);
  }

  // The first parameters, from two samples a little apart.
  void Start() {
    absl::MutexLock lock(&mu);
    Sample first, second;
    first.tsc = ReadTogether(CLOCK_MONOTONIC, &first.monotonic);
    do {
      second.tsc = ReadTogether(CLOCK_MONOTONIC, &second.monotonic);
    } while (second.monotonic - first.monotonic < kFirstInterval);
    const uint64_t raw_tsc = ReadTogether(CLOCK_MONOTONIC_RAW, &second.raw);
    VdsoParams& p = *params;
    p.tsc_base = second.tsc;
    p.monotonic_mult = p.raw_mult = MultOf(second.monotonic - first.monotonic, second.tsc - first.tsc);
    p.monotonic_base = second.monotonic;
    p.raw_base = second.raw - VdsoScale(raw_tsc, second.tsc, p.raw_mult, 0);
    second.raw = p.raw_base;
    p.realtime_offset = HostClock(CLOCK_REALTIME) - HostClock(CLOCK_MONOTONIC);
    p.boottime_offset = HostClock(CLOCK_BOOTTIME) - HostClock(CLOCK_MONOTONIC);
    __atomic_store_n(&p.use_tsc, 1, __ATOMIC_RELEASE);
    previous = second;
    interval = 10 * kNanosPerMilli;
  }
};

Vdso::Vdso(std::unique_ptr<State> state) : state_(std::move(state)) {}
Vdso::~Vdso() = default;

Result<Ref<Vdso>> Vdso::Create(Ref<mm::MemoryFile> memory_file, bool use_tsc) {
  const std::span<const std::byte> image = VdsoImage();
  const uint64_t code_bytes = PageUp(image.size());
  const mm::FileRange pages = TRY(memory_file->Allocate(kPageSize + code_bytes, mm::MemoryFile::Commit::kNow));
  std::memcpy(memory_file->At(pages.start + kPageSize), image.data(), image.size());
  // SAFETY: a zeroed, page-aligned page that the mappable below keeps; zero bytes are valid parameters ("use system calls").
  auto* params = reinterpret_cast<VdsoParams*>(memory_file->At(pages.start));
  auto state = std::make_unique<State>(MakeRef<VdsoPages>(memory_file, pages), params, code_bytes);
  if (use_tsc && TscIsInvariant()) {
    state->Start();
  } else {
    Log(LogLevel::kInfo, "vdso: no usable TSC; clock_gettime will be a system call");
  }
  return MakeRef<Vdso>(std::move(state));
}

Nanos Vdso::Recalibrate() {
  if (!self_sufficient()) return kNanosMax;
  State& s = *state_;
  absl::MutexLock lock(&s.mu);
  const VdsoParams& p = *s.params;
  Sample now;
  now.tsc = ReadTogether(CLOCK_MONOTONIC, &now.monotonic);
  const uint64_t raw_tsc = ReadTogether(CLOCK_MONOTONIC_RAW, &now.raw);
  if (now.tsc <= s.previous.tsc || now.monotonic <= s.previous.monotonic) return s.interval;  // called again at once
  const uint64_t true_mult = MultOf(now.monotonic - s.previous.monotonic, now.tsc - s.previous.tsc);
  s.interval = std::min(s.interval * 4, kLongestInterval);

  // What we are behind the host's clock is made up for within the next interval, by at most a tenth of it.
  const Nanos behind = now.monotonic - VdsoScale(now.tsc, p.tsc_base, p.monotonic_mult, p.monotonic_base);
  Nanos step = 0;
  Nanos slew = std::clamp(behind, -s.interval / 10, s.interval / 10);
  if (behind > kTooFarBehind) step = behind, slew = 0;
  const auto correction = static_cast<int64_t>(static_cast<double>(true_mult) * static_cast<double>(slew) / static_cast<double>(s.interval));
  const uint64_t mult = true_mult + static_cast<uint64_t>(correction);

  // MONOTONIC_RAW: no corrections by NTP, so its own slope; errors are worked off in the same way.
  const Nanos raw_behind = now.raw - VdsoScale(raw_tsc, p.tsc_base, p.raw_mult, p.raw_base);
  const Nanos raw_slew = std::clamp(raw_behind, -s.interval / 10, s.interval / 10);
  const Nanos raw_at_sample = now.raw - VdsoScale(raw_tsc, now.tsc, true_mult, 0);
  uint64_t raw_mult = p.raw_mult;
  if (raw_at_sample > s.previous.raw) {
    const uint64_t true_raw = MultOf(raw_at_sample - s.previous.raw, now.tsc - s.previous.tsc);
    raw_mult = true_raw + static_cast<uint64_t>(static_cast<int64_t>(static_cast<double>(true_raw) * static_cast<double>(raw_slew) /
                                                                     static_cast<double>(s.interval)));
  }
  now.raw = raw_at_sample;

  Nanos realtime = HostClock(CLOCK_REALTIME) - HostClock(CLOCK_MONOTONIC);
  if (std::abs(realtime - p.realtime_offset) < kRealtimeNoise) realtime = p.realtime_offset;
  Nanos boottime = HostClock(CLOCK_BOOTTIME) - HostClock(CLOCK_MONOTONIC);
  if (std::abs(boottime - p.boottime_offset) < kRealtimeNoise) boottime = p.boottime_offset;
  s.Publish(mult, step, raw_mult, realtime, boottime);
  s.previous = now;
  return s.interval;
}

Nanos Vdso::Now(VdsoClock clock) const {
  const VdsoParams& p = *state_->params;
  while (self_sufficient()) {
    const uint32_t before = __atomic_load_n(&p.sequence, __ATOMIC_ACQUIRE);
    if ((before & 1) != 0) continue;
    const bool raw = clock == VdsoClock::kMonotonicRaw;
    Nanos base = State::Load(raw ? p.raw_base : p.monotonic_base);
    if (clock == VdsoClock::kRealtime) base += State::Load(p.realtime_offset);
    if (clock == VdsoClock::kBoottime) base += State::Load(p.boottime_offset);
    const uint64_t tsc_base = State::Load(p.tsc_base);
    const uint64_t mult = State::Load(raw ? p.raw_mult : p.monotonic_mult);
    const uint64_t tsc = VdsoReadTsc();
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (State::Load(p.sequence) == before) return VdsoScale(tsc, tsc_base, mult, base);
  }
  switch (clock) {
    case VdsoClock::kRealtime: return HostClock(CLOCK_REALTIME);
    case VdsoClock::kMonotonic: return HostClock(CLOCK_MONOTONIC);
    case VdsoClock::kBoottime: return HostClock(CLOCK_BOOTTIME);
    case VdsoClock::kMonotonicRaw: return HostClock(CLOCK_MONOTONIC_RAW);
  }
  UNREACHABLE();
}

bool Vdso::self_sufficient() const { return __atomic_load_n(&state_->params->use_tsc, __ATOMIC_ACQUIRE) != 0; }
Ref<mm::Mappable> Vdso::mappable() const { return state_->mappable; }
uint64_t Vdso::vvar_bytes() const { return kPageSize; }
uint64_t Vdso::code_bytes() const { return state_->code_bytes; }

}  // namespace rampart::loader
