package generation

import (
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/certs"
	"github.com/stagepost/stagepost/core/config"
)

// certified are the certificates of a configuration, with the hash of what their files hold.
type certified struct {
	set  *certs.Set
	hash [32]byte
}

// Certificates are those in force.
func (m *Manager) Certificates() *certs.Set { return m.state.Load().certificates.set }

// readCertificates reads the files of the certificates, and writes to h what tells that they changed.
func (m *Manager) readCertificates(cfg *config.Config, h io.Writer) (c certified, err error) {
	var old certified
	if st := m.state.Load(); st != nil {
		old = st.certificates
	}
	files := certificateFiles(cfg)
	c.set, c.hash, err = certs.Load(files, old.set, time.Now())
	if len(files.Pairs)+len(files.Clients)+len(files.CAs) > 0 {
		h.Write(c.hash[:])
	}
	if err == nil && old.set != nil && c.hash == old.hash {
		return old, nil // the same, so that listeners keep what they made of it
	}
	var errs []error
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			var fault *certs.Fault
			if errors.As(err, &fault) {
				err = cfg.Errorf(certificateKey(cfg, fault), "%s", fault.Text)
			}
			errs = append(errs, err)
		}
	}
	return c, errors.Join(errs...)
}

// certificateFiles are those that a configuration names.
func certificateFiles(cfg *config.Config) (f certs.Files) {
	if t := &cfg.TLS; t.Certificate != "" {
		f.Pairs = append(f.Pairs, certs.Pair{Certificate: t.Certificate, Key: t.Key})
		for _, c := range t.More {
			f.Pairs = append(f.Pairs, certs.Pair{Certificate: c.Certificate, Key: c.Key})
		}
	}
	for _, at := range clientTables(cfg) {
		f.Clients = append(f.Clients, clientPair(cfg, at))
	}
	for _, l := range cfg.Listeners {
		if l.ClientCA != "" && !slices.Contains(f.CAs, l.ClientCA) {
			f.CAs = append(f.CAs, l.ClientCA)
		}
	}
	return f
}

// clientTables are the tables in which there is a certificate that other servers are shown.
func clientTables(cfg *config.Config) (tables [][]string) {
	if cfg.TLS.ClientCertificate != "" {
		tables = append(tables, []string{"tls"})
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Sources)) {
		if cfg.Sources[name].ClientCertificate != "" {
			tables = append(tables, []string{"source", name})
		}
	}
	return tables
}

func clientPair(cfg *config.Config, table []string) certs.Pair {
	if len(table) == 1 {
		return certs.Pair{Certificate: cfg.TLS.ClientCertificate, Key: cfg.TLS.ClientKey}
	}
	s := cfg.Sources[table[1]]
	return certs.Pair{Certificate: s.ClientCertificate, Key: s.ClientKey}
}

// certificateKey is the key in the configuration that a fault is about.
func certificateKey(cfg *config.Config, f *certs.Fault) []string {
	name := "certificate"
	switch f.Kind {
	case certs.CAFile:
		name := certificateFiles(cfg).CAs[f.At]
		i := slices.IndexFunc(cfg.Listeners, func(l config.Listener) bool { return l.ClientCA == name })
		return []string{"listener", config.Index(i), "client_ca"}
	case certs.ClientCertificateFile:
		return append(clientTables(cfg)[f.At], "client_certificate")
	case certs.ClientKeyFile:
		return append(clientTables(cfg)[f.At], "client_key")
	case certs.KeyFile:
		name = "key"
	}
	if f.At == 0 {
		return []string{"tls", name}
	}
	return []string{"tls", "more", config.Index(f.At - 1), name}
}

// warn tells the log what an operator should know of the certificates in force.
func (m *Manager) warn() {
	for _, line := range m.Certificates().Warnings(time.Now()) {
		m.opts.Log.Warn("a certificate is not valid, or not for long", "certificate", line)
	}
}
