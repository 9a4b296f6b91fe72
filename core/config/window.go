package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Window is when something may be done: hours of days of the week, by the clocks of one place. The zero value, and nil, is always.
type Window struct {
	text  string
	zone  *time.Location
	spans []span
}

// span is an opening on some days of the week, in minutes of the day. One that ends before it begins ends on the next day.
type span struct {
	days        [7]bool // from Sunday
	first, last int
}

const (
	windowKind = `days of the week or not, hours, and a place or not: "Mon-Fri 08:00-18:00 Europe/Berlin", "Sat,Sun 09:00-12:00", "22:00-06:00"; several with semicolons between them, ` +
		`and the place behind the last; without one it is UTC`
	maxSpans  = 20
	dayOf     = 24 * 60
	maxWindow = 200 // characters
)

// weekdays from Sunday, as time.Weekday has them.
var weekdays = [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// ParseWindow reads a window.
func ParseWindow(s string) (*Window, error) {
	if len(s) > maxWindow {
		return nil, fmt.Errorf("it is longer than %d characters", maxWindow)
	}
	w := &Window{text: strings.Join(strings.Fields(s), " "), zone: time.UTC}
	parts := strings.Split(s, ";")
	if len(parts) > maxSpans {
		return nil, fmt.Errorf("there are more than %d parts", maxSpans)
	}
	for i, part := range parts {
		words := strings.Fields(part)
		at := slices.IndexFunc(words, func(word string) bool { return strings.Contains(word, ":") })
		if at < 0 || at > 1 || len(words) > at+2 || len(words) == at+2 && i < len(parts)-1 {
			return nil, fmt.Errorf("%q is not days, hours and perhaps a place", shorten(strings.TrimSpace(part)))
		}
		var sp span
		var err error
		if at == 0 {
			sp.days = [7]bool{true, true, true, true, true, true, true}
		} else if sp.days, err = days(words[0]); err != nil {
			return nil, err
		}
		if sp.first, sp.last, err = hours(words[at]); err != nil {
			return nil, err
		}
		w.spans = append(w.spans, sp)
		if len(words) == at+2 {
			if w.zone, err = time.LoadLocation(words[at+1]); err != nil || words[at+1] == "Local" {
				return nil, fmt.Errorf("%q is no place that this system knows the time of", shorten(words[at+1]))
			}
		}
	}
	return w, nil
}

func days(s string) (on [7]bool, err error) {
	for part := range strings.SplitSeq(strings.ToLower(s), ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		first, last := slices.Index(weekdays[:], from), slices.Index(weekdays[:], to)
		if first < 0 || last < 0 {
			return on, fmt.Errorf("%q is not days of the week; write Mon, Mon-Fri, or Sat,Sun", shorten(s))
		}
		for d := first; ; d = (d + 1) % 7 {
			if on[d] = true; d == last {
				break
			}
		}
	}
	return on, nil
}

func hours(s string) (first, last int, err error) {
	from, to, ok := strings.Cut(s, "-")
	first, okFirst := minute(from)
	last, okLast := minute(to)
	if !ok || !okFirst || !okLast || first == last || first == dayOf {
		return 0, 0, fmt.Errorf("%q is not hours; write 08:00-18:00", shorten(s))
	}
	return first, last, nil
}

// minute reads "08:30"; 24:00 is the end of a day.
func minute(s string) (int, bool) {
	if len(s) != 5 || s[2] != ':' || strings.Trim(s[:2]+s[3:], "0123456789") != "" {
		return 0, false
	}
	h, m := int(s[0]-'0')*10+int(s[1]-'0'), int(s[3]-'0')*10+int(s[4]-'0')
	return h*60 + m, h < 24 && m < 60 || h == 24 && m == 0
}

// String is the window as it was written.
func (w *Window) String() string { return w.text }

// Opens is the first time, not before now, at which the window is open: now, if it is.
func (w *Window) Opens(now time.Time) time.Time {
	if w == nil || len(w.spans) == 0 {
		return now
	}
	local := now.In(w.zone)
	var first time.Time
	for _, sp := range w.spans {
		for d := -1; d <= 7; d++ { // from yesterday, whose span may last into today
			y, m, date := local.Date()
			if !sp.days[time.Date(y, m, date+d, 12, 0, 0, 0, w.zone).Weekday()] {
				continue
			}
			at := func(minutes int) time.Time { return time.Date(y, m, date+d, 0, minutes, 0, 0, w.zone) }
			last := sp.last
			if last < sp.first {
				last += dayOf
			}
			begins, ends := at(sp.first), at(last)
			switch {
			case !now.Before(ends):
			case !now.Before(begins):
				return now
			case first.IsZero() || begins.Before(first):
				first = begins
			}
		}
	}
	if first.IsZero() { // the clocks of the place went over all of it
		return now.Add(7 * day)
	}
	return first
}

func window(v any) (*Window, error) {
	s, err := text(v)
	if err != nil {
		return nil, err
	}
	return ParseWindow(s)
}
