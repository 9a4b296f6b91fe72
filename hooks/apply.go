package hooks

import (
	"fmt"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// apply carries out what a handler staged, all or nothing: everything that can fail is tried before anything changes. It
// returns a word for each edit, for the record.
func (c *Call) apply() ([]string, error) {
	if len(c.edits) == 0 {
		return nil, nil
	}
	if err := c.tryEdits(); err != nil {
		return nil, err
	}
	m := c.Message
	if c.header != nil {
		m.header, c.header = c.header, nil
	}
	if c.rewrite != nil {
		m.Content, m.header = c.rewrite.Use(m.header)
		m.parts, m.partsCut = nil, false
		m.Envelope.Size = m.Content.Size()
		c.rewrite = nil
	}
	words := make([]string, 0, len(c.edits))
	for i := range c.edits {
		words = append(words, c.do(&c.edits[i]))
	}
	return words, nil
}

// tryEdits finds what would fail half-way: facts over their bounds, too many recipients, a header that cannot be read.
func (c *Call) tryEdits() error {
	var added, fields, fieldBytes, own, bytes, facts int // facts are counted over all their owners, which errs on the safe side
	c.header = nil
	if c.rewrite != nil && !c.rewrite.Ended() {
		return fmt.Errorf("rewrite: the new body has no end, so nothing counts")
	}
	for i := range c.edits {
		switch e := &c.edits[i]; e.op {
		case opFact:
			n, _ := message.SizeOf(e.value)
			bytes += n + len(e.name)
			facts++
			if e.facts.Bytes()+bytes > message.MaxFactsBytes || e.facts.Len()+facts > message.MaxFacts {
				return fmt.Errorf("fact %q: more than %d facts or %d bytes of them", e.name, message.MaxFacts, message.MaxFactsBytes)
			}
		case opAddRcpt:
			added++
		case opRename:
			added += len(e.addrs) - 1
		case opAddHeader, opSetHeader, opRemoveHeader, opSetContent:
			if e.rcpt != nil {
				if own += len(e.text); c.Message.ownBytes+own > message.DefaultHeaderLimits.Bytes {
					return fmt.Errorf("add_header: the recipients of a message may have %d bytes of fields of their own, together", message.DefaultHeaderLimits.Bytes)
				}
				continue
			}
			if c.Stage >= Data {
				if err := c.editHeader(e); err != nil {
					return err
				}
				continue
			}
			fields++
			fieldBytes += fieldSize(e.name, e.text)
		}
	}
	if fields > 0 {
		most := message.DefaultHeaderLimits
		if len(c.Message.Added)+fields > most.Fields || c.Message.addedBytes+fieldBytes > most.Bytes {
			return fmt.Errorf("add_header: plugins may add %d fields or %d bytes of them before there is a header", most.Fields, most.Bytes)
		}
	}
	if c.Message != nil && c.Message.added+added > MaxRenames {
		return fmt.Errorf("plugins may add %d recipients to a message", MaxRenames)
	}
	return nil
}

func fieldSize(name, text string) int { return len(name) + len(": \r\n") + len(text) }

// editHeader edits a copy of the header, which apply puts in its place.
func (c *Call) editHeader(e *edit) error {
	if c.header == nil {
		h, err := c.Message.Header()
		if err != nil {
			return err
		}
		c.header = h.Clone()
	}
	switch e.op {
	case opAddHeader:
		return c.header.Add(e.name, e.text)
	case opSetHeader:
		return c.header.Set(e.name, e.text)
	case opSetContent:
		return c.rewrite.EditHeader(c.header)
	}
	c.header.Remove(e.name, e.n-1)
	return nil
}

func (c *Call) do(e *edit) string {
	m := c.Message
	switch e.op {
	case opFact:
		e.facts.Set(e.name, e.value) // checked by tryEdits
		return "fact " + e.name
	case opAddHeader:
		if e.rcpt != nil {
			e.rcpt.Prefix = append(e.rcpt.Prefix, e.text...)
			m.ownBytes += len(e.text)
			return "add_header " + e.name + " for <" + e.rcpt.Address.Text + ">"
		}
		if c.Stage < Data {
			m.Added = append(m.Added, HeaderField{e.name, e.text})
			m.addedBytes += fieldSize(e.name, e.text)
		}
	case opSetSender:
		m.Sender = e.addrs[0]
		return "set_sender <" + e.addrs[0].Text + ">"
	case opAddRcpt:
		m.added++
		m.Rcpts = append(m.Rcpts, &message.Rcpt{Address: e.addrs[0], Original: e.addrs[0], Class: e.class, By: c.hook.Plugin})
		return "add_rcpt <" + e.addrs[0].Text + ">"
	case opRename:
		m.added += len(e.addrs) - 1
		c.Rcpt.Address = e.addrs[0]
		c.renamed = append(c.renamed, e.addrs[1:]...)
		return "rename <" + e.addrs[0].Text + ">"
	case opRewrite, opSetContent:
		return fmt.Sprintf("%s: %d bytes", editNames[e.op], m.Envelope.Size)
	case opSchedule:
		m.schedule(e.sched)
		return "schedule"
	}
	return editNames[e.op] + " " + e.name
}

func (m *MessageView) schedule(s Schedule) {
	if s.Tenant != nil {
		m.Tenant = *s.Tenant
	}
	if s.Priority != nil {
		m.Priority = int8(*s.Priority)
	}
	set := func(to *time.Time, from *time.Time) {
		if from != nil {
			*to = *from
		}
	}
	set(&m.NotBefore, s.NotBefore)
	set(&m.Expires, s.Expires)
}
