// NAME says what it is for.
package main

import (
	"slices"

	stagepost "github.com/stagepost/stagepost/sdk/go"
)

func init() {
	stagepost.OnRcpt(rcpt)
}

// rcpt is asked about each recipient.
func rcpt(r stagepost.Rcpt) stagepost.Verdict {
	if slices.Contains(stagepost.Config().List("unwanted"), r.Address().Mailbox) {
		return stagepost.Reject{Text: "nobody reads this"}
	}
	return nil // no opinion: the next plugin is asked
}

func main() {}
