// Between the Gofer's attributes and the VFS's.
#pragma once

#include "base/result.h"
#include "gofer/protocol/types.h"
#include "sentry/vfs/attr.h"

namespace rampart::fs {

// REQUIRES: IsValid(attr).
vfs::Attr ToAttr(const gofer::FileAttr& attr);
vfs::FileType TypeOf(const gofer::FileAttr& attr);
// From DT_*; kRegular for what a host filesystem does not tell.
vfs::FileType TypeOfDirent(uint8_t type);
gofer::SetAttr ToSetAttr(const vfs::AttrChange& change);
// fstat(2) of a descriptor of ours: no birth time (the mask is 0), rdev or attribute bits.
Result<gofer::FileAttr> StatDescriptor(int fd);

}  // namespace rampart::fs
