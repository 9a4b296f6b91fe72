package conformance

import (
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/service"
)

// BenchmarkTrivialHook is a call of a plugin in Go, by the SDK, that reads one field.
func BenchmarkTrivialHook(b *testing.B) {
	module, err := build(b, "testdata/trivial/go")
	if err != nil {
		b.Skip("left out: ", err)
	}
	man, set := configured(b, nil)
	p, err := loadWasm(b, module)(man, set, service.NewHost(service.Options{}))
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	h := man.Hook(hooks.Rcpt, "p", config.Run{})
	h.Handler, h.Timeout = p.Handlers()[hooks.Rcpt], 10*time.Second
	g, err := hooks.NewGeneration(1, []*hooks.Hook{h}, nil)
	if err != nil {
		b.Fatal(err)
	}
	call := input(b, hooks.Rcpt, false)
	b.ReportAllocs()
	for b.Loop() {
		g.Run(call)
	}
}
