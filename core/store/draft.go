package store

import (
	"context"

	"github.com/stagepost/stagepost/core/message"
)

// draft is a content that may take another's place.
type draft struct {
	BodyWriter
	use func(BodyWriter)
}

// DraftOf begins a content that may take the place of body; use is called when it does. It is BodyWriter.Instead in the terms of
// package message.
func DraftOf(ctx context.Context, body BodyWriter, sizeHint int64, use func(BodyWriter)) (message.Draft, error) {
	w, err := body.Instead(ctx, sizeHint)
	if err != nil {
		return nil, err
	}
	return &draft{w, use}, nil
}

func (d *draft) Content() message.Content { return d.BodyWriter.Content() }
func (d *draft) Use()                     { d.use(d.BodyWriter) }
