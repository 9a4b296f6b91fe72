package message

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Injected is of a message that a plugin handed in: mail, or, where Via is set, a parcel, which is no mail. A parcel has the
// null sender and one recipient that is no address; its content is one value in CBOR, for the plugin that Via names.
type Injected struct {
	By    string // the plugin
	Depth int    // 1, or one more than that of the message for which the plugin was asked
	Key   string // while a message of this plugin with this key is queued, no other is; empty: it has none
	Via   string
}

// ParcelTo is the recipient of a parcel, as listings show it.
func ParcelTo(via string) string { return "plugin:" + via }

// IsParcel tells whether this is no mail.
func (e *Envelope) IsParcel() bool { return e.Injected != nil && e.Injected.Via != "" }

// IsBy tells whether that plugin handed the message in; nobody did where i is nil.
func (i *Injected) IsBy(plugin string) bool { return i != nil && i.By == plugin }

// Parcel is what the plugin gets that a parcel is for.
type Parcel struct {
	From, Key string
	Content   any
}

// Value is the parcel in the types of facts; nil where there is none.
func (p *Parcel) Value() any {
	if p == nil {
		return nil
	}
	return map[string]any{"from": p.From, "key": p.Key, "content": p.Content}
}

const (
	injBy protowire.Number = iota + 1
	injDepth
	injKey
	injVia
)

func appendInjected(b []byte, i *Injected) []byte {
	b = appendString(b, injBy, i.By)
	b = appendUint(b, injDepth, uint64(i.Depth))
	b = appendString(b, injKey, i.Key)
	return appendString(b, injVia, i.Via)
}

func decodeInjected(b []byte) (*Injected, error) {
	i := &Injected{}
	err := eachField(b, func(f field) error {
		switch f.num {
		case injBy:
			i.By = string(f.bytes)
		case injDepth:
			if f.value > 255 {
				return errField
			}
			i.Depth = int(f.value)
		case injKey:
			i.Key = string(f.bytes)
		case injVia:
			i.Via = string(f.bytes)
		}
		return nil
	})
	return i, err
}

// Letter is a whole message of few words. Empty fields are left out; Text and HTML are as Compose takes them.
type Letter struct {
	From, To, Subject string
	Text, HTML        *string
}

// Compose writes the message, which says that no person did (RFC 3834 section 5).
func (l *Letter) Compose() ([]byte, error) {
	body, err := Compose(l.Text, l.HTML)
	if err != nil {
		return nil, err
	}
	h := &Header{limits: DefaultHeaderLimits}
	fields := append([][2]string{{"From", l.From}, {"To", l.To}, {"Subject", l.Subject}, {"Auto-Submitted", "auto-generated"}}, body.fields...)
	for _, f := range fields {
		if f[1] == "" {
			continue
		}
		if err := h.Add(f[0], f[1]); err != nil {
			return nil, err
		}
	}
	content, _ := h.Result(nil)
	return append(append(content, "\r\n"...), body.body...), nil
}

// Complete puts on top of a message what Missing gives.
func Complete(content []byte, id ID, hostname string, now time.Time) ([]byte, error) {
	h, err := ParseHeader(content, DefaultHeaderLimits)
	if err != nil {
		return nil, err
	}
	return append(h.Missing(id, hostname, now), content...), nil
}

// Missing are the fields that a program may leave to the server that it hands a message to (RFC 6409 section 8), Date and Message-ID, if
// they are missing.
func (h *Header) Missing(id ID, hostname string, now time.Time) (top []byte) {
	if h.Count("Date") == 0 {
		top = append(now.UTC().AppendFormat(append(top, "Date: "...), "Mon, 02 Jan 2006 15:04:05 -0700"), "\r\n"...)
	}
	if h.Count("Message-ID") == 0 {
		top = append(top, "Message-ID: <"+id.String()+"@"+hostname+">\r\n"...)
	}
	return top
}
