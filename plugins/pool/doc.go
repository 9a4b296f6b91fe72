// Package pool holds what both engines share of what many calls at once may take; what one call may take is the engine's matter.
//
// A Pool keeps the instances of one plugin, since none of them serves two calls at a time: there are no more calls at once than
// it has places. Turns are the process's, over all plugins and both engines: code of a plugin that runs for longer than an
// instant needs one, and there is one for every two CPUs, so that sessions always find a CPU that runs no plugin. A turn that was
// used for long rests before anybody has it again, for the CPU it was on serves sessions too: where there are two, the other one
// is busy with system calls and collecting garbage. A Quota is an amount that calls take from and give back, in the order in which they
// asked: turns are one, the memory of a plugin's large calls is another.
package pool
