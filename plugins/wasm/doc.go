// Package wasm is the engine that runs plugins written in WebAssembly, in wazero. What wazero cannot contain by itself is in
// package meter, which rewrites a module before it is compiled.
//
// An Engine has the one runtime of a process, and its cache of compiled code. Modules are shared by reference count: the same
// bytes in two generations are compiled once. A Plugin keeps instances of its module, each with a memory of its own; a call
// takes one, and one whose code failed is thrown away with all that it staged, so that on_error answers.
//
// A call gets fuel in slices: what its budget allows, but between two calls of the host no more than some 10 ms need, because
// guest code cannot be interrupted and holds up the process' garbage collector; and no more than could be used in the time that is
// left if each unit took 50 ns. A unit takes about one when nothing is slow, so a call ends by its budget long before, and by its
// deadline at the latest. A guest also needs a turn to run, of which there is one for every two CPUs, so that others find a CPU. What the host does for a guest is charged in the same coin, and the time that it took is taken off.
//
// The ABI is the module stagepost_v0: see Numbers for what its numbers mean, which come from the tables of package hooks.
// Structured values are CBOR in both directions, as core/message reads and writes facts. A pointer or length that leads out of the
// guest's memory ends the call: it is a fault of the guest, and no answer to it would be read. What a plugin may not do, or what
// does not exist, is a negative number. Of WASI there is what runtimes of languages cannot do without: clocks, random numbers, and
// standard output, which goes to the log.
package wasm
