package hooks

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
)

// Rewrite begins a new body for the message. It takes the place of the one there is when the handler returns without error and the new
// one was closed; else it is given up, whatever ended the handler.
func (c *Call) Rewrite() (*message.Rewrite, error) { return c.newBody(opRewrite) }

// SetContent stages a body of text, HTML or both, nil being none, and the header fields that go with it; a nil subject stays as it was.
func (c *Call) SetContent(subject, text, html *string) error {
	if subject != nil {
		if err := c.editing(opSetContent, capability.EditHeaders, "headers", Data); err != nil {
			return err
		}
	}
	w, err := c.newBody(opSetContent)
	if err != nil {
		return err
	}
	if err = w.Compose(subject, text, html); err != nil {
		c.Unwrite()
		return fmt.Errorf("set_content: %w", err)
	}
	return nil
}

func (c *Call) newBody(op editOp) (*message.Rewrite, error) {
	if err := c.editing(op, capability.EditBody, "body", Data); err != nil {
		return nil, err
	}
	if c.rewrite != nil {
		return nil, fmt.Errorf("%s: the handler has written another body already; one handler writes one", editNames[op])
	}
	h, err := c.Message.Header()
	if err != nil || h == nil || c.Message.Draft == nil {
		return nil, cmp.Or(err, fmt.Errorf("%s does not work here", editNames[op]))
	}
	if c.rewrite, err = message.NewRewrite(c.Context(), c.Message.Content, h, c.Message.Draft, c.Message.MaxSize); err == nil {
		err = c.stage(edit{op: op})
	}
	if err != nil {
		c.Unwrite()
		return nil, fmt.Errorf("%s: %w", editNames[op], err)
	}
	return c.rewrite, nil
}

// Rewriting is the new body that this call writes; nil when there is none.
func (c *Call) Rewriting() *message.Rewrite { return c.rewrite }

// Unwrite gives up the new body that this call writes, as if it had not begun.
func (c *Call) Unwrite() {
	if c.rewrite != nil {
		c.rewrite.Abort()
		c.rewrite = nil
		c.edits = slices.DeleteFunc(c.edits, func(e edit) bool { return e.op == opRewrite || e.op == opSetContent })
	}
}
