// Overlay: a writable filesystem (upper, usually a tmpfs) over one that is only read (lower, usually a Gofer's), like Linux's overlayfs.
//
// Model. A name is looked up above, then below; a character device 0:0 above (a whiteout) hides what is below. The first change of an object copies it
// up with its attributes, xattrs and data. Which lower directory an upper one merges with is remembered here, not by name, so renaming a directory
// copies nothing below it. A lower file that is read or mapped is the lower's own description: nothing is copied, and it does not see a later copy-up.
// REQUIRES: nobody else changes either layer; the upper one is empty or was filled by plain creation and supports unnamed files and device nodes.
// Thread safety: all functions from any thread. Lock order: OverlayInode::copy_mu_ (child before parent) → the layers' locks; Overlay::mu_ is a leaf.
#pragma once

#include "sentry/vfs/inode.h"

namespace rampart::fs {

Ref<vfs::Filesystem> NewOverlay(Ref<vfs::Filesystem> upper, Ref<vfs::Filesystem> lower);

}  // namespace rampart::fs
