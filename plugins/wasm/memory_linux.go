package wasm

import "syscall"

// largePages asks for pages of 2 MiB in a memory beyond smallMemory: to touch 32 MiB in small ones for the first time takes some tens of
// milliseconds, in which the guest cannot be interrupted.
func largePages(b []byte) { _ = syscall.Madvise(b, syscall.MADV_HUGEPAGE) } // or not, as the system likes
