package config

import (
	"strings"
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	for _, tt := range []struct{ window, now, want string }{ // 2026-12-07 is a Monday; times of now with the zone they are in
		{"Mon-Fri 08:00-18:00", "Mon 2026-12-07 08:00 +0000", "same"},
		{"Mon-Fri 08:00-18:00", "Mon 2026-12-07 17:59 +0000", "same"},
		{"Mon-Fri 08:00-18:00", "Mon 2026-12-07 18:00 +0000", "Tue 2026-12-08 08:00 +0000"},
		{"Mon-Fri 08:00-18:00", "Fri 2026-12-11 18:00 +0000", "Mon 2026-12-14 08:00 +0000"},
		{"Mon-Fri 08:00-18:00 Europe/Berlin", "Mon 2026-12-07 07:00 +0000", "same"},
		{"Mon-Fri 08:00-18:00 Europe/Berlin", "Mon 2026-12-07 06:59 +0000", "Mon 2026-12-07 07:00 +0000"},
		{"Mon-Fri 08:00-18:00 Europe/Berlin", "Mon 2026-07-06 05:59 +0000", "Mon 2026-07-06 06:00 +0000"}, // summer time
		{"Fri-Mon 22:00-06:00", "Tue 2026-12-08 05:00 +0000", "same"},
		{"Fri-Mon 22:00-06:00", "Tue 2026-12-08 06:00 +0000", "Fri 2026-12-11 22:00 +0000"},
		{"22:00-06:00", "Tue 2026-12-08 23:30 +0000", "same"},
		{"22:00-06:00", "Tue 2026-12-08 12:00 +0000", "Tue 2026-12-08 22:00 +0000"},
		{"00:00-24:00", "Tue 2026-12-08 23:59 +0000", "same"},
		{"Sat,Sun 09:00-12:00; Wed 10:00-11:00", "Tue 2026-12-08 12:00 +0000", "Wed 2026-12-09 10:00 +0000"},
		{"Sat,Sun 09:00-12:00; Wed 10:00-11:00", "Wed 2026-12-09 11:00 +0000", "Sat 2026-12-12 09:00 +0000"},
		{"Sun 09:00-10:00", "Sun 2026-12-06 10:00 +0000", "Sun 2026-12-13 09:00 +0000"},
		{"sun 02:30-03:00 Europe/Berlin", "Sun 2026-03-29 00:45 +0000", "Sun 2026-03-29 01:30 +0000"}, // 02:30 is skipped that night
	} {
		w, err := ParseWindow(tt.window)
		if err != nil {
			t.Fatal(err)
		}
		const form = "Mon 2006-01-02 15:04 -0700"
		now, err := time.Parse(form, tt.now)
		if err != nil {
			t.Fatal(err)
		}
		got := w.Opens(now)
		if tt.want == "same" && !got.Equal(now) || tt.want != "same" && got.UTC().Format(form) != tt.want {
			t.Errorf("%s at %s opens %s, want %s", tt.window, tt.now, got.UTC().Format(form), tt.want)
		}
	}
	for _, bad := range []string{"", "Mon-Fri", "08:00", "8:00-18:00", "08:00-08:00", "25:00-26:00", "24:00-01:00", "Mon-Foo 08:00-09:00", "Mon 08:00-09:00 Nowhere/Town", "Mon 08:00-09:00 UTC; Tue 08:00-09:00",
		"Mon Tue 08:00-09:00", "08:00-09:00 Local", strings.Repeat("08:00-09:00;", 30), strings.Repeat("x", 300), "08:60-09:00", "Mon 08:00-09:00;"} {
		if w, err := ParseWindow(bad); err == nil {
			t.Errorf("%q is the window %+v", bad, w)
		}
	}
	var always *Window
	if now := time.Now(); !always.Opens(now).Equal(now) {
		t.Error("no window is not always open")
	}
}

// FuzzWindow: whatever can be written opens at a time from now on, and is open then.
func FuzzWindow(f *testing.F) {
	f.Add("Mon-Fri 08:00-18:00 Europe/Berlin", int64(1_796_601_600))
	f.Add("22:00-06:00;Sat,Sun 00:00-24:00", int64(0))
	f.Fuzz(func(t *testing.T, s string, sec int64) {
		w, err := ParseWindow(s)
		if err != nil {
			return
		}
		now := time.Unix(sec&(1<<33-1), 0)
		at := w.Opens(now)
		if at.Before(now) || at.Sub(now) > 8*day {
			t.Errorf("%q at %v opens at %v", s, now, at)
		}
	})
}
