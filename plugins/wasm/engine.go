package wasm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/stagepost/stagepost/plugins/wasm/meter"
)

// compileTime bounds the compiling of one module; meter's limits keep a single function well below it.
const compileTime = 20 * time.Second

// EngineOptions of an engine.
type EngineOptions struct {
	Cache string       // folder for compiled code; "": there is none
	Log   *slog.Logger // nil: nowhere
}

// Engine is the runtime of a process. It is safe for concurrent use.
type Engine struct {
	runtime wazero.Runtime
	cache   *cache // nil: none
	log     *slog.Logger

	mu      sync.Mutex // also one compilation at a time, which bounds their memory
	modules map[[32]byte]*module
}

// module is a compiled module; plugins of several generations hold it together.
type module struct {
	engine   *Engine
	key      [32]byte
	refs     int // under Engine.mu
	compiled wazero.CompiledModule
}

// NewEngine makes an engine, and the folder of its cache.
func NewEngine(o EngineOptions) (*Engine, error) {
	e := &Engine{log: o.Log, modules: map[[32]byte]*module{}}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	config := wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(uint32(meter.DefaultLimits().Pages)).WithDebugInfoEnabled(false)
	if o.Cache != "" {
		c, err := openCache(o.Cache, e.log)
		if err != nil {
			return nil, err
		}
		e.cache = c
		config = config.WithCompilationCache(c.wazero)
	}
	ctx := context.Background()
	e.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	for name, list := range map[string][]hostFunc{Module: hostFuncs(), wasiModule: wasiFuncs()} {
		b := e.runtime.NewHostModuleBuilder(name)
		for _, f := range list {
			b = b.NewFunctionBuilder().WithGoFunction(f.goFunc(), types(f.typ.Params), types(f.typ.Results)).Export(f.name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			e.Close()
			return nil, fmt.Errorf("wasm: the host module %s: %w", name, err)
		}
	}
	return e, nil
}

// goFunc is the function as the runtime calls it: arguments in the stack, the result in its first word.
func (f hostFunc) goFunc() api.GoFunc {
	call, cost, results := f.call, f.cost, len(f.typ.Results) > 0
	return func(ctx context.Context, stack []uint64) {
		in := ctx.Value(instanceKey{}).(*instance)
		in.use(cost)
		if r := call(in, stack); results {
			stack[0] = r
		}
		in.refill()
	}
}

func types(list []meter.ValueType) []api.ValueType {
	out := make([]api.ValueType, len(list))
	for i, t := range list {
		out[i] = api.ValueType(t)
	}
	return out
}

// open compiles a module, or shares it with those that have it. Who opened it releases it.
func (e *Engine) open(wasm []byte) (*module, error) {
	key := sha256.Sum256(wasm)
	e.mu.Lock()
	defer e.mu.Unlock()
	if m := e.modules[key]; m != nil {
		m.refs++
		return m, nil
	}
	metered, err := meter.Rewrite(wasm, meter.Options{Limits: meter.DefaultLimits(), Allow: allow})
	if err != nil {
		return nil, err
	}
	if err := complete(metered); err != nil {
		return nil, err
	}
	if e.cache != nil {
		e.cache.verify()
	}
	compiled, err := e.compile(metered.Binary)
	if err != nil && e.cache != nil && !errors.Is(err, context.DeadlineExceeded) { // it may be the cache's fault
		e.cache.clear()
		compiled, err = e.compile(metered.Binary)
	}
	if err != nil {
		return nil, err
	}
	if e.cache != nil {
		e.cache.seal()
	}
	m := &module{engine: e, key: key, refs: 1, compiled: compiled}
	e.modules[key] = m
	return m, nil
}

// compile ends in time: the compiler looks at the context between two functions, if it works on several at once.
func (e *Engine) compile(wasm []byte) (compiled wazero.CompiledModule, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the module cannot be compiled: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), compileTime)
	defer cancel()
	compiled, err = e.runtime.CompileModule(experimental.WithCompilationWorkers(ctx, 2), wasm)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("the module takes more than %s to compile: %w", compileTime, err)
	}
	if err != nil {
		return nil, fmt.Errorf("the module is not valid: %w", err)
	}
	return compiled, nil
}

// instantiate makes an instance. A fault in that, which there may be while its memory is made, is an error.
func (m *module) instantiate(ctx context.Context) (mod api.Module, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(*fault)
			if !ok {
				panic(p)
			}
			mod, err = nil, f
		}
	}()
	return m.engine.runtime.InstantiateModule(ctx, m.compiled, moduleConfig())
}

// release gives up a hold. Instances that run are not hurt when the last one goes: only new ones cannot be made.
func (m *module) release() {
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	if m.refs--; m.refs == 0 {
		delete(m.engine.modules, m.key)
		m.compiled.Close(context.Background())
	}
}

// Close ends the runtime with all that it holds.
func (e *Engine) Close() {
	ctx := context.Background()
	if e.runtime != nil {
		e.runtime.Close(ctx)
	}
	if e.cache != nil {
		e.cache.wazero.Close(ctx)
	}
}
