package main

import "github.com/stagepost/stagepost/core/deliver"

// source gives the sender a [source.NAME].
func (d *daemon) source(name string) (deliver.Source, bool) {
	s, ok := d.plugins.Config().Sources[name]
	return deliver.Source{Addrs: s.Address, Helo: s.Helo}, ok
}
