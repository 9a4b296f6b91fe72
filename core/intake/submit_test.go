package intake

import (
	"errors"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

func TestSubmit(t *testing.T) {
	internal := func() *Submission {
		return &Submission{Session: &message.Session{Role: message.RoleInternal, Origin: "dsn"}, Rcpts: []smtp.Address{addr(t, "u@example.org")},
			Content: func(id message.ID) ([]byte, error) {
				return []byte("Message-ID: <" + id.String() + "@mx.example>\r\n\r\ntext\r\n"), nil
			}}
	}
	t.Run("accepted as relay", func(t *testing.T) {
		r := newRig(t)
		id, ans := r.in.Submit(t.Context(), internal())
		env := r.stored()
		if ans.Reply.Code != 250 || env == nil || env.ID != id || env.Rcpts[0].Class != message.ClassRelay || env.Session.Origin != "dsn" {
			t.Fatalf("answer %v, stored %+v", ans.Reply, env)
		}
		if got := r.sent(); !strings.Contains(got, id.String()+"@mx.example") || !strings.Contains(got, "Received: by ") {
			t.Errorf("sent:\n%s", got)
		}
	})
	for stage, want := range map[hooks.Stage]int{hooks.Mail: 550, hooks.Rcpt: 550, hooks.Data: 550, hooks.Queue: 550} {
		t.Run("refused at "+stage.String(), func(t *testing.T) {
			r := newRig(t, says("no", stage, hooks.Verdict{Kind: hooks.Reject}))
			if _, ans := r.in.Submit(t.Context(), internal()); ans.Reply.Code != want || r.stored() != nil {
				t.Errorf("answer %v", ans.Reply)
			}
		})
	}
	t.Run("content that cannot be made", func(t *testing.T) {
		r := newRig(t)
		s := internal()
		s.Content = func(message.ID) ([]byte, error) { return nil, errors.New("no") }
		if _, ans := r.in.Submit(t.Context(), s); ans.Reply.Code != 451 || r.stored() != nil {
			t.Errorf("answer %v", ans.Reply)
		}
	})
}
