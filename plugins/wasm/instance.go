package wasm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/pool"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/wasm/meter"
)

// CallFuel is what a call may use, in steps of the guest.
const CallFuel = 100_000_000

// What else a call may use.
const (
	loadFuel = 1_000_000_000 // of an instance that begins, which for some languages is work
	// callSlice is what may be used between two calls of the server, some 10 ms: guest code cannot be interrupted, and while it runs the
	// process cannot collect garbage. An instance that begins may use more at once.
	callSlice = 10_000_000
	loadSlice = 100_000_000

	callBytes = 32 << 20 // held by the host for the guest in one call, whether still there or not
	loadTime  = 10 * time.Second
	// fuelPerMicro is what may be used in a microsecond when each unit takes 50 ns.
	fuelPerMicro = 20
	// stepFuel is a step of package service, in which work of about 50 ns is charged.
	stepFuel = 50
	// lookFuel is what may be used between two calls of the server before the second one looks at the clock.
	lookFuel = 200_000
)

// Bounds of what crosses between guest and host.
const (
	maxName    = 1 << 10
	maxValue   = 256 << 10 // bytes of CBOR that a guest hands over
	maxArgs    = 1100_000  // of the arguments of a service, among which may be a whole mail of 1 MiB
	maxResult  = 4 << 20   // bytes of CBOR that it gets
	maxRead    = 1 << 20
	maxHandles = 16
)

// An instance is one instance of a module, with its memory. It serves one call at a time; after an error it is spent.
type instance struct {
	plugin   *Plugin
	mod      api.Module
	fuel     api.MutableGlobal
	stack    api.MutableGlobal
	hook     api.Function
	services *service.Context
	ctx      context.Context // by which host functions find the instance
	turn     pool.Turn
	waits    func() // gives up the turn
	spent    bool   // its code failed, so what it holds cannot be trusted

	// Of the call that runs.
	call     *hooks.Call
	deadline time.Time
	slice    int64
	look     int64 // at what fuel the clock is looked at
	rest     int64 // of the budget, beyond what the guest has as fuel
	timed    bool  // the time gave less fuel than the budget had
	bytes    int64
	read     int64    // of the content, for which fuel was given
	results  [][]byte // of services, by handle; nil where closed
	told     string   // what was refused last, for the error when the plugin gives up
	facts    []stagedFact
}

type stagedFact struct {
	facts *message.Facts
	name  string
	value any
}

type instanceKey struct{}

// newInstance makes an instance and lets it begin, which must end in time.
func newInstance(p *Plugin, before time.Time) (in *instance, err error) {
	in = &instance{plugin: p, turn: pool.Turn{Of: p.Turns}}
	in.waits = in.turn.End
	if !in.turn.Enter(before) {
		return nil, breaker.OverTime
	}
	defer in.turn.End()
	in.services = p.Host.Context(p.Name, p.Manifest.Granted, in.spend)
	in.services.Settings, in.services.Templates = p.Settings, p.Templates
	in.ctx = context.WithValue(context.Background(), instanceKey{}, in)
	mem := memories{pause: func() { in.passOn(time.Now()) }}
	in.limit(loadFuel, before) // a start function, which runs before the globals are known, has the fuel of the module itself
	if in.mod, err = p.module.instantiate(experimental.WithMemoryAllocator(in.ctx, &mem)); err != nil {
		mem.free()
		e := &Error{File: p.File, Message: "it does not begin: " + trap(err.Error())}
		if f := (*fault)(nil); errors.As(err, &f) {
			e.Cause = f.cause
		}
		return nil, e
	}
	in.fuel = in.mod.ExportedGlobal(meter.Fuel).(api.MutableGlobal)
	in.stack = in.mod.ExportedGlobal(meter.Stack).(api.MutableGlobal)
	in.hook = in.mod.ExportedFunction("stagepost_hook")
	if err := in.load(before); err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

func (in *instance) load(before time.Time) error {
	in.limit(loadFuel, before)
	if _, ok := in.mod.ExportedFunctionDefinitions()["_initialize"]; ok {
		if _, err := in.mod.ExportedFunction("_initialize").Call(in.ctx); err != nil {
			return in.errorFrom(err)
		}
	}
	got, err := in.mod.ExportedFunction("stagepost_abi").Call(in.ctx)
	if err != nil {
		return in.errorFrom(err)
	}
	if v := int32(got[0]); v != ABI {
		return &Error{File: in.plugin.File, Message: fmt.Sprintf("the plugin is made for version %d of the ABI, and this server has version %d", v, ABI)}
	}
	settings, err := message.EncodeValue(map[string]any(in.plugin.Settings))
	if err != nil {
		return err
	}
	at, err := in.give(settings)
	if err != nil {
		return err
	}
	if got, err = in.mod.ExportedFunction("stagepost_load").Call(in.ctx, uint64(at), uint64(len(settings))); err != nil {
		return in.errorFrom(err)
	}
	if code := int32(got[0]); code != 0 {
		why := in.told
		if why == "" {
			why = fmt.Sprintf("stagepost_load returned %d, and logged nothing", code)
		}
		return &Error{File: in.plugin.File, Message: why}
	}
	in.endCall()
	return nil
}

// give puts bytes into a buffer of the guest.
func (in *instance) give(b []byte) (uint32, error) {
	got, err := in.mod.ExportedFunction("stagepost_alloc").Call(in.ctx, uint64(len(b)))
	if err != nil {
		return 0, in.errorFrom(err)
	}
	at := uint32(got[0])
	if at == 0 && len(b) > 0 || !in.mod.Memory().Write(at, b) {
		return 0, &Error{File: in.plugin.File, Message: fmt.Sprintf("stagepost_alloc(%d) returned %d, where there is not so much memory", len(b), at)}
	}
	return at, nil
}

// handle asks the plugin at a stage.
func (in *instance) handle(c *hooks.Call) (*hooks.Verdict, error) {
	deadline := c.Deadline()
	if !in.turn.Enter(deadline) {
		return nil, breaker.Busy
	}
	in.call, c.Waits = c, in.waits
	in.limit(CallFuel, deadline)
	in.services.Begin(c)
	defer in.endCall()
	in.spent = true // until it answered
	got, err := in.hook.Call(in.ctx, uint64(c.Stage))
	if err != nil {
		return nil, in.errorFrom(err)
	}
	switch r := int64(got[0]); {
	case r == 0:
		in.spent = false
		return nil, nil
	case r < 0:
		in.spent = false
		why := fmt.Sprintf("%s gave up (%d)", c.Stage, r)
		if in.told != "" {
			why += ": " + in.told
		}
		return nil, &Error{File: in.plugin.File, Message: why}
	default:
		raw, ok := in.mod.Memory().Read(uint32(r>>32), uint32(r))
		if !ok || len(raw) > maxValue {
			return nil, &Error{File: in.plugin.File, Message: fmt.Sprintf("the verdict of %d bytes at %d does not lie in the memory, or is longer than %d", uint32(r), uint32(r>>32), maxValue)}
		}
		v, err := in.verdict(raw)
		if err != nil {
			return nil, &Error{File: in.plugin.File, Message: fmt.Sprintf("%s answered what is no verdict: %s", c.Stage, err)}
		}
		in.spent = false
		return v, nil
	}
}

// verdict reads what a handler answered and checks it.
func (in *instance) verdict(raw []byte) (*hooks.Verdict, error) {
	value, err := message.DecodeValue(append([]byte(nil), raw...))
	if err != nil {
		return nil, err
	}
	return in.plugin.tables.api.Verdict(in.call, value)
}

// endCall forgets the call.
func (in *instance) endCall() {
	in.turn.End()
	in.services.Begin(nil)
	if in.call != nil {
		in.call.Waits = nil
	}
	in.call, in.results, in.facts, in.told, in.read = nil, nil, nil, "", 0
}

func (in *instance) close() { in.mod.Close(context.Background()) }

// limit begins a budget.
func (in *instance) limit(fuel int64, deadline time.Time) {
	in.deadline, in.rest, in.timed, in.bytes, in.slice = deadline, fuel, false, callBytes, callSlice
	if fuel == loadFuel {
		in.slice = loadSlice
	}
	in.results, in.facts, in.told, in.read = nil, nil, "", 0
	if in.fuel != nil {
		in.stack.Set(uint64(meter.DefaultLimits().Stack))
		in.fuel.Set(0)
		in.grant()
	}
}

// grant gives the guest the fuel of a slice, if the budget and the time allow.
func (in *instance) grant() {
	have := max(0, int64(in.fuel.Get())) + in.rest
	allowed := max(0, time.Until(in.deadline).Microseconds()) * fuelPerMicro
	give := min(have, in.slice)
	in.timed = allowed < give
	give = min(give, allowed)
	in.fuel.Set(uint64(give))
	in.rest, in.look = have-give, give-lookFuel
}

// use charges fuel for what a host function does.
func (in *instance) use(n int64) {
	if in.fuel == nil { // in the start function, whose host calls are few: the module's own fuel bounds them
		return
	}
	left := int64(in.fuel.Get()) - n
	in.fuel.Set(uint64(left))
	if left < 0 {
		over := in.overrun()
		panic(&fault{over.Error(), over})
	}
}

// refill passes the turn on and makes the slice whole again, now and then.
func (in *instance) refill() {
	if in.fuel != nil && int64(in.fuel.Get()) < in.look {
		in.proceed(time.Now())
	}
}

func (in *instance) proceed(now time.Time) {
	in.passOn(now)
	in.grant()
}

// passOn passes the turn on where that is due, and ends the call where its time is over.
func (in *instance) passOn(now time.Time) {
	if !now.Before(in.deadline) || !in.turn.Continue(now, in.deadline) {
		panic(&fault{breaker.OverTime.Error(), breaker.OverTime})
	}
}

// spend is use for package service, which reports the error.
func (in *instance) spend(steps, bytes int) error {
	if in.fuel == nil {
		return nil
	}
	left := int64(in.fuel.Get()) - int64(steps)*stepFuel
	in.fuel.Set(uint64(left))
	if left < 0 {
		return in.overrun()
	}
	if in.bytes -= int64(bytes); in.bytes < 0 || bytes < 0 {
		return breaker.OverMemory
	}
	return nil
}

// waited is called after what may have taken time.
func (in *instance) waited() {
	if in.fuel != nil {
		in.proceed(time.Now())
	}
}

// bytesAt is a range of the guest's memory, which is not kept.
func (in *instance) bytesAt(what string, at, n uint64, most int) []byte {
	size := uint32(n)
	if int64(size) > int64(most) {
		panic(faultf("%s of %d bytes; the most is %d", what, int32(size), most))
	}
	b, ok := in.memory().Read(uint32(at), size)
	if !ok {
		panic(faultf("%s of %d bytes at %d lies outside of the memory, which has %d", what, size, uint32(at), in.memory().Size()))
	}
	in.use(int64(size) / 8)
	return b
}

func (in *instance) memory() api.Memory {
	if in.mod == nil {
		panic(faultf("the start function may not call the server; do it in stagepost_load"))
	}
	return in.mod.Memory()
}

// put writes to the buffer that a guest names, if it is large enough, and returns the length of what there is.
func (in *instance) put(b []byte, at, room uint64) uint64 {
	in.use(int64(len(b)) / 8)
	if uint64(len(b)) <= uint64(uint32(room)) && !in.memory().Write(uint32(at), b) {
		panic(faultf("a buffer of %d bytes at %d lies outside of the memory, which has %d", uint32(room), uint32(at), in.memory().Size()))
	}
	return uint64(len(b))
}

// refuse notes why something is refused and returns the number for it.
func (in *instance) refuse(code int64, why string) uint64 {
	if in.told = why; len(why) > maxMessage {
		in.told = why[:maxMessage]
	}
	return uint64(code)
}

// moduleConfig is how guests are instantiated: without a name, so that there may be many, and running nothing but a start function.
func moduleConfig() wazero.ModuleConfig {
	return wazero.NewModuleConfig().WithName("").WithStartFunctions()
}
