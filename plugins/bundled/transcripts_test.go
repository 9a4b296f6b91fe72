package bundled_test

import (
	"testing"

	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/generation"
	"github.com/stagepost/stagepost/plugins/transcript"
)

// TestTranscripts runs the plugins' own tests, each case in a fresh and in a used instance.
func TestTranscripts(t *testing.T) {
	for _, name := range bundled.Names() {
		src, err := generation.ReadBundled(name)
		if err != nil {
			t.Fatal(err)
		}
		files, err := transcript.Read(bundled.Open(name), name+"/", transcript.InFolder(bundled.Open(name))...)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			t.Errorf("%s has no tests", name)
		}
		for _, f := range files {
			for _, c := range f.Cases {
				t.Run(c.String(), func(t *testing.T) {
					if f := c.Run(t.Context(), src, 0).Failure; f != nil {
						t.Errorf("%s:%d: %s instance: wanted\n%s\ngot\n%s", c.File.Name, f.Line, f.Run, f.Wanted, f.Got)
					}
				})
			}
		}
	}
}
