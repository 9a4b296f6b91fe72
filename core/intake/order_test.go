package intake

import (
	"errors"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/hooks"
)

// TestOrderOfAdded: fields stand in the order in which plugins add them, from stage to stage and within one, below ours and above those that
// came in; and who signs at queue sees all that those before it added, as it goes out.
func TestOrderOfAdded(t *testing.T) {
	seen := map[string]string{}
	adds := func(plugin string, stage hooks.Stage, names ...string) *hooks.Hook {
		return edits(plugin, stage, func(c *hooks.Call) error {
			h, err := c.Message.Header()
			for _, f := range h.Fields("") {
				seen[plugin] += f.Name + " "
			}
			for _, name := range names {
				err = errors.Join(err, c.AddHeader(name, "by "+plugin))
			}
			return err
		})
	}
	seal, sign, list := adds("seal", hooks.Queue, "X-Seal", "X-Signature"), adds("sign", hooks.Queue, "DKIM-Signature"), adds("list", hooks.Queue, "List-Id")
	seal.After, list.Before, seal.Order = []string{"sign"}, []string{"sign"}, 1
	last := adds("last", hooks.Data, "X-Last")
	last.Order = 90
	r := newRig(t, local, seal, sign, list, last, adds("results", hooks.Data, "Authentication-Results"))
	r.run(body, "u@example.org")
	_, rest, _ := strings.Cut(r.sent(), "+0000\r\n")
	want := "Authentication-Results: by results\r\nX-Last: by last\r\nList-Id: by list\r\nDKIM-Signature: by sign\r\nX-Seal: by seal\r\nX-Signature: by seal\r\n" + body
	if rest != want {
		t.Errorf("sent\n%q, want\n%q", rest, want)
	}
	for plugin, names := range map[string]string{
		"results": "", "last": "Authentication-Results ", "list": "Authentication-Results X-Last ", "sign": "Authentication-Results X-Last List-Id ",
		"seal": "Authentication-Results X-Last List-Id DKIM-Signature ",
	} {
		if names += "Subject X-Old "; seen[plugin] != names {
			t.Errorf("%s sees %q, want %q", plugin, seen[plugin], names)
		}
	}
}
