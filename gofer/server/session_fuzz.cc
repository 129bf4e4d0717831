// A whole hostile session: the input is a run of messages, each answered by the server's handlers over a small directory. Whatever they
// are, there is an answer, and nothing outside the directory changes.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "gofer/server/session.h"

namespace rampart::gofer {
namespace {

// A directory with one of everything, made anew for each input: messages change it.
class Scene {
 public:
  Scene() {
    std::string name = (std::filesystem::temp_directory_path() / "gofer_fuzz.XXXXXX").string();
    CHECK(::mkdtemp(name.data()) != nullptr);
    top_ = name;
    CHECK(::mkdir((top_ + "/root").c_str(), 0755) == 0 && ::mkdir((top_ + "/root/d").c_str(), 0755) == 0);
    std::ofstream(top_ + "/root/f") << "text";
    std::ofstream(top_ + "/secret") << "secret";
    CHECK(::symlink("../secret", (top_ + "/root/l").c_str()) == 0);
    CHECK(::mkfifo((top_ + "/root/p").c_str(), 0644) == 0);
    AttachPoint point;
    point.root = UniqueFd(::open((top_ + "/root").c_str(), O_PATH | O_CLOEXEC));
    points_.push_back(std::move(point));
    host_.uid = ::geteuid();
    host_.max_files = 100;
    host_.proc_self_fd = UniqueFd(::open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  ~Scene() {
    std::string secret;
    std::ifstream(top_ + "/secret") >> secret;
    CHECK(secret == "secret");
    std::filesystem::permissions(top_ + "/root", std::filesystem::perms::owner_all);
    std::error_code ignored;
    std::filesystem::remove_all(top_, ignored);
  }
  Ref<Session> NewSession() { return MakeRef<Session>(host_, points_, size_t{50}, nullptr); }

 private:
  std::string top_;
  std::vector<AttachPoint> points_;
  Host host_;
};

size_t Ask(Session& session, Bytes message, std::vector<std::byte>& out) {
  const auto frame = ParseFrame(message);
  if (!frame.ok()) return 0;
  Call call;
  const uint32_t msize = session.msize.load();
  call.out = MutableBytes(out).first(msize == 0 ? kMinMessage : msize);
  const size_t size = HandleMessage(session, *frame, call);
  CHECK(size >= kHeaderSize && size <= call.out.size());
  const auto reply = ParseFrame(Bytes(out).first(size));
  CHECK(reply.ok() && reply->tag == frame->tag);
  return size;
}

}  // namespace

void FuzzSession(Bytes bytes) {
  ::umask(0);
  Scene scene;
  Ref<Session> session = scene.NewSession();
  std::vector<std::byte> out(kMaxMessage), opening(256);
  // As every client begins, so that the input can go on from there.
  Ask(*session, Bytes(opening).first(EncodeMessage(kNoTag, Tversion{kMaxMessage, kVersionRampart}, opening)), out);
  Ask(*session, Bytes(opening).first(EncodeMessage(0, Teattach{FidNum{0}, ""}, opening)), out);
  // Each message of the input: type[1] length[1] body.
  std::vector<std::byte> message;
  for (int count = 0; bytes.size() >= 2 && count < 64; ++count) {
    const size_t length = std::min<size_t>(static_cast<size_t>(bytes[1]), bytes.size() - 2);
    message.resize(kHeaderSize + length);
    PutHeader(message, static_cast<uint32_t>(message.size()), static_cast<MsgType>(bytes[0]), 7);
    std::copy_n(bytes.begin() + 2, length, message.begin() + kHeaderSize);
    Ask(*session, message, out);
    bytes = bytes.subspan(2 + length);
  }
}

}  // namespace rampart::gofer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  rampart::gofer::FuzzSession(std::as_bytes(std::span(data, size)));
  return 0;
}
