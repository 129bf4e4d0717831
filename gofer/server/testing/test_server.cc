#include "gofer/server/testing/test_server.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace rampart::gofer {

TestServer::TestServer(const Options& options) {
  std::string name = (std::filesystem::temp_directory_path() / "gofer_test.XXXXXX").string();
  CHECK(::mkdtemp(name.data()) != nullptr);
  outside_ = name;
  root_ = outside_ + "/root";
  CHECK(::mkdir(root_.c_str(), 0755) == 0);
  auto pair = MakeSocketPair(options.kind);
  CHECK(pair.ok());
  client_end_ = std::move((*pair)[0]);
  GoferConfig config;
  config.channels.push_back({std::move((*pair)[1]), options.kind});
  AttachPoint point;
  point.name = "root";
  point.root = UniqueFd(::open(root_.c_str(), O_PATH | O_CLOEXEC));
  point.read_only = options.read_only;
  point.host_sockets = options.host_sockets;
  config.attach_points.push_back(std::move(point));
  PrepareGofer(config);
  if (!options.proc) config.proc_self_fd.Reset();
  if (options.max_files != 0) config.max_files = options.max_files;
  config.max_fids = options.max_fids;
  thread_ = std::thread([moved = std::move(config)]() mutable { ServeGofer(std::move(moved)); });
}

TestServer::~TestServer() {
  client_end_.Reset();
  thread_.join();
  std::error_code ignored;
  if (::chdir("/") == 0) std::filesystem::remove_all(outside_, ignored);
}

void WriteFile(const std::string& path, std::string_view text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
}

}  // namespace rampart::gofer
