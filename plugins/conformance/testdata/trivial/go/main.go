// Trivial is the plugin whose calls are measured: it reads one field.
package main

import stagepost "github.com/stagepost/stagepost/sdk/go"

func init() {
	stagepost.OnRcpt(func(r stagepost.Rcpt) stagepost.Verdict {
		if r.Class() == "relay" {
			return stagepost.Reject{Text: "no relay"}
		}
		return nil
	})
}

func main() {}
