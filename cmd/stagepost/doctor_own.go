package main

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/cmd/stagepost/doctor"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
	"github.com/stagepost/stagepost/plugins/service"
)

// sourcesOf are the addresses from which a server sends: those of its sources, and of this machine those that others can reach.
func sourcesOf(cfg *config.Config) (list []doctor.Source) {
	if cfg.Hostname == "" {
		return nil
	}
	add := func(ip netip.Addr, helo string) {
		if resolve.Special(ip) == "" && !slices.ContainsFunc(list, func(s doctor.Source) bool { return s.IP == ip }) {
			list = append(list, doctor.Source{IP: ip, Helo: strings.TrimSuffix(strings.ToLower(helo), ".")})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Sources)) {
		s := cfg.Sources[name]
		for _, ip := range s.Address {
			add(ip.Unmap(), cmp.Or(s.Helo, cfg.Hostname))
		}
	}
	for _, ip := range new(machine).addresses() {
		add(ip, cfg.Hostname)
	}
	return list
}

// chainOf reads the certificates of a file; the key beside them may be none of the caller's business. nil: there are none to be read.
func chainOf(file string) (chain doctor.Chain) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			chain = append(chain, c)
		}
	}
	return chain
}

// Bounds of what is looked at of a server's own.
const (
	maxSignedFor = 50 // domains
	maxKeys      = 500
	signer       = "dkim-sign" // the plugin
)

// keysOf are the keys with which a server signs: those of the domains that the plugin's settings list, and for its other selectors those that
// there are secrets of.
func keysOf(cfg *config.Config) (keys []doctor.Key) {
	if !slices.Contains(cfg.Plugins.Enable, signer) {
		return nil
	}
	folder := cmp.Or(cfg.Secrets.Folder, os.Getenv("CREDENTIALS_DIRECTORY"))
	secrets := service.SecretFolder{Folder: func() string { return folder }}
	add := func(domain, selector string) {
		domain, selector, err := dkim.CheckNames(domain, selector)
		if err == nil && len(keys) < maxKeys && !slices.ContainsFunc(keys, func(k doctor.Key) bool { return k.Domain == domain && k.Selector == selector }) {
			keys = append(keys, keyOf(secrets, domain, selector))
		}
	}
	settings := cfg.Settings[signer]
	domains, _ := settings["domains"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(domains)) {
		text, _ := domains[name].(string)
		for _, selector := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
			add(strings.TrimPrefix(name, "."), selector)
		}
	}
	others, _ := settings["selectors"].([]any)
	folders, _ := os.ReadDir(filepath.Join(folder, "dkim")) // one that cannot be read is as none: the server says so when it signs
	for _, f := range folders {
		for _, s := range others {
			selector, _ := s.(string)
			if _, err := os.Stat(filepath.Join(folder, "dkim", f.Name(), filepath.Base(selector))); err == nil && domains[f.Name()] == nil {
				add(f.Name(), selector)
			}
		}
	}
	return keys
}

// keyOf reads a key, for the record that belongs to it.
func keyOf(secrets service.Secrets, domain, selector string) doctor.Key {
	k := doctor.Key{Domain: domain, Selector: selector}
	name := "dkim/" + domain + "/" + selector
	text, ok, err := secrets.Secret(name)
	switch {
	case err != nil:
		k.Err = err
	case !ok:
		k.Err = fmt.Errorf("there is no secret %s: %w", name, fs.ErrNotExist)
	default:
		var key *dkim.PrivateKey
		if key, k.Err = dkim.ParsePrivateKey(text); k.Err == nil {
			k.Record, k.Err = key.Record()
		}
	}
	return k
}

// signedFor are the domains of keys, each once.
func signedFor(keys []doctor.Key) (domains []string) {
	for _, k := range keys {
		if !slices.Contains(domains, k.Domain) && len(domains) < maxSignedFor {
			domains = append(domains, k.Domain)
		}
	}
	return domains
}
