package wasm

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/pool"
	"github.com/stagepost/stagepost/plugins/service"
)

// TestOthersGoOn shows how long others wait for a CPU while a plugin does nothing but loop, in as many calls as it has instances,
// which its breaker would end soon.
func TestOthersGoOn(t *testing.T) {
	r := newRig(t, EngineOptions{})
	r.many = true
	p := r.mustLoad(assembled(t, "", "export func stagepost_hook i32 -> i64\nloop br 0 end i64.const 0"))
	measure := func(what string) time.Duration {
		var took []time.Duration
		for end := time.Now().Add(700 * time.Millisecond); time.Now().Before(end); {
			begin := time.Now()
			ping := make(chan []byte)
			go func() { ping <- make([]byte, 64<<10) }()
			<-ping
			took = append(took, time.Since(begin))
			time.Sleep(200 * time.Microsecond)
		}
		slices.Sort(took)
		t.Logf("%-16s %5d rounds, half of them within %s, 99 %% within %s, all within %s", what, len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
		return took[len(took)-1]
	}
	measure("alone")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	h := p.Manifest.Hook(hooks.Connect, "p", config.Run{})
	h.Handler = p.Handlers()[hooks.Connect]
	for range 4 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				one := *h
				one.Breaker = nil // a new one each time, so that it stays closed
				g, err := hooks.NewGeneration(1, []*hooks.Hook{&one}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				c, _ := testCall(t, hooks.Connect)
				g.Run(c)
			}
		})
	}
	longest := measure("beside loops")
	close(stop)
	wg.Wait()
	if longest > 5*time.Second {
		t.Errorf("the others hang for %s", longest)
	}
}

// slowDNS answers when it is told to.
type slowDNS struct{ asked, answer chan struct{} }

func (d slowDNS) Lookup(context.Context, string, resolve.Type) (resolve.Answer, error) {
	d.asked <- struct{}{}
	<-d.answer
	return resolve.Answer{Status: resolve.NoDomain}, nil
}

// TestTurns: no more guests run at once than there are turns, and one that waits for the DNS has none, so others are asked meanwhile.
func TestTurns(t *testing.T) {
	r := newRig(t, EngineOptions{})
	d := slowDNS{make(chan struct{}), make(chan struct{})}
	r.many, r.turns = true, pool.TurnsFor(2)
	r.host = service.NewHost(service.Options{Resolver: d, Log: slog.New(slog.DiscardHandler)})
	args, n := data(t, 2100, []any{"example.org", "A"})
	waits := r.mustLoad(assembled(t, "", "data 2000 \"dns.get\"\n"+args+fmt.Sprintf("export func stagepost_hook i32 -> i64\ni32.const 2000 i32.const 7 i32.const 2100 i32.const %d call svc i64.const 0 i64.lt_s if unreachable end i64.const 0", n)))
	waits.Manifest.Needs.DNS = true
	quick := r.mustLoad(assembled(t, "", quiet))
	g := generationOf(t, waits, 10*time.Second)
	var wg sync.WaitGroup
	const all = 4
	for range all {
		wg.Go(func() {
			c, rec := testCall(t, hooks.Connect)
			if res := g.Run(c); res.Failed {
				t.Errorf("%+v", rec.steps)
			}
		})
	}
	for range all {
		<-d.asked
	}
	c, _ := testCall(t, hooks.Connect)
	if res := generationOf(t, quick, 10*time.Second).Run(c); res.Failed {
		t.Errorf("%+v", res)
	}
	for range all {
		d.answer <- struct{}{}
	}
	wg.Wait()
	if !r.turns.Take(2, time.Now().Add(10*time.Second)) { // all are taken: who comes waits until its deadline
		t.Fatal("turns are not given back")
	}
	c, rec := testCall(t, hooks.Connect)
	if res := generationOf(t, quick, 20*time.Millisecond).Run(c); !res.Failed || !strings.Contains(rec.last().Detail, breaker.Busy.Error()) {
		t.Errorf("%+v %+v", res, rec.steps)
	}
}
