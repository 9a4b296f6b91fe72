package config

// TLS says which certificates clients are shown.
type TLS struct {
	Certificate string // path; empty: there are none
	Key         string // path
	More        []Certificate

	ClientCertificate, ClientKey string // paths, of what other servers are shown; empty: nothing
}

// Certificate is one [[tls.more]].
type Certificate struct {
	Certificate, Key string // paths
}

func (t *TLS) fields() []field {
	return append(certificateFields(&t.Certificate, &t.Key, false), field{
		name: "more", doc: "One more certificate, for clients that ask for one of its names. Repeat the table for others.",
		to: repeated(&t.More, func(c *Certificate) []field { return certificateFields(&c.Certificate, &c.Key, true) }),
	}, field{
		name: "client_certificate", example: `"out.pem"`, absent: "they are shown none",
		doc: "The file with the certificate that other servers are shown, where mail is sent to them and they ask for one (PEM, with those of its issuers).",
		to:  one(&t.ClientCertificate, "a path", text),
	}, field{
		name: "client_key", example: `"out.key"`, absent: "they are shown none",
		doc: "The file with its key (PEM, without a passphrase).",
		to:  one(&t.ClientKey, "a path", text),
	})
}

func certificateFields(certificate, key *string, more bool) []field {
	absent := "there are no certificates"
	if more {
		absent = ""
	}
	return []field{
		{
			name: "certificate", required: more, example: `"mx1.pem"`, absent: absent,
			doc: "The file with the certificate and, behind it, those of its issuers (PEM, \"full chain\"). It is read again when it changes; a pair with an error changes nothing.",
			to:  one(certificate, "a path", text),
		},
		{
			name: "key", required: more, example: `"mx1.key"`, absent: absent,
			doc: "The file with the key that belongs to it (PEM, without a passphrase). Its owner and group alone may read it. It may be the same file.",
			to:  one(key, "a path", text),
		},
	}
}

// tlsFields are those of a listener.
func (l *Listener) tlsFields() []field {
	return []field{
		{
			name: "tls", value: `"off"`,
			doc: "When sessions are encrypted: \"off\" never, \"starttls\" once a client asks for it, \"required\" the same, and no mail is taken before, \"implicit\" from the outset. All but \"off\" need [tls].",
			to:  oneOf(&l.TLS, "off", "starttls", "required", "implicit"),
		},
		{
			name: "client_certificates", example: `"request"`, absent: "clients are asked for none",
			doc: "Whether clients are asked for a certificate: with \"request\" they may have one, with \"require\" there is no session without one that is by an authority in `client_ca`.",
			to:  oneOf(&l.ClientCertificates, "request", "require"),
		},
		{
			name: "client_ca", example: `"clients-ca.pem"`, absent: "none",
			doc: "The file with the certificates of the authorities by which clients' certificates are verified (PEM).",
			to:  one(&l.ClientCA, "a path", text),
		},
	}
}

// checkTLS looks at what belongs together.
func (c *Config) checkTLS(d *decoder) {
	t := &c.TLS
	switch {
	case t.Certificate != "" && t.Key == "":
		d.fail([]string{"tls", "certificate"}, `its key is missing; write key = "mx1.key", with the file that has it`)
	case t.Certificate == "" && t.Key != "":
		d.fail([]string{"tls", "key"}, `its certificate is missing; write certificate = "mx1.pem", with the file that has it`)
	case t.Certificate == "" && len(t.More) > 0:
		d.fail([]string{"tls", "more"}, "certificate and key in [tls] come first: they are for clients that ask for no name")
	}
	bothOf(d, t.ClientCertificate, t.ClientKey, "tls")
	for i, l := range c.Listeners {
		key := func(name string) []string { return []string{"listener", Index(i), name} }
		on := l.TLS != "off" && l.TLS != ""
		switch {
		case on && t.Certificate == "" && t.Key == "":
			d.fail(key("tls"), "%q needs a certificate; write, for example:\n    [tls]\n    certificate = \"mx1.pem\"\n    key = \"mx1.key\"", l.TLS)
		case l.ClientCertificates != "" && !on && l.TLS != "":
			d.fail(key("client_certificates"), `there are none without TLS; write tls = "starttls", for example`)
		case l.ClientCertificates != "" && l.ClientCA == "":
			d.fail(key("client_certificates"), `by whom they must be is not said; write client_ca = "clients-ca.pem"`)
		case l.ClientCertificates == "" && l.ClientCA != "":
			d.fail(key("client_ca"), `no client is asked for a certificate; write client_certificates = "request"`)
		}
	}
}

// bothOf: a certificate for servers and its key are of no use alone.
func bothOf(d *decoder, certificate, key string, table ...string) {
	switch {
	case certificate != "" && key == "":
		d.fail(append(table, "client_certificate"), `its key is missing; write client_key = "out.key", with the file that has it`)
	case certificate == "" && key != "":
		d.fail(append(table, "client_key"), `its certificate is missing; write client_certificate = "out.pem", with the file that has it`)
	}
}

// absoluteTLS makes paths whole.
func (c *Config) absoluteTLS(absolute func(*string)) {
	absolute(&c.TLS.Certificate)
	absolute(&c.TLS.Key)
	absolute(&c.TLS.ClientCertificate)
	absolute(&c.TLS.ClientKey)
	for name, s := range c.Sources {
		absolute(&s.ClientCertificate)
		absolute(&s.ClientKey)
		c.Sources[name] = s
	}
	for i := range c.TLS.More {
		absolute(&c.TLS.More[i].Certificate)
		absolute(&c.TLS.More[i].Key)
	}
	for i := range c.Listeners {
		absolute(&c.Listeners[i].ClientCA)
	}
}
