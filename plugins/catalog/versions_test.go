package catalog

import (
	"fmt"
	"strings"
	"testing"
)

func TestNewest(t *testing.T) {
	for _, tc := range []struct {
		name     string
		own      int
		versions string // VERSION=API ...
		want     string // a version, or a part of the error
		asked    string // which versions' api was asked for, in order
	}{
		{"one", 0, "1.0.0=0", "1.0.0", "1.0.0"},
		{"numbers are compared as numbers", 0, "1.9.0=0 1.10.0=0 1.2.0=0", "1.10.0", "1.10.0"},
		{"of any length", 0, "9.0.0=0 18446744073709551616.0.0=0", "18446744073709551616.0.0", "18446744073709551616.0.0"},
		{"the newest is for an api to come", 1, "1.0.0=1 2.0.0=2", "1.0.0", "2.0.0 1.0.0"},
		{"the api before is spoken", 2, "1.0.0=0 2.0.0=1", "2.0.0", "2.0.0"},
		{"the one before that is not", 2, "1.0.0=0", "no version of the plugin x is for this server, which speaks api 1 and 2; 1.0.0 is for api 0", "1.0.0"},
		{"an older release for a newer api", 1, "2.0.0=1 1.9.9=2", "2.0.0", "2.0.0"},
		{"none is spoken", 0, "1.0.0=1 2.0.0=2", "which speaks api 0; 2.0.0 is for api 2", "2.0.0 1.0.0"},
		{"a release goes before a newer pre-release", 0, "1.0.0=0 2.0.0-rc.1=0", "1.0.0", "1.0.0"},
		{"a pre-release where no release is spoken", 0, "1.0.0=1 1.1.0-rc.1=0", "1.1.0-rc.1", "1.0.0 1.1.0-rc.1"},
		{"pre-releases among themselves", 0, "1.0.0-alpha=0 1.0.0-alpha.1=0 1.0.0-alpha.beta=0 1.0.0-beta=0 1.0.0-beta.2=0 1.0.0-beta.11=0 1.0.0-rc.1=0", "1.0.0-rc.1", "1.0.0-rc.1"},
		{"tags that are no versions", 0, "latest=0 v9.9.9=0 1.0=0 01.0.0=0 9.0.0+x=0 9.0.0-=0 9.0.0-01=0 1.0.0=0", "1.0.0", "1.0.0"},
		{"nothing", 0, "", "there is no version of a plugin x", ""},
		{"nothing but other tags", 0, "latest=0", "there is no version of a plugin x", ""},
		{"an api below zero", 0, "1.0.0=-1", "no version", "1.0.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			apis, asked := map[string]int{}, []string{}
			var versions []string
			for _, f := range strings.Fields(tc.versions) {
				v, api, _ := strings.Cut(f, "=")
				var n int
				fmt.Sscan(api, &n)
				apis[v], versions = n, append(versions, v)
			}
			got, err := newest("x", versions, func(v string) (int, error) { asked = append(asked, v); return apis[v], nil }, tc.own)
			if err != nil {
				got = err.Error()
			}
			if got != tc.want && (err == nil || !strings.Contains(got, tc.want)) {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if was := strings.Join(asked, " "); was != tc.asked {
				t.Errorf("asked for %s, want %s", was, tc.asked)
			}
		})
	}
}

// The example of Semantic Versioning 2.0.0, section 11, and what it says of builds of one length.
func TestOrderOfVersions(t *testing.T) {
	sorted := []string{"0.0.0", "1.0.0-0", "1.0.0-2", "1.0.0-10", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",
		"1.0.0-rc.1", "1.0.0", "1.0.1", "1.1.0", "2.0.0", "2.1.0", "2.1.1", "10.0.0"}
	for i, a := range sorted {
		if !validVersion(a) {
			t.Errorf("%s is no version", a)
		}
		for j, b := range sorted {
			got := CompareVersions(a, b)
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s against %s: %d", a, b, got)
			}
		}
	}
}
