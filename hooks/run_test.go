package hooks

import (
	"testing"

	"github.com/stagepost/stagepost/core/message"
)

// What is said of a message names the plugin that said so, not the one that first said something.
func TestResultNamesWhoHeldAndDiscarded(t *testing.T) {
	g := generation(t,
		hook("a", Route, answer(&Verdict{Kind: RouteTo, Plan: &message.Plan{MX: "example.org"}})),
		hook("b", Route, answer(&Verdict{Kind: Hold, Reason: "look at it"})),
		hook("c", Route, answer(&Verdict{Kind: Discard, Reason: "junk"})),
		hook("d", Route, answer(&Verdict{Kind: Hold, Reason: "me too"})))
	cl, _ := call(t, Route)
	if res := g.Run(cl); res.DecidedBy != "a" || res.HoldBy != "b" || res.Hold.Reason != "look at it" || res.DiscardBy != "c" {
		t.Errorf("%+v", res)
	}
}
