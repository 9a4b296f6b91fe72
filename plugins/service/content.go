package service

import (
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// contentObject is what package hooks calls the content of a message.
const contentObject = "content"

// textContent is added to a part's number for its text in UTF-8.
const textContent = 1 << 16

// Part is a part of the call's message by its place from 0; nil where there is none, or the body may not be read.
func Part(call *hooks.Call, i int) *message.Part {
	if call.Message == nil || call.Reading(capability.ReadBody) != nil {
		return nil
	}
	parts, _, err := call.Message.Parts()
	if err != nil || i < 0 || i >= len(parts) {
		return nil
	}
	return parts[i]
}

// Content is what the number of a content stands for in WebAssembly: 0 the whole message, from 1 its parts, decoded, and textContent
// more their texts. It is nil for the message before there is one.
func Content(call *hooks.Call, n int64) (message.Content, error) {
	if n == 0 && call.Message != nil {
		return call.Message.Body()
	}
	var p *message.Part
	if n > 0 && n < 2*textContent {
		p = Part(call, int(n%textContent)-1)
	}
	switch {
	case p == nil:
		return nil, fmt.Errorf("there is no content %d here", n)
	case n < textContent:
		return p.Content(), nil
	}
	text, err := p.Text()
	return partText(text), err
}

// partText is a text as a content.
type partText string

func (t partText) Size() int64   { return int64(len(t)) }
func (t partText) Bytes() []byte { return []byte(t) }
func (t partText) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(t)).ReadAt(p, off)
}

// content gives the content of a message that an argument is, or nil.
func (c *Context) content(v any) (message.Content, error) {
	number, numbered := v.(int64)
	content, ok := v.(message.Content)
	if !ok && !numbered {
		return nil, nil
	}
	if err := c.call.Reading(capability.ReadBody); err != nil {
		return nil, err
	}
	if ok {
		return content, nil
	}
	content, err := Content(c.call, number)
	if content == nil && err == nil {
		err = fmt.Errorf("there is no content yet: it is there from data on, not at %s", c.call.Stage)
	}
	return content, err
}
