// Package abi is the interface between a plugin and the server: functions that the server has, and those that it calls. In WebAssembly they
// are imports and exports; elsewhere, where tests of plugins run, a Host stands for the server.
package abi

// What package stagepost lets the server call. It sets them before anything else happens.
var (
	Load func(settings []byte) int32
	Hook func(stage int32) []byte // the verdict; nil is next, and Failed tells whether it gave up
	// Failed is the negative number that the last call of Hook came to; 0 if it answered.
	Failed int64
)

// Version is that of this interface.
const Version = 0
