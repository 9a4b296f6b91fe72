package resolve

import "fmt"

// Kind is why a lookup gives nothing to use. Kinds are errors, so errors.Is(err, resolve.NullMX) works on any *Error.
type Kind uint8

const (
	Temporary Kind = iota // the DNS could not tell; ask again later
	NoSuch                // the domain does not exist
	NoHost                // the domain exists, but names no host that takes mail
	NullMX                // the domain says that it takes no mail (RFC 7505)
)

// kinds holds what a sender is told: RFC 3463 section 3, RFC 7505 section 4.
var kinds = [...]struct {
	code           int
	enhanced, text string
}{
	Temporary: {451, "4.4.3", "the DNS gives no answer now"},
	NoSuch:    {550, "5.1.2", "the domain does not exist"},
	NoHost:    {550, "5.4.4", "the domain has neither a usable mail exchanger nor an address"},
	NullMX:    {556, "5.1.10", "the domain does not accept mail"},
}

func (k Kind) Error() string { return kinds[k].text }

// Error is the only error of this package's lookups.
type Error struct {
	Kind Kind
	Name string // what was asked
	Type Type
	Err  error // the cause, where there is more to say
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s %s: %s", e.Name, e.Type, e.Kind)
	}
	return fmt.Sprintf("%s %s: %s: %v", e.Name, e.Type, e.Kind, e.Err)
}

func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// Temporary says whether asking later may help; what is not temporary is bounced.
func (e *Error) Temporary() bool { return e.Kind == Temporary }

// Code is the SMTP reply code for a recipient in that domain.
func (e *Error) Code() int { return kinds[e.Kind].code }

// Enhanced is the enhanced status code (RFC 3463), such as "5.1.2".
func (e *Error) Enhanced() string { return kinds[e.Kind].enhanced }
