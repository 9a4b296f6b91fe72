// Package lua is the engine that contains plugins written in Lua 5.1. It runs gopher-lua and takes away
// what that cannot contain by itself.
//
// A file goes through four steps. Parse caps its size and nesting before anything recurses and sets the
// header (`plugin { ... }`) apart, unrun. Compile checks names and main-chunk state, then rewrites every
// operation that can allocate without bound (`..`, table constructors, table writes, closures) into a call of
// a private builtin that charges a budget; compiled plugin code holds no concat, table-write or
// global-write instruction at all. Link resolves each `require` of a string literal. The resulting Image
// never changes and is shared by all instances.
//
// Open also checks what handlers do with their objects, and what services the code calls, against the declarations in
// packages hooks and service and what the manifest asks for. It speaks only of what is certain to fail, in the words of
// the failed call; the rest is found by the call.
//
// An Instance is one Lua state with one Budget of instructions, bytes and time. The budget is the state's
// context: the VM asks its Done before every instruction, so counting costs nothing extra, and once it is
// spent every further instruction fails, which no pcall in the plugin survives. The string library and
// pattern matcher are our own, for they must charge the budget too. Coroutines and pcall run on threads
// of the same budget.
//
// While the main chunk runs, its tables may be filled; afterwards all of them, the libraries and the
// globals are frozen. Because every table write is a builtin call, the check sits there, and reads pay nothing.
//
// Nothing of the plugin's goes from one call to the next: closures that could are found after the main chunk, and coroutines,
// iterators, verdicts and the host's objects end with the call that got them.
//
// A handler that only looks and answers needs no Instance: package direct runs it as closures, and hands it to an Instance when
// anything is out of its ordinary.
//
// The bounds hold a plugin's mistakes. They are not a wall against an expert in the Go runtime: code by
// strangers belongs in WebAssembly.
package lua
