#include "runner/runsc/engine_log.h"

#include <fcntl.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "runner/util/files.h"

namespace rampart::runner {

std::string FormatLogLine(const std::string& format, const char* level, const std::string& message, int64_t now) {
  const time_t seconds = now;
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  char time[32];
  std::strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%SZ", &parts);
  using Json = nlohmann::ordered_json;
  const auto dump = [](const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); };
  if (format == "json") return dump({{"msg", message}, {"level", level}, {"time", time}}) + "\n";
  if (format == "json-k8s") return dump({{"log", message}, {"severity", level}, {"timestamp", time}}) + "\n";
  return absl::StrCat("time=\"", time, "\" level=", level, " msg=", dump(message), "\n");
}

UniqueFd OpenEngineLog(const Config& config) {
  if (config.log.empty()) return UniqueFd();
  UniqueFd fd(::open(config.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd.valid()) WriteAll(2, absl::StrCat("runsc: the log ", config.log, " cannot be opened\n"));
  return fd;
}

void LogToEngine(const Config& config, const UniqueFd& log, const char* level, const std::string& message) {
  if (!log.valid() || WriteAll(log.get(), FormatLogLine(config.log_format, level, message, std::time(nullptr)))) return;
  WriteAll(2, absl::StrCat("runsc: the log ", config.log, " cannot be written\n"));
}

void LogToEngine(const Config& config, const char* level, const std::string& message) { LogToEngine(config, OpenEngineLog(config), level, message); }

}  // namespace rampart::runner
