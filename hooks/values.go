package hooks

import (
	"net/netip"
	"slices"

	"github.com/stagepost/stagepost/core/message"
)

func ipText(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

func texts(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func history(s *message.Session) []any {
	out := make([]any, len(s.History))
	for i, n := range s.History {
		out[i] = map[string]any{"stage": n.Stage, "plugin": n.Plugin, "verdict": n.Verdict, "code": int64(n.Code), "reason": n.Reason}
	}
	return out
}

func (m *MessageView) rcpts() []*RcptView {
	if !slices.EqualFunc(m.views, m.Rcpts, func(v *RcptView, r *message.Rcpt) bool { return v.Rcpt == r }) {
		m.views = make([]*RcptView, len(m.Rcpts))
		for i, r := range m.Rcpts {
			m.views[i] = &RcptView{Rcpt: r, Message: m, Index: i}
		}
	}
	return m.views
}

// contentOf returns an untyped nil where there is no content, so that engines see nil.
func contentOf(m *MessageView) any {
	if c, err := m.Body(); err == nil && c != nil {
		return c
	}
	return nil
}

func (m *MessageView) bodyStart() int64 {
	h, _ := m.Header()
	start, _ := h.BodyStart(m.Content)
	return start
}

// Parts finds the parts of the content; cut tells that not all are there.
func (m *MessageView) Parts() (parts []*message.Part, cut bool, err error) {
	h, err := m.Header()
	if err == nil && h != nil && m.parts == nil {
		m.parts, m.partsCut, err = message.Parts(m.Content, h)
	}
	return m.parts, m.partsCut, err
}

func partsOf(m *MessageView) any {
	if _, _, err := m.Parts(); err != nil {
		return err
	}
	return m.parts
}
