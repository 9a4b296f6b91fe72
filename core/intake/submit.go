package intake

import (
	"context"
	"io"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// Submission is a message that no client brings: it begins at the stage mail, so no policy is passed over.
type Submission struct {
	Session *message.Session // who brings it; its Role is what hooks select on
	Sender  smtp.Address
	Params  smtp.Params // of MAIL
	Rcpts   []smtp.Address
	// See message.Envelope.
	Notice   *message.Notice
	Injected *message.Injected
	// Content gives the whole message, with CRLF line ends, once its id is known.
	Content func(id message.ID) ([]byte, error)
	Rest    io.Reader // what follows that; nil: nothing
}

// Submit takes a message from this server itself or a program beside it. It is refused as a whole by the first recipient that
// is refused. The id is zero where there was none yet.
func (in *Intake) Submit(ctx context.Context, s *Submission) (message.ID, Answer) {
	view := hooks.MessageView{Envelope: &message.Envelope{Notice: s.Notice, Injected: s.Injected}}
	t, ans := in.Begin(ctx, &hooks.Call{Session: s.Session, Message: &view}, nil, s.Sender, s.Params)
	if t == nil {
		return message.ID{}, ans
	}
	id := t.ID()
	for _, r := range s.Rcpts {
		if ans := t.Rcpt(ctx, r, nil); !ans.Reply.Positive() {
			t.Drop()
			return id, ans
		}
	}
	content, err := s.Content(id)
	if err == nil {
		_, err = t.Write(content)
	}
	if err == nil && s.Rest != nil {
		_, err = io.Copy(t, s.Rest)
	}
	if err != nil {
		return id, t.Refuse(ctx, failed(err))
	}
	return id, t.Finish(ctx)
}
