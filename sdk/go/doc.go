// Package stagepost is what plugins for Stagepost are written with in Go.
//
// A plugin is a program that registers a handler for each stage that its plugin.toml names, in init, and has an empty main:
//
//	func init() {
//		stagepost.OnRcpt(func(r stagepost.Rcpt) stagepost.Verdict {
//			if r.Address().Domain == "example.org" {
//				return stagepost.Accept{Class: "local"}
//			}
//			return nil
//		})
//	}
//
//	func main() {}
//
// It is built with GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o plugin.wasm.
//
// A handler gets an object and answers with a [Verdict]; nil is next, no opinion. Objects such as [Rcpt] and [Message] are handles: each
// method asks the server, so keep in a variable what you use more than once. They belong to the call and are worth nothing after it. What
// there is none of is the zero value: "", 0, nil.
//
// Services, such as [KV] and [DNS], return errors when they cannot tell. Return [Fail] of such an error, and the plugin's on_error answers for
// it. What the server refuses because the plugin is wrong, such as an edit at a stage that has none, or that plugin.toml does not ask for,
// ends the handler in the same way, as it does in Lua.
//
// A handler runs alone: an instance has one call at a time. Call the server from the goroutine that the handler runs in.
package stagepost
